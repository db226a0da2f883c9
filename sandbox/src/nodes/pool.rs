//! What AKS calls an agent pool: one scale set or VMs of their own, and Node objects as its kubelets register them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSpec as KubeNodeSpec, NodeStatus, NodeSystemInfo, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;

/// The taint by which AKS keeps pods off Spot VMs that don't ask for them.
pub const SPOT_TAINT: &str = "kubernetes.azure.com/scalesetpriority";

const REGION: &str = "westeurope";
const GROUP: &str = "MC_shop_shop-prod_westeurope";
const SUBSCRIPTION: &str = "8c1f2a6e-5b7d-4f93-9a40-1d2e3c4b5a69";

/// One pool of nodes.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Like `userpool`.
    pub name: String,
    /// The eight digits in its nodes' names.
    pub number: String,
    /// Like `Standard_D4s_v5`.
    pub vm_size: String,
    /// `System` or `User`.
    pub mode: &'static str,
    /// Whether its VMs are spot VMs, tainted as AKS does.
    pub spot: bool,
    /// Whether its VMs stand alone instead of in a scale set.
    pub single: bool,
    /// How many zones its VMs are spread over; 0 for none.
    pub zones: u32,
    /// Allocatable CPUs of each node.
    pub cpus: u32,
    /// Allocatable memory of each node.
    pub memory_gib: u32,
    /// The most pods on a node.
    pub pods: u32,
}

impl Pool {
    /// A pool of ordinary VMs, in three zones.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let number = name.bytes().fold(18_472_905_u32, |sum, byte| {
            (sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 90_000_000 + 10_000_000
        });
        Self {
            name: name.into(),
            number: number.to_string(),
            vm_size: "Standard_D4s_v5".into(),
            mode: "User",
            spot: false,
            single: false,
            zones: 3,
            cpus: 4,
            memory_gib: 16,
            pods: 110,
        }
    }

    /// Its first `count` nodes.
    #[must_use]
    pub fn nodes(&self, count: u32) -> Vec<NodeSpec> {
        (0..count).map(|instance| self.node(instance)).collect()
    }

    /// The node on its VM of that number.
    #[must_use]
    pub fn node(&self, instance: u32) -> NodeSpec {
        // AKS writes the group in lower case here; the metadata service doesn't.
        let group = GROUP.to_lowercase();
        let providers = format!(
            "azure:///subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/Microsoft.Compute"
        );
        let base = format!("aks-{}-{}", self.name, self.number);
        let (name, scale_set, provider_id) = if self.single {
            let name = format!("{base}-vms{instance}");
            (name.clone(), String::new(), format!("{providers}/virtualMachines/{name}"))
        } else {
            let set = format!("{base}-vmss");
            let id = format!("{providers}/virtualMachineScaleSets/{set}/virtualMachines/{instance}");
            (format!("{set}{}", base36(instance)), set, id)
        };
        NodeSpec {
            name,
            provider_id,
            vm_id: random_guid(),
            boot_id: random_guid(),
            zone: (self.zones > 0).then(|| format!("{REGION}-{}", instance % self.zones + 1)),
            instance,
            scale_set,
            pool: self.clone(),
        }
    }
}

/// One node and the VM behind it.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Like `aks-userpool-18472905-vmss00000d`.
    pub name: String,
    /// `spec.providerID`.
    pub provider_id: String,
    /// The VM's GUID; the node's `systemUUID`.
    pub vm_id: String,
    /// What the kernel calls its boot.
    pub boot_id: String,
    /// Like `westeurope-2`.
    pub zone: Option<String>,
    /// The instance's number in the scale set.
    pub instance: u32,
    /// The scale set's name; empty for a VM that stands alone.
    pub scale_set: String,
    /// The pool it belongs to.
    pub pool: Pool,
}

impl NodeSpec {
    /// The VM's name as scheduled events list it: `SCALESET_INSTANCE`, or its own.
    #[must_use]
    pub fn vm_name(&self) -> String {
        if self.scale_set.is_empty() {
            return self.name.clone();
        }
        format!("{}_{}", self.scale_set, self.instance)
    }

