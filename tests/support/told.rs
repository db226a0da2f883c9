//! What mechanic tells on pods and of the settings, as Kubernetes Events.

use std::collections::HashMap;

use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};

use super::{Expected, House};

impl House {
    /// What the Events on the settings with that reason say.
    pub(crate) async fn told_of_settings(&self, reason: &str) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), "mechanic");
        let events = events.list(&ListParams::default()).await.unwrap().items.into_iter();
        let told = events.filter(|event| event.reason.as_deref() == Some(reason));
        told.filter_map(|event| event.note).collect()
    }

    /// All Events of mechanic's on pods.
    async fn told_on_pods(&self) -> Vec<Event> {
        let events: Api<Event> = Api::all(self.client.clone());
        let mut events = events.list(&ListParams::default()).await.unwrap().items;
        events.retain(|event| {
            let on_pod = event.regarding.as_ref().is_some_and(|on| on.kind.as_deref() == Some("Pod"));
            on_pod && event.reporting_controller.as_deref() == Some("mechanic-coordinator")
        });
        events
    }

    /// Waits until a pod of a workload carries an Event that says so.
    pub(crate) async fn wait_told(&self, (workload, reason, parts): Expected<'_>) {
        let prefix = format!("{}-", workload.name);
        self.wait(&format!("{} is told to be {reason} with {parts:?}", workload.name), async || {
            let events = self.told_on_pods().await;
            let says_so = |event: &Event| {
                let name = event.regarding.as_ref().and_then(|on| on.name.as_deref()).unwrap_or_default();
                let note = event.note.as_deref().unwrap_or_default();
                (name == workload.name || name.starts_with(&prefix))
                    && event.reason.as_deref() == Some(reason)
                    && parts.iter().all(|part| note.contains(part))
            };
            events.iter().any(says_so).then_some(())
        })
        .await;
    }

    /// Panics where one pod was told of twice for one reason.
    pub(crate) async fn assert_told_once(&self) {
        let mut times = HashMap::new();
        for event in self.told_on_pods().await {
            let on = event.regarding.unwrap();
            *times.entry((on.name, on.uid, event.reason)).or_insert(0) += 1;
        }
        assert!(times.values().all(|times| *times == 1), "{times:#?}");
    }
}
