//! Who made a Node unschedulable: the API server remembers it in the managed fields.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use mechanic_plan::CordonOwner;

use crate::node_writes::FIELD_MANAGER;

/// Stand-ins of the API server for managers that it has forgotten: beyond the tenth that updates an object, and
/// for fields older than their tracking.
const FORGOTTEN: [&str; 2] = ["ancient-changes", "before-first-apply"];

/// `None` where nobody owns `spec.unschedulable`, or nobody knows who does.
pub(super) fn of(metadata: &ObjectMeta) -> Option<CordonOwner> {
    let owners = metadata.managed_fields.iter().flatten().filter(|entry| owns_cordon(entry));
    let known = owners.filter_map(|entry| entry.manager.as_deref()).filter(|name| !FORGOTTEN.contains(name));
    let (mut ours, mut theirs) = (false, false);
    for manager in known {
        if manager == FIELD_MANAGER {
            ours = true;
        } else {
            theirs = true;
        }
    }
    match (ours, theirs) {
        (true, true) => Some(CordonOwner::Both),
        (true, false) => Some(CordonOwner::Mechanic),
        (false, true) => Some(CordonOwner::Somebody),
        (false, false) => None,
    }
}

fn owns_cordon(entry: &ManagedFieldsEntry) -> bool {
    entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:unschedulable").is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owner(managers: &[(&str, &str)]) -> Option<CordonOwner> {
        let entries: Vec<_> = managers
            .iter()
            .map(|(manager, field)| {
                json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                       "fieldsV1": {"f:spec": {*field: {}}}})
            })
            .collect();
        of(&serde_json::from_value(json!({"managedFields": entries})).unwrap())
    }

    #[test]
    fn whose_cordon_it_is_is_read_from_the_managed_fields() {
        const CORDON: &str = "f:unschedulable";
        for (managers, expected) in [
            (&[][..], None),
            (&[("kubelet", "f:taints"), ("kubectl", "f:providerID")], None),
            (&[("kubelet", "f:taints"), (FIELD_MANAGER, CORDON)], Some(CordonOwner::Mechanic)),
            (&[(FIELD_MANAGER, "f:taints"), ("kubectl-cordon", CORDON)], Some(CordonOwner::Somebody)),
            (&[(FIELD_MANAGER, CORDON), ("argocd", CORDON)], Some(CordonOwner::Both)),
            (&[("ancient-changes", CORDON)], None),
            (&[("before-first-apply", CORDON)], None),
            (&[("before-first-apply", CORDON), (FIELD_MANAGER, CORDON)], Some(CordonOwner::Mechanic)),
        ] {
            assert_eq!(owner(managers), expected, "{managers:?}");
        }
    }
}
