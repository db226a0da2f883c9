//! The last settings that were accepted, kept in the ConfigMap `mechanic-accepted`: a next leader falls back on
//! them where the ConfigMap `mechanic` has been broken, or is gone.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
    core::ObjectMeta,
};
use mechanic_plan::Accepted;

use crate::gate::{Gate, Intent, WriteError};

const NAME: &str = "mechanic-accepted";
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// That ConfigMap.
#[derive(Clone)]
pub(crate) struct AcceptedSettings {
    config_maps: Api<ConfigMap>,
}

impl AcceptedSettings {
    /// `client` must not retry by itself.
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self { config_maps: Api::namespaced(client, namespace) }
    }

    /// What was accepted last; `None` where nothing ever was.
    ///
    /// # Errors
    /// Where that can't be known now.
    pub(crate) async fn read(&self) -> Result<Option<Accepted>, String> {
        Ok(self.get().await?.map(|config_map| config_map.data.unwrap_or_default()))
    }

    /// Keeps what is accepted now, as a compare-and-swap.
    ///
    /// # Errors
    /// Where it isn't kept, or nobody knows.
    pub(crate) async fn keep(&self, gate: &Gate, accepted: &Accepted) -> Result<(), String> {
        let kept = self.get().await?;
        let parameters = PostParams::default();
        let written = match kept {
            Some(kept) if kept.data.as_ref().unwrap_or(&Accepted::new()) == accepted => return Ok(()),
            Some(mut kept) => {
                // Without managed fields, which only make the request larger.
                kept.meta_mut().managed_fields = None;
                kept.data = Some(accepted.clone());
                gate.write(Intent::KeepSettings, self.config_maps.replace(NAME, &parameters, &kept)).await
            }
            None => {
                let labels = [("app.kubernetes.io/part-of".to_owned(), "mechanic".to_owned())];
                let metadata = ObjectMeta {
                    name: Some(NAME.to_owned()),
                    labels: Some(labels.into()),
                    ..ObjectMeta::default()
                };
                let first = ConfigMap { metadata, data: Some(accepted.clone()), ..ConfigMap::default() };
                gate.write(Intent::KeepSettings, self.config_maps.create(&parameters, &first)).await
            }
        };
        written.map(drop).map_err(|error: WriteError| error.to_string())
    }

    async fn get(&self) -> Result<Option<ConfigMap>, String> {
        let only = ListParams::default().fields(&format!("metadata.name={NAME}"));
        match tokio::time::timeout(READ_TIMEOUT, self.config_maps.list(&only)).await {
            Ok(Ok(list)) => Ok(list.items.into_iter().next()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it took too long".to_owned()),
        }
    }
}
