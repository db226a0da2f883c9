//! The world that a scenario plays in: a cluster, Azure's side of it, workloads, and the referee from the first moment.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::{Scenario, WorkloadKind, WorkloadScript};
use crate::azure::{Azure, Vm};
use crate::cluster::{Cluster, ClusterOptions, User};
use crate::install::{InstallOptions, Installation, NAMESPACE};
use crate::nodes::{NodeSpec, Pool};
use crate::programs::Programs;
use crate::referee::{Promises, Referee};
use crate::workloads::{self, Workload};

/// Generous: the machine may be busy.
const WITHIN: Duration = Duration::from_mins(2);

/// Everything that a run needs. Ended in this order.
pub struct World {
    /// Sees all of it.
    pub referee: Referee,
    /// mechanic.
    pub installation: Installation,
    /// Azure's side.
    pub azure: Azure,
    /// What stands behind the Nodes.
    pub nodes: Vec<NodeSpec>,
    /// The control plane.
    pub cluster: Cluster,
}

impl World {
    /// Builds the world of `scenario`: returns when mechanic is Ready and leads, and every pod runs.
    pub async fn build(
        scenario: &Scenario,
        programs: &Programs,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<Self> {
        let options =
            ClusterOptions { programs: Some(programs.cluster.clone()), ..ClusterOptions::default() };
        let cluster = Cluster::start(options).await?;
        tell("A control plane runs: etcd, API server, controller manager, scheduler.");
        let expect = &scenario.expect;
        let promises = Promises {
            max_concurrent_drains: expect.max_concurrent_drains,
            release_hold: Duration::from_secs(expect.release_hold),
            ..Promises::default()
        };
        let referee = Referee::start(&cluster, promises).await?;
        let client = cluster.client(User::Sandbox).await?;
        let nodes: Vec<NodeSpec> =
            scenario.pools.iter().flat_map(|pool| Pool::new(&pool.name).nodes(pool.nodes)).collect();
        cluster.nodes().await?.create_ready(&nodes, WITHIN).await?;
        let azure = virtual_machines(&cluster, &client, &nodes).await?;
        tell(&format!("{} nodes are Ready, a VM with a metadata service behind each.", nodes.len()));
        let overlay = crate::programs::workspace().join("deploy/overlays/default");
        let installation = install(&cluster, &azure, &overlay, programs).await?;
        if !scenario.config.is_empty() {
            configure(&client, scenario).await?;
        }
        for script in &scenario.workloads {
            start(&client, script).await?;
        }
        installation.wait_ready(WITHIN).await?;
        let nodes_count = nodes.len();
        for script in &scenario.workloads {
            let count = match script.kind {
                WorkloadKind::DaemonSet => nodes_count,
                WorkloadKind::Deployment | WorkloadKind::StatefulSet => script.replicas as usize,
            };
            workload(script).ready(&client, count, WITHIN).await?;
        }
        tell("mechanic is installed from deploy/overlays/default, and every pod is Ready.");
        let leader = wait_for_leader(&installation).await?;
        tell(&format!("{leader} leads."));
        Ok(Self { referee, installation, azure, nodes, cluster })
    }

    /// Ends all of it.
    pub async fn end(self) -> Result<()> {
        drop(self.referee);
        self.installation.stop().await;
        self.cluster.stop().await
    }
}

async fn virtual_machines(cluster: &Cluster, client: &Client, specs: &[NodeSpec]) -> Result<Azure> {
    let azure = Azure::new();
    let nodes: Api<Node> = Api::all(client.clone());
    for spec in specs {
        let node = nodes.get(&spec.name).await?;
        let address = cluster.network().next_address()?;
        azure.add_vm(Vm::of_node(&node)?, address, &spec.boot_id).await?;
    }
    Ok(azure)
}

async fn install(
    cluster: &Cluster,
    azure: &Azure,
    overlay: &Path,
    programs: &Programs,
) -> Result<Installation> {
    let options = InstallOptions { restart_backoff: Duration::from_secs(1), ..InstallOptions::new(programs) };
    Installation::apply(cluster, azure, overlay, options).await
}

async fn configure(client: &Client, scenario: &Scenario) -> Result<()> {
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({ "data": scenario.config }));
    let patched = config_maps.patch("mechanic", &PatchParams::default(), &patch).await;
    patched.map(drop).context("the ConfigMap mechanic can't be changed")
}

fn workload(script: &WorkloadScript) -> Workload {
    Workload::new(&script.name, script.replicas)
        .spread()
        .start_after(Duration::from_secs(script.start_after))
        .stop_after(Duration::from_secs(script.stop_after))
}

async fn start(client: &Client, script: &WorkloadScript) -> Result<()> {
    let workload = workload(script);
    if let Some(pods) = script.max_unavailable {
        workloads::create(client, &workload.max_unavailable(pods)?).await?;
    }
    match script.kind {
        WorkloadKind::Deployment => workloads::create(client, &workload.deployment()?).await.map(drop),
        WorkloadKind::StatefulSet => workloads::create(client, &workload.stateful_set()?).await.map(drop),
        WorkloadKind::DaemonSet => workloads::create(client, &workload.daemon_set()?).await.map(drop),
    }
}

async fn wait_for_leader(installation: &Installation) -> Result<String> {
    let leader = async {
        loop {
            if let Some(leader) = installation.leader().await? {
                return Ok(leader.pod);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(WITHIN, leader).await.context("no coordinator took the Lease")?
}
