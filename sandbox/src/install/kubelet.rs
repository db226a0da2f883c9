//! The kubelet of mechanic's own pods on all nodes: sees them come and go, and leads each through its life.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::course::Course;
use super::lifecycle::Lifecycle;
use super::surroundings::Surroundings;
use crate::azure::{Azure, Vm};
use crate::network::Network;

/// These pods are ours, in whatever namespace; kwok leaves them alone.
pub(super) const OWN_PODS: &str = "app.kubernetes.io/part-of=mechanic";

/// How long until a pod that couldn't be taken is looked at again.
const RETRY: Duration = Duration::from_secs(1);

/// Dropping its run kills all processes.
pub(super) struct Kubelet {
    pub(super) surroundings: Arc<Surroundings>,
    pub(super) azure: Azure,
    pub(super) network: Arc<Network>,
}

/// A pod in our hands: the newest state of the object, and whether it still exists.
struct Held {
    newest: watch::Sender<Arc<Pod>>,
    gone: CancellationToken,
}

impl Kubelet {
    /// Runs until `end`, and returns when all processes are gone.
    pub(super) async fn run(self: Arc<Self>, end: CancellationToken) {
        let api: Api<Pod> = Api::all(self.surroundings.client.clone());
        let config = watcher::Config::default().labels(OWN_PODS);
        let mut events = watcher(api, config).default_backoff().boxed();
        let mut held: BTreeMap<String, Held> = BTreeMap::new();
        // What a fresh list has shown so far: what it doesn't show is gone.
        let mut listed: Vec<String> = Vec::new();
        let mut lives = JoinSet::new();
        loop {
            tokio::select! {
                () = end.cancelled() => return lives.shutdown().await,
                event = events.try_next() => match event {
                    Ok(Some(watcher::Event::Init)) => listed.clear(),
                    Ok(Some(watcher::Event::InitApply(pod))) => {
                        listed.extend(pod.metadata.uid.clone());
                        self.see(pod, &mut held, &mut lives);
                    }
                    Ok(Some(watcher::Event::InitDone)) => held.retain(|uid, pod| {
                        let exists = listed.contains(uid);
                        if !exists {
                            pod.gone.cancel();
                        }
                        exists
                    }),
                    Ok(Some(watcher::Event::Apply(pod))) => self.see(pod, &mut held, &mut lives),
                    Ok(Some(watcher::Event::Delete(pod))) => {
                        if let Some(pod) = pod.metadata.uid.and_then(|uid| held.remove(&uid)) {
                            pod.gone.cancel();
                        }
                    }
                    Ok(None) => return,
                    Err(error) => tracing::warn!("the sandbox's kubelet doesn't see its pods: {error}"),
                },
                Some(_) = lives.join_next() => {}
            }
        }
    }

    fn see(self: &Arc<Self>, pod: Pod, held: &mut BTreeMap<String, Held>, lives: &mut JoinSet<()>) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let is_on_a_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        if !is_on_a_node {
            return;
        }
        if let Some(known) = held.get(&uid) {
            known.newest.send_replace(Arc::new(pod));
            return;
        }
        let (newest, receiver) = watch::channel(Arc::new(pod));
        let gone = CancellationToken::new();
        lives.spawn(Arc::clone(self).lead(receiver, gone.clone()));
        held.insert(uid, Held { newest, gone });
    }

    async fn lead(self: Arc<Self>, pod: watch::Receiver<Arc<Pod>>, gone: CancellationToken) {
        let mut told = false;
        while !gone.is_cancelled() {
            match self.take(pod.clone(), gone.clone()).await {
                Ok(life) => return life.run().await,
                Err(error) => {
                    let name = pod.borrow().metadata.name.clone().unwrap_or_default();
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("the sandbox's kubelet can't take pod {name} yet: {error:#}");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn take(&self, pod: watch::Receiver<Arc<Pod>>, gone: CancellationToken) -> Result<Lifecycle> {
        let spec = pod.borrow().spec.clone().context("it has no spec")?;
        let node = spec.node_name.clone().unwrap_or_default();
        let mut containers = spec.containers;
        if containers.len() != 1 || spec.init_containers.is_some_and(|init| !init.is_empty()) {
            bail!(
                "it has {} containers or some that come first; the sandbox's kubelet runs pods of exactly one",
                containers.len()
            );
        }
        let vm = vm_of(&self.surroundings.client, &self.azure, &node).await?;
        Ok(Lifecycle {
            surroundings: Arc::clone(&self.surroundings),
            pod,
            gone,
            power: self.azure.power(&vm.name)?,
            boot_id_file: boot_id_file(&self.surroundings, &node),
            imds: self.azure.imds_address(&vm.name)?.to_string(),
            ip: self.network.next_address()?.into(),
            container: containers.remove(0),
            course: Course::default(),
        })
    }
}

/// The VM that stands behind a node.
pub(super) async fn vm_of(client: &Client, azure: &Azure, node: &str) -> Result<Vm> {
    let api: Api<Node> = Api::all(client.clone());
    let object = api.get(node).await.with_context(|| format!("node {node} can't be read"))?;
    let provider_id = object.spec.and_then(|spec| spec.provider_id).unwrap_or_default();
    azure
        .vm_of_provider_id(&provider_id)
        .with_context(|| format!("node {node} ({provider_id}) has no VM in the sandbox's Azure"))
}

fn boot_id_file(surroundings: &Surroundings, node: &str) -> PathBuf {
    surroundings.folder.join("boot-ids").join(node)
}
