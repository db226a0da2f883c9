//! A pod as the API server shows it, cut down to what a drain must know.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as ApiPod;
use mechanic_plan::{Controller, Pod, PodPhase, Wave};

const MIRROR: &str = "kubernetes.io/config.mirror";
/// What people write on pods that nobody is to move.
const STAY: [(&str, &str); 2] =
    [("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"), ("karpenter.sh/do-not-disrupt", "true")];
/// What the API server sets where nothing is said.
const USUAL_GRACE: Duration = Duration::from_secs(30);

/// Whether its condition Ready is True.
pub(super) fn is_ready(pod: &ApiPod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// `None` for what has no name or UID, which the API server never shows.
pub(super) fn read(pod: &ApiPod) -> Option<Pod> {
    let metadata = &pod.metadata;
    let controller = metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
        .map(|owner| Controller { api_version: owner.api_version.clone(), kind: owner.kind.clone() });
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    Some(Pod {
        namespace: metadata.namespace.clone()?,
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
        phase: if matches!(phase, Some("Succeeded" | "Failed")) {
            PodPhase::Finished
        } else {
            PodPhase::Active
        },
        controller,
        mirror: metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MIRROR))
            || metadata.owner_references.iter().flatten().any(|owner| owner.kind == "Node"),
        empty_dir: volumes.into_iter().flatten().any(|volume| volume.empty_dir.is_some()),
        asks_to_stay: STAY.iter().any(|(annotation, value)| {
            metadata.annotations.as_ref().and_then(|all| all.get(*annotation)).is_some_and(|is| is == value)
        }),
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
    fn only_the_controlling_owner_counts() {
        let mut orphan = pod("a", "1");
        orphan.metadata.owner_references.as_mut().unwrap()[0].controller = None;
        assert_eq!(read(&orphan).unwrap().controller, None);
    }
}
