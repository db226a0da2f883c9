//! What is kept of a Node: a fiftieth of the object.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Node;
use mechanic_plan::{
    CLAIM_ANNOTATION, CORDONED_LABEL, Claim, ClaimOnNode, CordonOwner, OPT_OUT_LABEL, VmReference,
};

use super::{NodeVersion, cordon_owner};

/// Where the name of a node's pool may stand; the first that is there counts.
const POOL_LABELS: [&str; 3] = ["kubernetes.azure.com/agentpool", "agentpool", "karpenter.sh/nodepool"];
/// Set by the cloud provider where a machine was shut down or deallocated.
const SHUT_DOWN_TAINT: &str = "node.cloudprovider.kubernetes.io/shutdown";
/// Set by cluster autoscaler and Karpenter on a Node that they are about to delete.
const LEAVING_TAINTS: [&str; 2] = ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"];
/// AKS's node-problem-detector says here whether it sees a scheduled event.
const VM_EVENT_CONDITION: &str = "VMEventScheduled";

/// A Node as the API server shows it, cut down to what is decided by.
#[derive(Debug)]
// Each says something of its own, and all combinations occur.
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct NodeView {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: NodeVersion,
    pub(crate) vm: Option<VmReference>,
    pub(crate) covered: bool,
    pub(crate) pool: String,
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    pub(crate) opted_out: bool,
    pub(crate) unschedulable: bool,
    pub(crate) cordon_owner: Option<CordonOwner>,
    pub(crate) leaving: bool,
    pub(crate) shut_down: bool,
    pub(crate) ready: bool,
    pub(crate) vm_event: Option<bool>,
    pub(crate) claim: ClaimOnNode,
}

impl NodeView {
    /// Reads a Node; `None` for one without a name, which no API server sends.
    pub(crate) fn of(node: &Node) -> Option<Self> {
        let labels = node.metadata.labels.as_ref();
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
        let spec = node.spec.as_ref();
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let condition = |name: &str| {
            conditions
                .into_iter()
                .flatten()
                .find(|condition| condition.type_ == name)
                .map(|condition| &condition.status)
        };
        let taints = spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        let tainted = |key: &str| taints.iter().any(|taint| taint.key == key);
        let virtual_node = label("type") == Some("virtual-kubelet");
        Some(Self {
            name: node.metadata.name.clone()?,
            uid: node.metadata.uid.clone()?,
            version: NodeVersion::parse(node.metadata.resource_version.as_deref()?),
            vm: spec.and_then(|spec| spec.provider_id.as_deref()).and_then(VmReference::parse),
            covered: label("kubernetes.io/os") != Some("windows") && !virtual_node,
            pool: POOL_LABELS.into_iter().find_map(label).unwrap_or_default().to_owned(),
            labels: Arc::new(labels.cloned().unwrap_or_default()),
            opted_out: label(OPT_OUT_LABEL).is_some_and(|value| value != "false"),
            unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
            cordon_owner: cordon_owner::of(&node.metadata),
            leaving: tainted(SHUT_DOWN_TAINT) || LEAVING_TAINTS.into_iter().any(tainted),
            shut_down: tainted(SHUT_DOWN_TAINT),
            ready: condition("Ready").is_some_and(|status| status == "True"),
            // Unknown is what it says when its own query has failed.
            vm_event: condition(VM_EVENT_CONDITION).and_then(|status| match status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            }),
            claim: claim(node, label(CORDONED_LABEL).is_some()),
        })
    }
}

fn claim(node: &Node, labelled: bool) -> ClaimOnNode {
    match node.metadata.annotations.as_ref().and_then(|annotations| annotations.get(CLAIM_ANNOTATION)) {
        None if labelled => ClaimOnNode::LabelOnly,
        None => ClaimOnNode::None,
        Some(annotation) => match Claim::parse(annotation) {
            Ok(claim) => ClaimOnNode::Readable(claim),
            Err(error) => ClaimOnNode::Unreadable(Arc::new(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(node: serde_json::Value) -> NodeView {
        NodeView::of(&serde_json::from_value(node).unwrap()).unwrap()
    }

    #[test]
    fn a_node_of_a_scale_set_is_read() {
        let view = view(json!({
            "metadata": {"name": "aks-a-vmss000001", "uid": "u", "resourceVersion": "17", "labels": {"kubernetes.io/os": "linux"}},
            "spec": {"providerID": "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/aks-a-vmss/virtualMachines/1", "unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}]}
        }));
        assert_eq!(view.vm.unwrap().name(), "aks-a-vmss_1");
        assert!(view.covered && view.unschedulable && view.ready);
        assert_eq!(view.claim, ClaimOnNode::None);
    }

    #[test]
    fn labels_taints_and_conditions_of_others_are_read() {
        let node = |labels: serde_json::Value, taint: &str, status: &str| {
            view(json!({
                "metadata": {"name": "n", "uid": "u", "resourceVersion": "1", "labels": labels},
                "spec": {"taints": [{"key": taint, "effect": "NoSchedule"}]},
                "status": {"conditions": [{"type": "VMEventScheduled", "status": status}]}
            }))
        };
        let shut_down = node(json!({"agentpool": "a"}), SHUT_DOWN_TAINT, "True");
        assert!(shut_down.shut_down && shut_down.leaving);
        assert_eq!((shut_down.pool.as_str(), shut_down.vm_event), ("a", Some(true)));
        let scaled_in = node(json!({"mechanic/opt-out": ""}), LEAVING_TAINTS[0], "Unknown");
        assert!(scaled_in.leaving && !scaled_in.shut_down && scaled_in.opted_out);
        assert_eq!((scaled_in.pool.as_str(), scaled_in.vm_event), ("", None));
        let plain =
            node(json!({"mechanic/opt-out": "false", "karpenter.sh/nodepool": "k"}), "other", "False");
        assert!(!plain.leaving && !plain.opted_out);
        assert_eq!((plain.pool.as_str(), plain.vm_event), ("k", Some(false)));
    }

    #[test]
    fn virtual_and_windows_nodes_have_no_probe() {
        for labels in [json!({"kubernetes.io/os": "windows"}), json!({"type": "virtual-kubelet"})] {
            let node =
                json!({"metadata": {"name": "n", "uid": "u", "resourceVersion": "1", "labels": labels}});
            assert!(!view(node).covered);
        }
    }

    #[test]
    fn a_label_alone_is_no_claim_and_garbage_is_an_unreadable_one() {
        let bare = json!({"metadata": {"name": "n", "uid": "u", "resourceVersion": "1", "labels": {"mechanic.cordoned": "true"}}});
        assert_eq!(view(bare).claim, ClaimOnNode::LabelOnly);
        let garbage = json!({"metadata": {"name": "n", "uid": "u", "resourceVersion": "1", "annotations": {"mechanic/claim": "{}"}}});
        assert!(matches!(view(garbage).claim, ClaimOnNode::Unreadable(_)));
    }

    #[test]
    fn a_condition_that_is_not_true_is_not_ready() {
        let node = json!({"metadata": {"name": "n", "uid": "u", "resourceVersion": "1"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
        assert!(!view(node).ready);
    }
}
