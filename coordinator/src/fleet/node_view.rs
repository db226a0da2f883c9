//! What is kept of a Node: a fiftieth of the object.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use mechanic_plan::{CLAIM_ANNOTATION, CORDONED_LABEL, Claim, ClaimOnNode, VmReference};

use super::NodeVersion;

/// A Node as the API server shows it, cut down to what is decided by.
#[derive(Debug)]
pub(crate) struct NodeView {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: NodeVersion,
    pub(crate) vm: Option<VmReference>,
    pub(crate) covered: bool,
    pub(crate) unschedulable: bool,
    pub(crate) ready: bool,
    pub(crate) claim: ClaimOnNode,
}

impl NodeView {
    /// Reads a Node; `None` for one without a name, which no API server sends.
    pub(crate) fn of(node: &Node) -> Option<Self> {
        let labels = node.metadata.labels.as_ref();
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
        let spec = node.spec.as_ref();
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let virtual_node = label("type") == Some("virtual-kubelet");
        Some(Self {
            name: node.metadata.name.clone()?,
            uid: node.metadata.uid.clone()?,
            version: NodeVersion::parse(node.metadata.resource_version.as_deref()?),
            vm: spec.and_then(|spec| spec.provider_id.as_deref()).and_then(VmReference::parse),
            covered: label("kubernetes.io/os") != Some("windows") && !virtual_node,
            unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
            ready: conditions
                .into_iter()
                .flatten()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
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
