//! Which virtual machine is meant: by what Azure says, whole and case-insensitively, never by guessing.

/// A virtual machine as the cloud provider names it: resource group and the name that events use in
/// `Resources` (`NAME_ID` for an instance of a scale set, `NAME` for a single machine). Lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmReference {
    resource_group: String,
    name: String,
}

impl VmReference {
    /// Reads `spec.providerID` of a Node (`azure://` + ARM path) or a `resourceId` of the Instance Metadata
    /// Service (the path alone). `None` where it is neither an instance of a scale set nor a single machine.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let path = id.strip_prefix("azure://").unwrap_or(id).to_ascii_lowercase();
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let (resource_group, name) = match parts.as_slice() {
            [
                "subscriptions",
                _,
                "resourcegroups",
                group,
                "providers",
                "microsoft.compute",
                "virtualmachinescalesets",
                set,
                "virtualmachines",
                id,
            ] => (*group, format!("{set}_{id}")),
            [
                "subscriptions",
                _,
                "resourcegroups",
                group,
                "providers",
                "microsoft.compute",
                "virtualmachines",
                name,
            ] => (*group, (*name).to_owned()),
            _ => return None,
        };
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        Some(Self { resource_group: resource_group.to_owned(), name })
    }

    /// The name that events use for this machine, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether both are in one resource group; names are unique only within one.
    #[must_use]
    pub fn is_in_group_of(&self, other: &Self) -> bool {
        self.resource_group == other.resource_group
    }

    /// The name that an entry of an event's `Resources` means: case varies, and old API versions put one `_`
    /// before it.
    #[must_use]
    pub fn name_in(resource: &str) -> String {
        resource.strip_prefix('_').unwrap_or(resource).to_ascii_lowercase()
    }

    /// Whether an entry of an event's `Resources` means this machine.
    #[must_use]
    pub fn is_named(&self, resource: &str) -> bool {
        let rest = resource.strip_prefix('_').unwrap_or(resource);
        rest.eq_ignore_ascii_case(&self.name)
    }
}

impl std::fmt::Display for VmReference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} in resource group {}", self.name, self.resource_group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE_SET: &str = "azure:///subscriptions/S/resourceGroups/MC_rg/providers/Microsoft.Compute/virtualMachineScaleSets/aks-userpool-18472905-vmss/virtualMachines/1";

    fn vm() -> VmReference {
        VmReference::parse(SCALE_SET).unwrap()
    }

    #[test]
    fn a_node_and_its_own_metadata_name_the_same_machine() {
        let from_metadata = SCALE_SET.trim_start_matches("azure://").replace("MC_rg", "mc_RG");
        assert_eq!(VmReference::parse(&from_metadata), Some(vm()));
        assert_eq!(vm().name(), "aks-userpool-18472905-vmss_1");
        let single = "azure:///subscriptions/S/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/aks-Nodes-32301838-vms0";
        assert_eq!(VmReference::parse(single).unwrap().name(), "aks-nodes-32301838-vms0");
    }

    #[test]
    fn the_same_name_in_another_resource_group_is_another_machine() {
        assert_ne!(VmReference::parse(&SCALE_SET.replace("MC_rg", "MC_other")), Some(vm()));
    }

    #[test]
    fn names_are_compared_whole() {
        assert!(vm().is_named("aks-userpool-18472905-vmss_1"));
        assert!(vm().is_named("_AKS-USERPOOL-18472905-VMSS_1"));
        for other in [
            "aks-userpool-18472905-vmss_10",
            "aks-userpool-18472905-vmss_",
            "__aks-userpool-18472905-vmss_1",
            "",
        ] {
            assert!(!vm().is_named(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_virtual_machine_is_none() {
        for id in [
            "",
            "azure://",
            "kwok://node",
            "aws:///eu-west-1a/i-0",
            "azure:///subscriptions/S/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/",
            "azure:///subscriptions/S/resourceGroups//providers/Microsoft.Compute/virtualMachines/vm",
            "azure:///subscriptions/S/resourceGroups/rg/providers/Microsoft.Storage/virtualMachines/vm",
        ] {
            assert_eq!(VmReference::parse(id), None, "{id}");
        }
    }
}
