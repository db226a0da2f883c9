//! What is known about the pods whose kubelet we play, for everybody who looks or waits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Container;
use tokio::sync::watch;

/// One of mechanic's own pods as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct PodProcess {
    /// The pod's name.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// The node that it is on.
    pub node: String,
    /// Its address, in 127.0.0.0/8.
    pub ip: IpAddr,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The process, while one runs.
    pub pid: Option<u32>,
    /// What the status says about it.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// Was its deletion asked for?
    pub terminating: bool,
    /// Its container, as the spec has it.
    pub container: Container,
}

impl PodProcess {
    /// Is this the pod of the component with this `app.kubernetes.io/name`?
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.labels.get("app.kubernetes.io/name").is_some_and(|label| label == name)
    }
}

#[derive(Debug, Default)]
struct Known {
    /// By UID.
    processes: BTreeMap<String, PodProcess>,
    /// Names of pods whose next start has to wait.
    held: BTreeSet<String>,
}

/// The shared picture. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Pods {
    known: Arc<watch::Sender<Known>>,
}

impl Pods {
    /// All pods, ordered by name.
    pub(super) fn processes(&self) -> Vec<PodProcess> {
        let mut all: Vec<PodProcess> = self.known.borrow().processes.values().cloned().collect();
        all.sort_by(|a, b| a.pod.cmp(&b.pod));
        all
    }

    pub(super) fn insert(&self, process: PodProcess) {
        self.known.send_modify(|known| {
            known.processes.insert(process.uid.clone(), process);
        });
    }

    pub(super) fn update(&self, uid: &str, change: impl FnOnce(&mut PodProcess)) {
        self.known.send_modify(|known| {
            if let Some(process) = known.processes.get_mut(uid) {
                change(process);
            }
        });
    }

    pub(super) fn remove(&self, uid: &str) {
        self.known.send_modify(|known| {
            known.processes.remove(uid);
        });
    }

    pub(super) fn hold(&self, pod: &str) {
        self.known.send_modify(|known| {
            known.held.insert(pod.to_owned());
        });
    }

    pub(super) fn let_go(&self, pod: &str) {
        self.known.send_modify(|known| {
            known.held.remove(pod);
        });
    }

    /// Waits until nobody holds this pod's next start.
    pub(super) async fn may_start(&self, pod: &str) {
        let mut known = self.known.subscribe();
        // The sender lives in `self`.
        let _ = known.wait_for(|known| !known.held.contains(pod)).await;
    }

    /// Waits for a picture that `look` finds something in.
    pub(super) async fn wait_for<R>(
        &self,
        what: &str,
        within: Duration,
        look: impl Fn(&[PodProcess]) -> Option<R>,
    ) -> Result<R> {
        let mut known = self.known.subscribe();
        let found = async {
            loop {
                known.borrow_and_update();
                if let Some(found) = look(&self.processes()) {
                    return found;
                }
                if known.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(within, found).await.with_context(|| {
            let pods: Vec<String> = self.processes().iter().map(describe).collect();
            format!("{what} didn't come about in {within:?}; the pods are: {}", pods.join("; "))
        })
    }
}

fn describe(process: &PodProcess) -> String {
    let PodProcess { pod, node, pid, ready, restarts, terminating, .. } = process;
    format!("{pod} on {node}: process {pid:?}, ready {ready}, {restarts} restarts, terminating {terminating}")
}
