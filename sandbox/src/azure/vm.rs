//! A virtual machine as Azure describes it to itself.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::event::new_guid;

/// One VM. Its `name` is what scheduled events list under `Resources`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// `SCALESET_ID` in a scale set, else the VM's own name.
    pub name: String,
    /// A GUID that stays with the VM for its life.
    pub vm_id: String,
    /// The full resource id, the part of `spec.providerID` behind `azure://`.
    pub resource_id: String,
    /// Its resource group.
    pub resource_group: String,
    /// Empty for a VM outside a scale set.
    pub scale_set: String,
    /// All VMs that share it see each other's events; empty for a VM that sees only its own.
    pub placement_group: String,
    /// The host name, which on Azure may differ from the node's name in case.
    pub computer_name: String,
    /// `Regular` or `Spot`.
    pub priority: String,
    /// The zone's number, or empty.
    pub zone: String,
    /// For example `Standard_D4s_v5`.
    pub size: String,
    /// For example `westeurope`.
    pub location: String,
}

impl Vm {
    /// The VM behind a Node that carries an Azure `spec.providerID`. VMs of one scale set share a placement group.
    pub fn of_node(node: &Node) -> Result<Self> {
        let node_name = node.metadata.name.clone().unwrap_or_default();
        let provider_id =
            node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()).with_context(|| {
                format!("node {node_name} has no spec.providerID, so no VM stands behind it")
            })?;
        let place = Place::parse(provider_id).with_context(|| {
            format!("the providerID {provider_id} of node {node_name} isn't one of an Azure VM")
        })?;
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let system_uuid = node
            .status
            .as_ref()
            .and_then(|status| status.node_info.as_ref())
            .map(|info| info.system_uuid.clone())
            .filter(|uuid| uuid.len() == 36);
        // AKS lowers the resource group's case in the providerID; the metadata service keeps it as it was given.
        let cluster = label("kubernetes.azure.com/cluster");
        let (resource_group, resource_id) = if cluster.eq_ignore_ascii_case(&place.resource_group) {
            let id = place.resource_id.replacen(&place.resource_group, &cluster, 1);
            (cluster, id)
        } else {
            (place.resource_group.clone(), place.resource_id.clone())
        };
        let spot = label("kubernetes.azure.com/scalesetpriority") == "spot";
        Ok(Self {
            name: place.vm_name(),
            vm_id: system_uuid.unwrap_or_else(new_guid).to_lowercase(),
            resource_id,
            resource_group,
            placement_group: place.scale_set.to_lowercase(),
            scale_set: place.scale_set,
            computer_name: node_name,
            priority: if spot { "Spot".into() } else { "Regular".into() },
            // The zone label reads REGION-NUMBER where the VM is in a zone, and just a number where it isn't.
            zone: label("topology.kubernetes.io/zone")
                .rsplit_once('-')
                .map(|(_, zone)| zone.to_owned())
                .unwrap_or_default(),
            size: label("node.kubernetes.io/instance-type"),
            location: label("topology.kubernetes.io/region"),
        })
    }

    /// Is it the VM that a Node's `spec.providerID` names?
    #[must_use]
    pub fn has_provider_id(&self, provider_id: &str) -> bool {
        provider_id.strip_prefix("azure://").is_some_and(|id| id.eq_ignore_ascii_case(&self.resource_id))
    }

    /// The answer to `/metadata/instance/compute`. All primitives are strings, missing ones are empty.
    #[must_use]
    pub fn compute(&self) -> Value {
        let subscription = self.resource_id.split('/').nth(2).unwrap_or_default();
        json!({
            "azEnvironment": "AzurePublicCloud",
            "evictionPolicy": if self.priority == "Spot" { "Delete" } else { "" },
            "location": self.location,
            "name": self.name,
            "osProfile": { "computerName": self.computer_name },
            "osType": "Linux",
            "placementGroupId": self.placement_group,
            "platformFaultDomain": "0",
            "platformUpdateDomain": "0",
            "priority": self.priority,
            "resourceGroupName": self.resource_group,
            "resourceId": self.resource_id,
            "subscriptionId": subscription,
            "tags": "",
            "tagsList": [],
            "vmId": self.vm_id,
            "vmScaleSetName": self.scale_set,
            "vmSize": self.size,
            "zone": self.zone,
        })
    }
}

struct Place {
    resource_id: String,
    resource_group: String,
    scale_set: String,
    id: String,
}

impl Place {
    fn parse(provider_id: &str) -> Option<Self> {
        let resource_id = provider_id.strip_prefix("azure://")?;
        let parts: Vec<&str> = resource_id.trim_start_matches('/').split('/').collect();
        let after = |key: &str| {
            let at = parts.iter().position(|part| part.eq_ignore_ascii_case(key))?;
            parts.get(at + 1).map(|value| (*value).to_owned())
        };
        Some(Self {
            resource_id: resource_id.to_owned(),
            resource_group: after("resourceGroups")?,
            scale_set: after("virtualMachineScaleSets").unwrap_or_default(),
            id: after("virtualMachines")?,
        })
    }

    fn vm_name(&self) -> String {
        if self.scale_set.is_empty() { self.id.clone() } else { format!("{}_{}", self.scale_set, self.id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(provider_id: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": "aks-userpool-18472905-vmss00000d", "labels": {
                "kubernetes.azure.com/cluster": "MC_rg",
                "topology.kubernetes.io/zone": "westeurope-2", "topology.kubernetes.io/region": "westeurope" } },
            "spec": { "providerID": provider_id },
        }))
        .unwrap()
    }

    const GROUP: &str = "azure:///subscriptions/0001/resourceGroups/mc_rg/providers/Microsoft.Compute";

    #[test]
    fn a_scale_sets_vm_is_named_after_set_and_instance() {
        let provider_id =
            format!("{GROUP}/virtualMachineScaleSets/aks-userpool-18472905-vmss/virtualMachines/13");
        let vm = Vm::of_node(&node(&provider_id)).unwrap();
        assert_eq!(vm.name, "aks-userpool-18472905-vmss_13");
        assert!(vm.has_provider_id(&provider_id.to_uppercase().replace("AZURE", "azure")));
        let compute = vm.compute();
        assert_eq!(compute["vmScaleSetName"], "aks-userpool-18472905-vmss");
        assert_eq!(compute["resourceGroupName"], "MC_rg");
        assert_eq!(compute["subscriptionId"], "0001");
        assert_eq!(compute["zone"], "2");
    }

    #[test]
    fn a_single_vm_keeps_its_own_name_and_sees_only_itself() {
        let vm = Vm::of_node(&node(&format!("{GROUP}/virtualMachines/aks-nodes-32301838-vms0"))).unwrap();
        assert_eq!(vm.name, "aks-nodes-32301838-vms0");
        assert_eq!(vm.placement_group, "");
    }

    #[test]
    fn a_node_of_another_cloud_is_refused_with_a_reason() {
        let error = Vm::of_node(&node("aws:///eu-west-1a/i-0abc")).unwrap_err();
        assert!(error.to_string().contains("isn't one of an Azure VM"), "{error}");
    }
}
