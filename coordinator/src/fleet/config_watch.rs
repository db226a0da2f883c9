//! Keeps the settings current by a watch on the ConfigMap `mechanic`.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, watch_object},
    },
};
use mechanic_plan::Config;

use super::Fleet;

const NAME: &str = "mechanic";

/// Watches the ConfigMap until the process ends. Where there is none, the defaults hold.
pub(crate) async fn watch_config(client: Client, namespace: String, fleet: Arc<Fleet>) {
    let config_maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let mut versions = pin!(watch_object_with_backoff(config_maps));
    let mut last_data = None;
    while let Some(version) = versions.next().await {
        match version {
            Ok(config_map) => {
                if config_map.is_none() {
                    tracing::warn!("there is no ConfigMap {namespace}/{NAME}; the defaults hold");
                }
                let version = config_map.as_ref().and_then(ResourceExt::resource_version).unwrap_or_default();
                let data = config_map.and_then(|config_map| config_map.data).unwrap_or_default();
                if last_data.as_ref() != Some(&data) {
                    put_in_force(&fleet, &data, &version);
                    last_data = Some(data);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the watch on ConfigMap {namespace}/{NAME} failed; the settings in force stay");
            }
        }
    }
}

fn watch_object_with_backoff(
    config_maps: Api<ConfigMap>,
) -> impl futures::Stream<Item = watcher::Result<Option<ConfigMap>>> {
    watch_object(config_maps, NAME).default_backoff()
}

fn put_in_force(fleet: &Fleet, data: &BTreeMap<String, String>, version: &str) {
    let refusals = fleet.change(|state| {
        let (config, refusals) = Config::read(data, &state.config());
        state.set_config(config);
        refusals
    });
    for refusal in &refusals {
        tracing::warn!(key = refusal.key, "refused in ConfigMap {NAME}: {}", refusal.why);
    }
    let config = fleet.read(super::FleetState::config);
    tracing::info!(version, refused = refusals.len(), ?config, "settings in force");
}
