//! What runs on the nodes: Deployments, StatefulSets, DaemonSets, single pods, and the budgets over them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::nodes::SPOT_TAINT;

pub use crate::kwok::{START_AFTER_ANNOTATION, STOP_AFTER_ANNOTATION};

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A workload's pods, and what it can be made into.
#[derive(Clone, Debug)]
// Each says something of its own, and all combinations occur.
#[allow(clippy::struct_excessive_bools)]
pub struct Workload {
    /// Its name, and the value of its pods' label `app`.
    pub name: String,
    /// Where it lives.
    pub namespace: String,
    /// How many pods; nothing to a DaemonSet.
    pub replicas: u32,
    /// The pods' grace.
    pub grace_seconds: u32,
    /// What each pod asks of a node's CPUs, in thousandths.
    pub cpu_millis: u32,
    /// Whether the scheduler spreads the pods evenly over nodes.
    pub spread: bool,
    /// The pods' annotations.
    pub annotations: BTreeMap<String, String>,
    /// The pods' finalizers.
    pub finalizers: Vec<String>,
    /// A node that the pods must run on.
    pub on_node: Option<String>,
    /// A pool that the pods must run on.
    pub on_pool: Option<String>,
    /// Whether they may run on Spot VMs.
    pub spot: bool,
    /// Whether they tolerate every taint, that of a cordon included.
    pub tolerant: bool,
    /// Whether they keep files in an `emptyDir`.
    pub empty_dir: bool,
}

impl Workload {
    /// Pods in namespace `default` that start and stop at once.
    #[must_use]
    pub fn new(name: &str, replicas: u32) -> Self {
        Self {
            name: name.into(),
            namespace: "default".into(),
            replicas,
            grace_seconds: 30,
            cpu_millis: 50,
            spread: false,
            annotations: BTreeMap::new(),
            finalizers: Vec::new(),
            on_node: None,
            on_pool: None,
            spot: false,
            tolerant: false,
            empty_dir: false,
        }
    }

    /// In another namespace, which must exist.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Pods that need `time` to get ready.
    #[must_use]
    pub fn start_after(mut self, time: Duration) -> Self {
        self.annotations.insert(START_AFTER_ANNOTATION.into(), seconds(time));
        self
    }

    /// Pods that need `time` to stop, or their grace if that is shorter. Whole seconds, up to one second less.
    #[must_use]
    pub fn stop_after(mut self, time: Duration) -> Self {
        self.annotations.insert(STOP_AFTER_ANNOTATION.into(), seconds(time));
        self
    }

    /// Pods that never stop, as on a node whose kubelet hangs.
    #[must_use]
    pub fn never_stopping(mut self) -> Self {
        self.annotations.insert(STOP_AFTER_ANNOTATION.into(), "never".into());
        self
    }

    /// Pods whose objects stay after their end until somebody takes the finalizer off.
    #[must_use]
    pub fn finalizer(mut self, finalizer: &str) -> Self {
        self.finalizers.push(finalizer.into());
        self
    }

