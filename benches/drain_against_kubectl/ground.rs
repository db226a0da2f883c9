//! What the comparison stands on: a cluster, mechanic on it, pods where they are wanted, and two ways to drain.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use mechanic_sandbox::{
    azure::Event,
    cluster::User,
    nodes::{NodeSpec, Pool},
    programs::Profile,
    referee::CORDONED_LABEL,
    workloads::{Workload, create},
    world::{World, WorldOptions},
};
use tokio::process::{Child, Command};

use crate::support;

/// Longer than anything takes that works, on a slow machine.
const LONG: Duration = Duration::from_mins(4);
/// Enough for any drain.
const NOTICE: Duration = Duration::from_mins(9);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Ten that are drained, and room for their pods.
const NODES: u32 = 18;

pub(crate) struct Ground {
    pub(crate) world: World,
    /// The nodes without a coordinator.
    pub(crate) targets: Vec<NodeSpec>,
    nodes: Api<Node>,
    pods: Api<Pod>,
    events: Mutex<Vec<String>>,
}

/// A drain under way.
pub(crate) struct Drain {
    processes: Vec<Child>,
}

impl Drain {
    /// Waits for kubectl; mechanic ends by itself.
    pub(crate) async fn end(&mut self) -> Result<()> {
        for process in &mut self.processes {
            let ended =
                tokio::time::timeout(LONG, process.wait()).await.context("kubectl drain goes on")??;
            if !ended.success() {
                bail!("kubectl drain ended with {ended}");
            }
        }
        Ok(())
    }
}

impl Ground {
    pub(crate) async fn prepare(profile: Profile) -> Result<Self> {
        let programs = support::programs(profile).await?;
        // Drains are compared, not limits and holds.
        let mut config: BTreeMap<String, String> =
            ["max-cordoned", "max-concurrent-drains", "max-unavailable-nodes"]
                .map(|key| (key.into(), "100%".into()))
                .into();
        for key in ["release-hold", "release-hold-never-started", "release-hold-after-boot"] {
            config.insert(key.into(), "2s".into());
        }
        config.insert("set-aside-after".into(), "1h".into());
        let options = WorldOptions { config, ..WorldOptions::new(programs, Pool::new("apps").nodes(NODES)) };
        let world = World::build(options, &|line| println!("{line}")).await?;
        let targets = world.nodes_without_coordinator().into_iter().cloned().collect();
        let client = world.cluster.client(User::Sandbox).await?;
        let (nodes, pods) = (Api::all(client.clone()), Api::default_namespaced(client));
        Ok(Self { world, targets, nodes, pods, events: Mutex::default() })
    }

    /// Puts these pods on these nodes and on no other.
    pub(crate) async fn fill(&self, nodes: &[NodeSpec], workloads: &[(Workload, Option<u32>)]) -> Result<()> {
        let nodes: Vec<&NodeSpec> = nodes.iter().collect();
        self.world.close_others(&nodes).await?;
        for (workload, max_unavailable) in workloads {
            create(&self.world.client, &workload.deployment()?).await?;
            if let Some(pods) = max_unavailable {
                create(&self.world.client, &workload.max_unavailable(*pods)?).await?;
            }
            workload.ready(&self.world.client, workload.replicas.try_into()?, LONG).await?;
        }
        self.world.open_others(&nodes).await?;
        // The budgets must be counted, and what was created must have come to rest.
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(())
    }

    /// By processes that each take so many nodes.
    pub(crate) fn drain_by_kubectl(&self, nodes: &[NodeSpec], nodes_each: usize) -> Result<Drain> {
        let cluster = &self.world.cluster;
        let start = |nodes: &[NodeSpec]| {
            Command::new(cluster.programs().kubectl())
                .arg("--kubeconfig")
                .arg(cluster.kubeconfig(User::Admin))
                .args(["drain", "--ignore-daemonsets"])
                .args(nodes.iter().map(|node| &node.name))
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .kill_on_drop(true)
                .spawn()
        };
        let processes = nodes.chunks(nodes_each).map(start).collect::<std::io::Result<_>>()?;
        Ok(Drain { processes })
    }

    pub(crate) fn drain_by_mechanic(&self, nodes: &[NodeSpec]) -> Result<Drain> {
        let event = Event::scheduled("Reboot", nodes.iter().map(NodeSpec::vm_name), NOTICE);
        let id = self.world.announce(&event, &nodes.iter().collect::<Vec<_>>(), true)?;
        self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(id);
        Ok(Drain { processes: Vec::new() })
    }

    /// Waits until none of these pods is on one of these nodes.
    pub(crate) async fn all_gone(
        &self,
        nodes: &[NodeSpec],
        workloads: &[(Workload, Option<u32>)],
    ) -> Result<()> {
        let apps: Vec<&str> = workloads.iter().map(|(workload, _)| workload.name.as_str()).collect();
        // From the API server's cache, so that looking costs little; it is behind by milliseconds.
        let pods = ListParams::default().labels(&format!("app in ({})", apps.join(","))).match_any();
        let is_there = |pod: &Pod| {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            node.is_some_and(|name| nodes.iter().any(|node| node.name == name))
        };
        let gone = async {
            while self.pods.list(&pods).await?.items.iter().any(is_there) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        };
        tokio::time::timeout(LONG, gone).await.context("pods stay where they are")?
    }

    /// Ends the events, waits until mechanic holds nothing, and takes kubectl's cordons off.
    pub(crate) async fn give_back(&self, nodes: &[NodeSpec]) -> Result<()> {
        let events =
            std::mem::take(&mut *self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        events.iter().try_for_each(|event| self.world.remove(event))?;
        let held = ListParams::default().labels(CORDONED_LABEL);
        let given_back = async {
            while !self.nodes.list_metadata(&held).await?.items.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(LONG, given_back).await.context("nodes stay held")??;
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        self.world.cluster.kubectl(["uncordon"].iter().chain(&names)).await?;
        Ok(())
    }

    /// Deletes the workloads, and waits until their pods are gone.
    pub(crate) async fn clear(&self, workloads: &[(Workload, Option<u32>)]) -> Result<()> {
        let client = &self.world.client;
        let (deployments, budgets) = (
            Api::<Deployment>::default_namespaced(client.clone()),
            Api::<PodDisruptionBudget>::default_namespaced(client.clone()),
        );
        for (workload, budget) in workloads {
            deployments.delete(&workload.name, &DeleteParams::foreground()).await?;
            if budget.is_some() {
                budgets.delete(&workload.name, &DeleteParams::default()).await?;
            }
            workload.ready(client, 0, LONG).await?;
        }
        Ok(())
    }
}
