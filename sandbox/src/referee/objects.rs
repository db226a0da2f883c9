//! Kubernetes' objects, cut down to what the referee remembers.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;

use super::history::{
    BudgetSeen, CLAIM_ANNOTATION, CORDONED_LABEL, NodeSeen, OPT_OUT_LABEL, PodSeen, SettingsSeen,
};

/// What AKS calls a node's pool.
const POOL: &str = "agentpool";
/// What a pod has to stop where nothing else is said.
const USUAL_GRACE: Duration = Duration::from_secs(30);
/// Marks a static pod's mirror.
const MIRROR: &str = "kubernetes.io/config.mirror";

impl From<&Node> for NodeSeen {
    fn from(node: &Node) -> Self {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        Self {
            name: node.name_any(),
            uid: node.uid().unwrap_or_default(),
            version: node.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default(),
            unschedulable: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default(),
            cordon_applied: node.managed_fields().iter().any(|entry| {
                let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
                entry.operation.as_deref() == Some("Apply")
                    && fields.is_some_and(|fields| fields.pointer("/f:spec/f:unschedulable").is_some())
            }),
            labelled: node.labels().contains_key(CORDONED_LABEL),
            claim: node.annotations().get(CLAIM_ANNOTATION).cloned(),
            ready: conditions.into_iter().any(|found| found.type_ == "Ready" && found.status == "True"),
            pool: node.labels().get(POOL).cloned().unwrap_or_default(),
            opted_out: node.labels().get(OPT_OUT_LABEL).is_some_and(|value| value != "false"),
        }
    }
}

impl From<&Pod> for PodSeen {
    fn from(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
        let phase = status.and_then(|status| status.phase.as_deref());
        let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let of_daemon_set = pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet");
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            labels: pod.labels().clone(),
            stays: of_daemon_set || pod.annotations().contains_key(MIRROR),
            finished: matches!(phase, Some("Succeeded" | "Failed")),
            ready: conditions.any(|found| found.type_ == "Ready" && found.status == "True"),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            grace: grace.and_then(|seconds| seconds.try_into().ok()).map_or(USUAL_GRACE, Duration::from_secs),
        }
    }
}

impl From<&PodDisruptionBudget> for BudgetSeen {
    fn from(budget: &PodDisruptionBudget) -> Self {
        let status = budget.status.as_ref();
        Self {
            namespace: budget.namespace().unwrap_or_default(),
            name: budget.name_any(),
            selector: budget.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default(),
            healthy: status.map_or(0, |status| status.current_healthy),
            desired: status.map_or(0, |status| status.desired_healthy),
        }
    }
}

impl From<&ConfigMap> for SettingsSeen {
    fn from(map: &ConfigMap) -> Self {
        Self { namespace: map.namespace().unwrap_or_default(), data: map.data.clone().unwrap_or_default() }
    }
}