    /// Another grace than 30 s.
    #[must_use]
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace_seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        self
    }

    /// Evenly over the nodes.
    #[must_use]
    pub fn spread(mut self) -> Self {
        self.spread = true;
        self
    }

    /// On that node and no other.
    #[must_use]
    pub fn on_node(mut self, node: &str) -> Self {
        self.on_node = Some(node.into());
        self
    }

    /// Wherever there is room, cordoned or not.
    #[must_use]
    pub fn tolerant(mut self) -> Self {
        self.tolerant = true;
        self
    }

    /// As a Deployment.
    pub fn deployment(&self) -> Result<Deployment> {
        self.object("apps/v1", "Deployment", &json!({ "replicas": self.replicas }))
    }

    /// As a StatefulSet, whose pods come all at once.
    pub fn stateful_set(&self) -> Result<StatefulSet> {
        let more =
            json!({ "replicas": self.replicas, "serviceName": self.name, "podManagementPolicy": "Parallel" });
        self.object("apps/v1", "StatefulSet", &more)
    }

    /// As a DaemonSet, on every node whatever its taints.
    pub fn daemon_set(&self) -> Result<DaemonSet> {
        let mut pod = self.pod_template();
        pod["spec"]["tolerations"] = json!([{ "operator": "Exists" }]);
        self.object("apps/v1", "DaemonSet", &json!({ "template": pod }))
    }

    /// As a pod that nobody brings back.
    pub fn bare_pod(&self) -> Result<Pod> {
        let mut pod = self.pod_template();
        pod["metadata"]["name"] = json!(self.name);
        pod["metadata"]["namespace"] = json!(self.namespace);
        typed(pod)
    }

    /// A budget over its pods: at least so many stay up. A number or a per cent.
    pub fn min_available(&self, pods: impl Into<Value>) -> Result<PodDisruptionBudget> {
        self.budget("minAvailable", &pods.into())
    }

    /// A budget over its pods: at most so many are down. A number or a per cent.
    pub fn max_unavailable(&self, pods: impl Into<Value>) -> Result<PodDisruptionBudget> {
        self.budget("maxUnavailable", &pods.into())
    }

    fn budget(&self, key: &str, pods: &Value) -> Result<PodDisruptionBudget> {
        typed(json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": { key: pods, "selector": self.selector() },
        }))
    }

    fn object<K: DeserializeOwned>(&self, version: &str, kind: &str, more: &Value) -> Result<K> {
        let mut spec = json!({ "selector": self.selector(), "template": self.pod_template() });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        typed(json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": spec,
        }))
    }

    fn selector(&self) -> Value {
        json!({ "matchLabels": { "app": self.name } })
    }

    fn pod_template(&self) -> Value {
        let mut spec = json!({
            "terminationGracePeriodSeconds": self.grace_seconds,
            "containers": [{
                "name": "app",
                "image": "app:1",
                "resources": { "requests": { "cpu": format!("{}m", self.cpu_millis) } },
            }],
        });
        if self.spread {
            spec["topologySpreadConstraints"] = json!([{
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": self.selector(),
            }]);
        }
        if let Some(node) = &self.on_node {
            spec["nodeSelector"]["kubernetes.io/hostname"] = json!(node);
        }
        if let Some(pool) = &self.on_pool {
            spec["nodeSelector"]["agentpool"] = json!(pool);
        }
        if self.spot {
            spec["tolerations"] = json!([{ "key": SPOT_TAINT, "operator": "Equal", "value": "spot" }]);
        }
        if self.tolerant {
            spec["tolerations"] = json!([{ "operator": "Exists" }]);
        }
        if self.empty_dir {
            spec["volumes"] = json!([{ "name": "scratch", "emptyDir": {} }]);
        }
        json!({
            "metadata": {
                "labels": { "app": self.name },
                "annotations": self.annotations,
                "finalizers": self.finalizers,
            },
            "spec": spec,
        })
    }

    /// Its pods as they are now, those that are going included.
    pub async fn pods(&self, client: &Client) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let list = pods.list(&ListParams::default().labels(&format!("app={}", self.name))).await;
        Ok(list.with_context(|| format!("can't list the pods of {}", self.name))?.items)
    }

    /// Waits until exactly `count` pods are Ready and none is going, and returns them.
    pub async fn ready(&self, client: &Client, count: usize, within: Duration) -> Result<Vec<Pod>> {
        let begun = Instant::now();
        loop {
            let pods = self.pods(client).await?;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            if ready == count && pods.len() == count {
                return Ok(pods);
            }
            if begun.elapsed() > within {
                bail!(
                    "{ready} of the {} pods of {} are ready after {} s, and {count} should be",
                    pods.len(),
                    self.name,
                    within.as_secs()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Creates one object in the namespace that it names.
pub async fn create<K>(client: &Client, object: &K) -> Result<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let made = api.create(&PostParams::default(), object).await;
    made.with_context(|| format!("can't create {} {}", K::kind(&()), object.name_any()))
}

/// Is the pod Ready and not going?
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs())
}

fn typed<K: DeserializeOwned>(object: Value) -> Result<K> {
    serde_json::from_value(object).context("a workload doesn't fit its type")
}
