//! A world to try mechanic in: a cluster, Azure's side of it, mechanic installed from `deploy/`, and the referee, who is
//! there from the first moment and told of everything that is done to a VM.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde::Serialize;
use serde_json::json;

use crate::azure::{Azure, Event};
use crate::cluster::{Cluster, ClusterOptions, User};
use crate::fault_proxy::FaultProxy;
use crate::install::{InstallOptions, Installation, NAMESPACE, PodProcess, azure_of};
use crate::nodes::{NodeSpec, Nodes};
use crate::programs::{Programs, workspace};
use crate::referee::{AzureFact, Promises, Referee};

/// Generous: the machine may be busy.
pub const WITHIN: Duration = Duration::from_mins(2);

/// How a world is to be.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Kubernetes' programs and mechanic's.
    pub programs: Programs,
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
    /// What is there before the overlay: a manifest with the kinds and objects that it builds on, if it needs any.
    pub beforehand: Option<PathBuf>,
    /// The overlay that installs mechanic.
    pub overlay: PathBuf,
    /// Keys of the ConfigMap `mechanic` that differ from what the overlay installs.
    pub config: BTreeMap<String, String>,
    /// Programs of images that the overlay doesn't name, by the images' names.
    pub images: BTreeMap<String, PathBuf>,
    /// Variables that every process of mechanic's gets.
    pub env: BTreeMap<String, String>,
    /// Whether the coordinators reach the API server through a fault proxy.
    pub fault_proxy: bool,
    /// What the referee holds mechanic to.
    pub promises: Promises,
}

impl WorldOptions {
    /// These nodes, and mechanic as the default overlay installs it.
    #[must_use]
    pub fn new(programs: Programs, nodes: Vec<NodeSpec>) -> Self {
        Self {
            programs,
            nodes,
            beforehand: None,
            overlay: workspace().join("deploy/overlays/default"),
            config: BTreeMap::new(),
            images: BTreeMap::new(),
            env: BTreeMap::new(),
            fault_proxy: false,
            promises: Promises::default(),
        }
    }
}

/// Everything that a run needs. Ended in this order.
pub struct World {
    /// Sees all of it.
    pub referee: Referee,
    /// mechanic.
    pub installation: Installation,
    /// Between the coordinators and the API server, where asked for.
    pub fault_proxy: Option<Arc<FaultProxy>>,
    /// Azure's side.
    pub azure: Azure,
    /// What stands behind the Nodes.
    pub nodes: Vec<NodeSpec>,
    /// The Nodes and their power.
    pub kubelets: Nodes,
    /// The API server, asked as the sandbox.
    pub client: Client,
    /// The control plane.
    pub cluster: Cluster,
}

impl World {
    /// Builds it: returns when mechanic is Ready in full and leads. `tell` hears of each part as it stands.
    pub async fn build(options: WorldOptions, tell: &(dyn Fn(&str) + Sync)) -> Result<Self> {
        let WorldOptions { programs, nodes, beforehand, overlay, config, images, env, fault_proxy, promises } =
            options;
        let cluster = Cluster::start(ClusterOptions {
            programs: Some(programs.cluster.clone()),
            ..ClusterOptions::default()
        })
        .await?;
        tell("A control plane runs: etcd, API server, controller manager, scheduler.");
        let referee = Referee::start(&cluster, promises).await?;
        let client = cluster.client(User::Sandbox).await?;
        let kubelets = cluster.nodes().await?;
        kubelets.create_ready(&nodes, WITHIN).await?;
        let azure = azure_of(&cluster).await?;
        tell(&format!("{} nodes are Ready, a VM with a metadata service behind each.", nodes.len()));
        let fault_proxy = if fault_proxy {
            let upstream = cluster.config(User::Sandbox).await?;
            Some(Arc::new(FaultProxy::new(&upstream, cluster.network().next_address()?)?))
        } else {
            None
        };
        let mut install = InstallOptions {
            fault_proxy: fault_proxy.clone(),
            restart_backoff: Duration::from_secs(1),
            env,
            ..InstallOptions::new(&programs)
        };
        install.programs.extend(images);
        if let Some(manifest) = beforehand {
            cluster.kubectl(["apply", "--filename", &manifest.display().to_string()]).await?;
            // A kind is known a moment later than it is there.
            cluster
                .kubectl(["wait", "--for=condition=Established", "--all", "customresourcedefinitions"])
                .await?;
        }
        let installation = Installation::apply(&cluster, &azure, &overlay, install).await?;
        let world = Self { referee, installation, fault_proxy, azure, nodes, kubelets, client, cluster };
        if !config.is_empty() {
            world.configure(&config).await?;
        }
        world.installation.wait_ready(WITHIN).await?;
        let leader = world.leader().await?;
        let overlay = overlay.strip_prefix(workspace()).unwrap_or(&overlay).display();
        tell(&format!("mechanic is installed from {overlay} and Ready; {} leads.", leader.pod));
        Ok(world)
    }

    /// Puts keys into the ConfigMap `mechanic`; `null` takes one out.
    pub async fn configure(&self, data: &(impl Serialize + Sync)) -> Result<()> {
        let config_maps = Api::<ConfigMap>::namespaced(self.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({ "data": data }));
        let patched = config_maps.patch("mechanic", &PatchParams::default(), &patch).await;
        patched.map(drop).context("the ConfigMap mechanic can't be changed")
    }

