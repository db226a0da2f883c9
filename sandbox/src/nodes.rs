//! Nodes that look like AKS's, and the power of the VMs behind them.

mod pool;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

pub use crate::kwok::{BARE_LABEL, CHURN_ANNOTATION, VM_ANNOTATION};
pub use pool::{NodeSpec, Pool, SPOT_TAINT};

const AT_ONCE: usize = 32;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The nodes of one cluster, seen and changed as the sandbox.
#[derive(Clone)]
pub struct Nodes {
    client: Client,
    nodes: Api<Node>,
}

impl Nodes {
    pub(crate) fn new(client: Client) -> Self {
        Self { nodes: Api::all(client.clone()), client }
    }

    /// Makes them all; they get Ready by themselves.
    pub async fn create(&self, specs: &[NodeSpec]) -> Result<()> {
        stream::iter(specs)
            .map(|spec| async move {
                let made = self.nodes.create(&PostParams::default(), &spec.node()).await;
                made.map(drop).with_context(|| format!("can't create node {}", spec.name))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Makes them and waits until all are Ready.
    pub async fn create_ready(&self, specs: &[NodeSpec], within: Duration) -> Result<()> {
        self.create(specs).await?;
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        self.wait(&names, "True", within).await
    }

    /// Waits until these nodes are Ready and the controller has taken its taints off.
    pub async fn wait_ready(&self, names: &[&str], within: Duration) -> Result<()> {
        self.wait(names, "True", within).await
    }

    /// Waits until a node's Ready condition is `Unknown` and the controller has tainted it.
    pub async fn wait_off(&self, name: &str, within: Duration) -> Result<()> {
        self.wait(&[name], "Unknown", within).await
    }

    async fn wait(&self, names: &[&str], wanted: &str, within: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut missing: Vec<&str> = names.to_vec();
        loop {
            let list = self.nodes.list(&ListParams::default()).await.context("can't list the nodes")?;
            missing.retain(|name| {
                let node = list.items.iter().find(|node| node.name_any() == *name);
                !node.is_some_and(|node| ready(node) == wanted && tainted(node) == (wanted != "True"))
            });
            let Some(first) = missing.first() else { return Ok(()) };
            if begun.elapsed() > within {
                bail!(
                    "{} of {} nodes didn't get Ready={wanted} within {} s, {first} for one",
                    missing.len(),
                    names.len(),
                    within.as_secs()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The VM goes away: the kubelet is silent, the pods on it stop where they are.
    ///
    /// The control plane would notice after 40 s; kwok says it at once. mechanic's own pods are not touched:
    /// whoever runs their processes ends them.
    pub async fn power_off(&self, name: &str) -> Result<()> {
        self.annotate(name, VM_ANNOTATION, Some("off")).await?;
        self.annotate_pods_of(name, Some("off")).await
    }

    /// The VM is back, in the boot that `boot_id` names: the node gets Ready and what is left on it starts again.
    pub async fn power_on(&self, name: &str, boot_id: &str) -> Result<()> {
        self.set_boot_id(name, boot_id).await?;
        self.annotate(name, VM_ANNOTATION, None).await?;
        self.annotate_pods_of(name, None).await
    }

    /// What the node's kernel calls its boot.
    pub async fn set_boot_id(&self, name: &str, boot_id: &str) -> Result<()> {
        let patch = json!({ "status": { "nodeInfo": { "bootID": boot_id } } });
        let patched = self.nodes.patch_status(name, &ours(), &Patch::Merge(patch)).await;
        patched.map(drop).with_context(|| format!("can't set the boot id of node {name}"))
    }

    /// Another VM stands behind the node.
    pub async fn set_vm_id(&self, name: &str, vm_id: &str) -> Result<()> {
        let info = json!({ "systemUUID": vm_id, "machineID": vm_id.replace('-', "") });
        let patch = Patch::Merge(json!({ "status": { "nodeInfo": info } }));
        let patched = self.nodes.patch_status(name, &ours(), &patch).await;
        patched.map(drop).with_context(|| format!("can't set the VM of node {name}"))
    }

    /// Deletes the Node, as the cloud's controller does when its VM is gone for good.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let deleted = self.nodes.delete(name, &DeleteParams::default()).await;
        deleted.map(drop).with_context(|| format!("can't delete node {name}"))
    }

    /// Whether a node's status is written once a second, as busy kubelets do.
    pub async fn churn(&self, name: &str, on: bool) -> Result<()> {
        self.annotate(name, CHURN_ANNOTATION, on.then_some("on")).await
    }

    async fn annotate(&self, name: &str, key: &str, value: Option<&str>) -> Result<()> {
        let patched = self.nodes.patch(name, &ours(), &Patch::Merge(annotation(key, value))).await;
        patched.map(drop).with_context(|| format!("can't annotate node {name}"))
    }

    async fn annotate_pods_of(&self, node: &str, value: Option<&str>) -> Result<()> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let here = ListParams::default()
            .fields(&format!("spec.nodeName={node}"))
            .labels("app.kubernetes.io/part-of!=mechanic");
        let list = pods.list(&here).await.with_context(|| format!("can't list the pods of node {node}"))?;
        for pod in list {
            let namespaced: Api<Pod> =
                Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
            let patch = Patch::Merge(annotation(VM_ANNOTATION, value));
            match namespaced.patch(&pod.name_any(), &ours(), &patch).await {
                Ok(_) => {}
                // It may be gone by now, which is as good.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("can't annotate pod {}", pod.name_any()));
                }
            }
        }
        Ok(())
    }
}

fn ours() -> PatchParams {
    PatchParams { field_manager: Some("sandbox".into()), ..PatchParams::default() }
}

fn annotation(key: &str, value: Option<&str>) -> Value {
    json!({ "metadata": { "annotations": { key: value } } })
}

fn ready(node: &Node) -> &str {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().find(|condition| condition.type_ == "Ready").map_or("", |condition| &condition.status)
}

/// Has the node controller tainted it for not being there?
fn tainted(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().any(|taint| {
        matches!(taint.key.as_str(), "node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable")
    })
}