    /// The Node object as a kubelet would register it.
    #[must_use]
    pub fn node(&self) -> Node {
        let amounts = BTreeMap::from([
            ("cpu".to_owned(), Quantity(self.pool.cpus.to_string())),
            ("memory".to_owned(), Quantity(format!("{}Gi", self.pool.memory_gib))),
            ("ephemeral-storage".to_owned(), Quantity("120Gi".into())),
            ("pods".to_owned(), Quantity(self.pool.pods.to_string())),
        ]);
        let taint = Taint {
            key: SPOT_TAINT.into(),
            value: Some("spot".into()),
            effect: "NoSchedule".into(),
            time_added: None,
        };
        Node {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(self.labels()),
                ..ObjectMeta::default()
            },
            spec: Some(KubeNodeSpec {
                provider_id: Some(self.provider_id.clone()),
                taints: self.pool.spot.then(|| vec![taint]),
                ..KubeNodeSpec::default()
            }),
            status: Some(NodeStatus {
                allocatable: Some(amounts.clone()),
                capacity: Some(amounts),
                node_info: Some(NodeSystemInfo {
                    architecture: "amd64".into(),
                    boot_id: self.boot_id.clone(),
                    container_runtime_version: "containerd://2.1.6-1".into(),
                    kernel_version: "5.15.0-1102-azure".into(),
                    kubelet_version: "v1.36.3".into(),
                    kube_proxy_version: "v1.36.3".into(),
                    machine_id: self.vm_id.replace('-', ""),
                    operating_system: "linux".into(),
                    os_image: "Ubuntu 22.04.5 LTS".into(),
                    system_uuid: self.vm_id.clone(),
                    ..NodeSystemInfo::default()
                }),
                ..NodeStatus::default()
            }),
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let pool = &self.pool;
        // AKS gives a VM without a zone its fault domain here.
        let zone = self.zone.clone().unwrap_or_else(|| "0".into());
        let mut labels: BTreeMap<String, String> = [
            ("agentpool", pool.name.as_str()),
            ("kubernetes.azure.com/agentpool", &pool.name),
            ("kubernetes.azure.com/cluster", GROUP),
            ("kubernetes.azure.com/mode", if pool.mode == "System" { "system" } else { "user" }),
            ("kubernetes.azure.com/role", "agent"),
            ("kubernetes.io/arch", "amd64"),
            ("kubernetes.io/hostname", &self.name),
            ("kubernetes.io/os", "linux"),
            ("node.kubernetes.io/instance-type", &pool.vm_size),
            ("topology.kubernetes.io/region", REGION),
            ("topology.kubernetes.io/zone", &zone),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        if pool.spot {
            labels.insert(SPOT_TAINT.into(), "spot".into());
        }
        labels
    }
}

/// AKS ends a node's name in six digits to the base of 36.
fn base36(mut number: u32) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(number % 36) as usize];
        number /= 36;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

fn random_guid() -> String {
    let hex = format!("{:032x}", rand::random::<u128>());
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_follow_the_scale_set() {
        let pool = Pool { number: "18472905".into(), ..Pool::new("userpool") };
        let node = pool.node(49);
        assert_eq!(node.name, "aks-userpool-18472905-vmss00001d");
        assert_eq!(node.vm_name(), "aks-userpool-18472905-vmss_49");
        assert!(
            node.provider_id
                .ends_with("/virtualMachineScaleSets/aks-userpool-18472905-vmss/virtualMachines/49")
        );
        assert_eq!(node.vm_id.len(), 36);
        assert_eq!(Pool::new("system").number.len(), 8);
    }

    #[test]
    fn a_single_vm_is_named_like_its_node() {
        let node = Pool { single: true, number: "32301838".into(), ..Pool::new("nodes") }.node(0);
        assert_eq!((node.name.as_str(), node.vm_name()), ("aks-nodes-32301838-vms0", node.name.clone()));
        assert!(node.provider_id.ends_with("/Microsoft.Compute/virtualMachines/aks-nodes-32301838-vms0"));
    }

    #[test]
    fn a_spot_pools_nodes_say_so_and_keep_others_away() {
        let node = Pool { spot: true, ..Pool::new("spot") }.node(0).node();
        assert_eq!(node.metadata.labels.unwrap()["kubernetes.azure.com/scalesetpriority"], "spot");
        assert_eq!(node.spec.unwrap().taints.unwrap().len(), 1);
    }
}