    /// The coordinator that leads; waits for one.
    pub async fn leader(&self) -> Result<PodProcess> {
        let leader = async {
            loop {
                let leader = self.installation.leader().await?.filter(|pod| pod.pid.is_some());
                if let Some(leader) = leader {
                    return Ok(leader);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(WITHIN, leader).await.context("no coordinator took the Lease")?
    }

    /// The nodes that no coordinator runs on, so that their drains are about nothing else.
    #[must_use]
    pub fn nodes_without_coordinator(&self) -> Vec<&NodeSpec> {
        let coordinators = self.installation.coordinators();
        self.nodes.iter().filter(|node| coordinators.iter().all(|pod| pod.node != node.name)).collect()
    }

    /// The event shows up in the documents of the VMs under these nodes. Returns its id. `avoidable` says that there is
    /// time and room enough to move every pod that may be moved.
    pub fn announce(&self, event: &Event, nodes: &[&NodeSpec], avoidable: bool) -> Result<String> {
        self.referee.witness(AzureFact::Announced {
            event: Box::new(event.clone()),
            nodes: nodes.iter().map(|node| node.name.clone()).collect(),
            avoidable,
        });
        self.azure.announce(event)
    }

    /// The event is moved.
    pub fn move_to(&self, event: &str, not_before: &str) -> Result<()> {
        let (event_id, not_before) = (event.to_owned(), not_before.to_owned());
        self.azure.change(event, |event| event.not_before.clone_from(&not_before))?;
        self.referee.witness(AzureFact::Moved { event: event_id, not_before });
        Ok(())
    }

    /// The event begins.
    pub fn start(&self, event: &str) -> Result<()> {
        self.referee.witness(AzureFact::Started { event: event.to_owned() });
        self.azure.start(event)
    }

    /// The event is over, or cancelled: nobody can tell.
    pub fn remove(&self, event: &str) -> Result<()> {
        self.azure.remove(event)?;
        self.referee.witness(AzureFact::Removed { event: event.to_owned() });
        Ok(())
    }

    /// Keeps new pods off all nodes but these, as a person would; [`World::open_others`] lets them in again.
    pub async fn close_others(&self, nodes: &[&NodeSpec]) -> Result<()> {
        self.for_others("cordon", nodes).await
    }

    /// Takes back what [`World::close_others`] did.
    pub async fn open_others(&self, nodes: &[&NodeSpec]) -> Result<()> {
        self.for_others("uncordon", nodes).await
    }

    /// Lets every pod of a budget in namespace `default` go, as a person would.
    pub async fn open_budget(&self, name: &str) -> Result<()> {
        let open = r#"{"spec":{"maxUnavailable":"100%"}}"#;
        self.cluster.kubectl(["patch", "pdb", name, "--type=merge", "--patch", open]).await?;
        Ok(())
    }

    async fn for_others(&self, verb: &str, nodes: &[&NodeSpec]) -> Result<()> {
        let is_other = |name: &&str| nodes.iter().all(|node| node.name != *name);
        let others = self.nodes.iter().map(|node| node.name.as_str()).filter(is_other);
        self.cluster.kubectl(std::iter::once(verb).chain(others)).await?;
        Ok(())
    }

    /// The VM under this node goes, with everything on it. The node is no longer Ready a moment later.
    pub async fn power_off(&self, node: &NodeSpec) -> Result<()> {
        self.referee.witness(AzureFact::PoweredOff { node: node.name.clone() });
        self.azure.power_off(&node.vm_name())?;
        self.kubelets.power_off(&node.name).await
    }

    /// The VM under this node boots, and what is on the node comes back by itself.
    pub async fn power_on(&self, node: &NodeSpec) -> Result<()> {
        let boot_id = self.azure.power_on(&node.vm_name())?;
        // At once: whatever begins to count with this boot begins now.
        self.referee.witness(AzureFact::PoweredOn { node: node.name.clone() });
        self.kubelets.power_on(&node.name, &boot_id).await
    }

    /// Another VM comes up behind this node, under the same name and with nothing of the old one's.
    pub async fn replace_vm(&self, node: &NodeSpec) -> Result<()> {
        self.power_off(node).await?;
        let vm_id = self.azure.replace_vm(&node.vm_name())?;
        self.referee.witness(AzureFact::Replaced { node: node.name.clone() });
        self.kubelets.set_vm_id(&node.name, &vm_id).await?;
        self.power_on(node).await
    }

    /// The VM goes for good, and its Node is deleted.
    pub async fn delete_node(&self, node: &NodeSpec) -> Result<()> {
        self.power_off(node).await?;
        self.kubelets.delete(&node.name).await
    }

    /// VM and Node of that name come back.
    pub async fn create_node(&self, node: &NodeSpec) -> Result<()> {
        self.kubelets.create_ready(std::slice::from_ref(node), WITHIN).await?;
        self.power_on(node).await
    }

    /// Ends all of it.
    pub async fn end(self) -> Result<()> {
        drop(self.referee);
        self.installation.stop().await;
        self.cluster.stop().await
    }
}
