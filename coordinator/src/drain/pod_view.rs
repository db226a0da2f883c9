//! A pod as the API server shows it, cut down to what a drain must know.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::{api::core::v1::Pod as ApiPod, apimachinery::pkg::apis::meta::v1::OwnerReference};
use mechanic_plan::{Controller, Pod, PodPhase, Wave};

const MIRROR: &str = "kubernetes.io/config.mirror";
/// The taint of a cordon.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// What people write on pods that nobody is to move.
const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
/// What the API server sets where nothing is said.
const USUAL_GRACE: Duration = Duration::from_secs(30);

/// How a pod stands with the budgets that select it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A budget must allow it to go.
    Ready,
    /// A budget has a say only where too few others are Ready.
    NotReady,
    /// It has not begun to run, or has ended, so no budget is asked.
    Ignored,
}

/// Whether its condition Ready is True.
pub(crate) fn is_ready(pod: &ApiPod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What budgets have to say about it.
pub(super) fn standing(pod: &ApiPod) -> Standing {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match phase {
        Some("Pending" | "Succeeded" | "Failed") => Standing::Ignored,
        _ if is_ready(pod) => Standing::Ready,
        _ => Standing::NotReady,
    }
}

/// Whether the scheduler would put it on a node that is cordoned.
pub(super) fn tolerates_cordon(pod: &ApiPod) -> bool {
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    tolerations.into_iter().any(|toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        let value = toleration.value.as_deref().unwrap_or_default();
        let fits = key == UNSCHEDULABLE && (exists || value.is_empty());
        (fits || (key.is_empty() && exists)) && (effect.is_empty() || effect == "NoSchedule")
    })
}

/// The owner that would replace it.
pub(super) fn controller(pod: &ApiPod) -> Option<&OwnerReference> {
    pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn annotation<'a>(pod: &'a ApiPod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Karpenter takes a time, too, for which the pod isn't to be moved; nobody knows here whether that is over.
fn is_yes_or_a_time(value: &str) -> bool {
    value == "true" || value.parse::<SignedDuration>().is_ok()
}

/// By when a pod that is terminating was to be gone, and what may keep it.
pub(super) fn ending(pod: &ApiPod) -> Option<String> {
    let by = &pod.metadata.deletion_timestamp.as_ref()?.0;
    let finalizers = pod.metadata.finalizers.iter().flatten().cloned().collect::<Vec<_>>().join(", ");
    Some(if finalizers.is_empty() {
        format!("it was asked to be gone by {by}")
    } else {
        format!(
            "it was asked to be gone by {by}; its object stays until these finalizers are taken off: {finalizers}"
        )
    })
}

/// `None` for what has no name or UID, which the API server never shows.
pub(super) fn read(pod: &ApiPod) -> Option<Pod> {
    let metadata = &pod.metadata;
    let controller = controller(pod)
        .map(|owner| Controller { api_version: owner.api_version.clone(), kind: owner.kind.clone() });
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    Some(Pod {
        namespace: metadata.namespace.clone()?,
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
        labels: metadata.labels.clone().unwrap_or_default(),
        phase: if matches!(phase, Some("Succeeded" | "Failed")) {
            PodPhase::Finished
        } else {
            PodPhase::Active
        },
        controller,
        mirror: metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MIRROR))
            || metadata.owner_references.iter().flatten().any(|owner| owner.kind == "Node"),
        empty_dir: volumes.into_iter().flatten().any(|volume| volume.empty_dir.is_some()),
        asks_to_stay: annotation(pod, SAFE_TO_EVICT) == Some("false")
            || annotation(pod, DO_NOT_DISRUPT).is_some_and(is_yes_or_a_time),
        came_back: false,
        held_by_budget: false,
        wave: match pod.spec.as_ref().and_then(|spec| spec.priority_class_name.as_deref()) {
            Some("system-cluster-critical" | "system-node-critical") => Wave::Critical,
            _ => Wave::Ordinary,
        },
        terminating: metadata.deletion_timestamp.is_some(),
        grace: pod
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds)
            .map_or(USUAL_GRACE, |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn pod(name: &str, uid: &str) -> ApiPod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "d", "name": name, "uid": uid, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]},
        }))
        .unwrap()
    }

    #[test]
    fn what_people_write_on_a_pod_that_is_to_stay_is_read() {
        for (annotation, value, stays) in [
            ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false", true),
            ("cluster-autoscaler.kubernetes.io/safe-to-evict", "true", false),
            ("karpenter.sh/do-not-disrupt", "true", true),
            ("karpenter.sh/do-not-disrupt", "false", false),
        ] {
            let mut pod = pod("a", "1");
            pod.metadata.annotations = Some(BTreeMap::from([(annotation.to_owned(), value.to_owned())]));
            assert_eq!(read(&pod).unwrap().asks_to_stay, stays, "{annotation}: {value}");
        }
    }

    #[test]
    fn who_tolerates_the_taint_of_a_cordon_may_come_back() {
        for (toleration, tolerates) in [
            (json!({"operator": "Exists"}), true),
            (json!({"operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": UNSCHEDULABLE, "operator": "Exists", "effect": "NoSchedule"}), true),
            (json!({"key": UNSCHEDULABLE, "effect": "NoSchedule"}), true),
            (json!({"key": UNSCHEDULABLE, "value": "x"}), false),
            (json!({"key": "spot", "operator": "Exists"}), false),
        ] {
            let mut pod = pod("a", "1");
            let spec = json!({"containers": [], "tolerations": [toleration]});
            pod.spec = serde_json::from_value(spec).unwrap();
            assert_eq!(tolerates_cordon(&pod), tolerates, "{toleration}");
        }
    }

    #[test]
    fn u4_only_the_controlling_owner_counts() {
        let mut orphan = pod("a", "1");
        orphan.metadata.owner_references.as_mut().unwrap()[0].controller = None;
        assert_eq!(read(&orphan).unwrap().controller, None);
    }
}
