//! Keeps the settings current by a watch on the ConfigMap `mechanic`.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    runtime::watcher::{self, Event},
};
use mechanic_plan::{Accepted, Config, Holds, Refusal};

use super::{AcceptedSettings, Fleet, Settings};
use crate::{log::Log, metrics::Metrics, watches::watch};

/// The ConfigMap that people edit.
pub(crate) const NAME: &str = "mechanic";
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Watches the ConfigMap until the process ends. Where there is none, what was accepted last holds, and where
/// nothing ever was, the defaults.
pub(crate) async fn watch_config(
    client: Client,
    namespace: String,
    accepted_settings: AcceptedSettings,
    fleet: Arc<Fleet>,
    metrics: Metrics,
    log: Log,
) {
    let mut accepted = read_accepted(&accepted_settings).await;
    let config_maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut events = pin!(watch(config_maps, config));
    let (mut listed, mut last) = (false, None);
    while let Some(event) = events.next().await {
        let config_map = match event {
            Ok(Event::Init) => {
                listed = false;
                continue;
            }
            Ok(Event::InitApply(config_map)) => {
                listed = true;
                Some(config_map)
            }
            Ok(Event::InitDone) if listed => continue,
            Ok(Event::InitDone | Event::Delete(_)) => None,
            Ok(Event::Apply(config_map)) => Some(config_map),
            Err(error) => {
                tracing::warn!(%error, "the watch on ConfigMap {namespace}/{NAME} failed; the settings in force stay");
                continue;
            }
        };
        let version = config_map.as_ref().and_then(ResourceExt::resource_version).unwrap_or_default();
        let uid = config_map.as_ref().and_then(ResourceExt::uid);
        let data = config_map.map(|config_map| config_map.data.unwrap_or_default());
        let now = Some((uid, data));
        if let Some((uid, data)) = now.as_ref().filter(|_| last != now) {
            let settings = read(data.as_ref(), &accepted, &version, uid.clone());
            log.set_level(settings.config.log_level);
            metrics.settings_changed(&version, settings.refused.len());
            accepted.clone_from(&settings.accepted);
            fleet.change(|state| state.set_settings(settings));
            last = now;
        }
    }
}

/// What an earlier leader accepted last. Nothing is known without it, so it is asked for until there is an answer.
async fn read_accepted(accepted_settings: &AcceptedSettings) -> Accepted {
    loop {
        match accepted_settings.read().await {
            Ok(accepted) => return accepted.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(
                    error,
                    "the settings that were accepted last can't be read; it is tried again"
                );
                tokio::time::sleep(READ_AGAIN).await;
            }
        }
    }
}

fn read(data: Option<&Accepted>, before: &Accepted, version: &str, config_map: Option<String>) -> Settings {
    // Somebody's slip must not bring back what was changed for a reason.
    let (config, accepted, mut refused) = Config::read(data.unwrap_or(before), before);
    if data.is_none() {
        let holds = if before.is_empty() { Holds::Default } else { Holds::Accepted };
        refused.push(Refusal { key: format!("ConfigMap {NAME}"), why: "there is none".to_owned(), holds });
    }
    for refusal in &refused {
        tracing::warn!(key = refusal.key, "settings refused: {refusal}");
    }
    let (refusals, differing) = (refused.len(), Config::in_brief(&accepted));
    tracing::info!(version, refused = refusals, "settings in force: {differing}");
    Settings { config, accepted, refused, config_map }
}
