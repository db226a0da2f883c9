//! Watches Nodes, pods, PodDisruptionBudgets and mechanic's settings, and survives an API server that comes and goes.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ListParams};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::history::SETTINGS;
use super::memory::Memory;

/// How long after a watch broke the next is begun.
const PAUSE: Duration = Duration::from_millis(200);

/// A kind of object that the referee keeps an eye on.
pub(super) trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    fn remember(&self, memory: &Memory);
    fn gone(&self, memory: &Memory);
    /// What tells it from others of its kind.
    fn key(&self) -> String;
    /// All of them are known; others are gone.
    fn only(keys: &BTreeSet<String>, memory: &Memory);
}

impl Watched for Node {
    fn remember(&self, memory: &Memory) {
        memory.node(self.into());
    }
    fn gone(&self, memory: &Memory) {
        memory.node_gone(&self.name_any());
    }
    fn key(&self) -> String {
        self.name_any()
    }
    fn only(keys: &BTreeSet<String>, memory: &Memory) {
        memory.only_nodes(keys);
    }
}

impl Watched for Pod {
    fn remember(&self, memory: &Memory) {
        memory.pod(self.into());
    }
    fn gone(&self, memory: &Memory) {
        memory.pod_gone(&self.key());
    }
    fn key(&self) -> String {
        self.uid().unwrap_or_default()
    }
    fn only(keys: &BTreeSet<String>, memory: &Memory) {
        memory.only_pods(keys);
    }
}

impl Watched for PodDisruptionBudget {
    fn remember(&self, memory: &Memory) {
        memory.budget(self.into());
    }
    // A budget that is gone can't be broken any more.
    fn gone(&self, _memory: &Memory) {}
    fn key(&self) -> String {
        self.uid().unwrap_or_default()
    }
    fn only(_keys: &BTreeSet<String>, _memory: &Memory) {}
}

impl Watched for ConfigMap {
    fn remember(&self, memory: &Memory) {
        if self.name_any() == SETTINGS {
            memory.settings(self.into());
        }
    }
    // Without it nothing changes: what was accepted last stays in force.
    fn gone(&self, _memory: &Memory) {}
    fn key(&self) -> String {
        self.uid().unwrap_or_default()
    }
    fn only(_keys: &BTreeSet<String>, _memory: &Memory) {}
}

/// Reads all of them once.
pub(super) async fn read_all<K: Watched>(client: &Client, memory: &Memory) -> Result<()> {
    let all = Api::<K>::all(client.clone()).list(&ListParams::default()).await?;
    all.items.iter().for_each(|object| object.remember(memory));
    K::only(&all.items.iter().map(Watched::key).collect(), memory);
    Ok(())
}

/// Watches for ever. `blind` is true while it can't.
///
/// A watch that breaks is begun anew, soon and with a list: one that is taken up again says nothing until something
/// happens, so that nobody could tell whether it sees, and what is seen late is judged wrongly.
pub(super) async fn follow<K: Watched>(client: Client, memory: Arc<Memory>, blind: Arc<AtomicBool>) {
    loop {
        let stream = watcher(Api::<K>::all(client.clone()), Config::default());
        pin_mut!(stream);
        let mut listed = BTreeSet::new();
        while let Some(Ok(event)) = stream.next().await {
            match event {
                // Said before anything is asked.
                Event::Init => continue,
                Event::InitApply(object) => {
                    object.remember(&memory);
                    listed.insert(object.key());
                }
                Event::InitDone => K::only(&listed, &memory),
                Event::Apply(object) => object.remember(&memory),
                Event::Delete(object) => object.gone(&memory),
            }
            blind.store(false, Ordering::Relaxed);
        }
        blind.store(true, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}
