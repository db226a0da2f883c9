//! What the bench stands on: a cluster, mechanic on it, and the referee.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use mechanic_sandbox::{
    azure::Azure,
    cluster::{Cluster, ClusterOptions, User},
    install::{InstallOptions, Installation, NAMESPACE, PodProcess, azure_of},
    nodes::{NodeSpec, Pool},
    programs::{Profile, Programs, Progress, workspace},
    referee::{CORDONED_LABEL, Promises, Referee},
};
use serde_json::{Value, json};
use tokio::process::Command;

/// Longer than anything takes that works, on a slow machine.
const LONG: Duration = Duration::from_mins(3);
/// `max-concurrent-drains` as the overlay has it.
const DRAINED_AT_ONCE: u32 = 10;
const HOLD: Duration = Duration::from_secs(2);

pub(crate) struct Ground {
    pub(crate) referee: Referee,
    pub(crate) installation: Installation,
    pub(crate) azure: Azure,
    /// The nodes without a coordinator: nothing on them has to move.
    pub(crate) targets: Vec<NodeSpec>,
    pub(crate) programs: Programs,
    nodes: Api<Node>,
    pub(crate) cluster: Cluster,
}

impl Ground {
    /// Returns when a coordinator leads and has heard every probe.
    pub(crate) async fn prepare(count: u32, profile: Profile) -> Result<Self> {
        let progress: Progress = std::sync::Arc::new(|line| println!("{line}"));
        let programs = tokio::task::spawn_blocking(move || Programs::prepare(profile, &progress)).await??;
        let options =
            ClusterOptions { programs: Some(programs.cluster.clone()), ..ClusterOptions::default() };
        let cluster = Cluster::start(options).await?;
        let client = cluster.client(User::Sandbox).await?;
        let promises = Promises {
            max_concurrent_drains: (count * DRAINED_AT_ONCE / 100).max(1) as usize,
            release_hold: HOLD,
            ..Promises::default()
        };
        let referee = Referee::start(&cluster, promises).await?;
        let specs = Pool::new("userpool").nodes(count);
        cluster.nodes().await?.create_ready(&specs, LONG).await?;
        let azure = azure_of(&cluster).await?;
        let overlay = workspace().join("deploy/overlays/default");
        let installation =
            Installation::apply(&cluster, &azure, &overlay, InstallOptions::new(&programs)).await?;
        installation.wait_ready(LONG).await?;
        shorten_holds(&client).await?;
        let coordinators = installation.coordinators();
        let free = |spec: &NodeSpec| coordinators.iter().all(|pod| pod.node != spec.name);
        let targets = specs.into_iter().filter(free).collect();
        let nodes = Api::all(client);
        let ground = Self { referee, installation, azure, targets, programs, nodes, cluster };
        ground.all_heard(count as usize).await?;
        Ok(ground)
    }

    pub(crate) async fn leader(&self) -> Result<PodProcess> {
        self.installation.leader().await?.context("nobody leads")
    }

    /// Waits until the leader says of every node that its probe is heard.
    async fn all_heard(&self, count: usize) -> Result<()> {
        let token = ["create", "token", "default", "--audience", "mechanic-coordinator"];
        let token = self.cluster.kubectl(token).await?;
        let mut list = Command::new(self.cluster.programs().grpcurl());
        list.args(["-plaintext", "-H", &format!("authorization: Bearer {}", token.trim())])
            .arg(self.installation.coordinator_address()?.to_string())
            .arg("mechanic.v1.FleetService/ListNodes")
            .kill_on_drop(true);
        wait("the leader to hear all probes", async || {
            // Until somebody leads it answers with an error, and not with JSON.
            let answer = list.output().await?;
            let answer: Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
            let nodes = answer["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
            let heard = nodes.iter().filter(|node| node["coverage"] == "PROBE_COVERAGE_COVERED");
            Ok(heard.count() == count)
        })
        .await
    }

    /// Waits until mechanic doesn't hold this node.
    pub(crate) async fn given_back(&self, node: &str) -> Result<()> {
        wait("a node to be given back", async || {
            Ok(!self.nodes.get_metadata(node).await?.labels().contains_key(CORDONED_LABEL))
        })
        .await
    }

    /// Waits until mechanic holds nothing.
    pub(crate) async fn all_given_back(&self) -> Result<()> {
        let held = ListParams::default().labels(CORDONED_LABEL);
        let none_held = async || Ok(self.nodes.list_metadata(&held).await?.items.is_empty());
        wait("all nodes to be given back", none_held).await
    }

    pub(crate) async fn end(self) -> Result<()> {
        drop(self.referee);
        self.installation.stop().await;
        self.cluster.stop().await
    }
}

/// So that nodes come back for their next event.
async fn shorten_holds(client: &Client) -> Result<()> {
    let hold = format!("{}s", HOLD.as_secs());
    let data =
        json!({ "release-hold": hold, "release-hold-never-started": hold, "release-hold-after-boot": hold });
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({ "data": data }));
    let patched = config_maps.patch("mechanic", &PatchParams::default(), &patch).await;
    patched.map(drop).context("the ConfigMap mechanic can't be changed")
}

async fn wait(what: &str, mut look: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let seen = async {
        while !look().await? {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    };
    tokio::time::timeout(LONG, seen).await.with_context(|| format!("waited in vain for {what}"))?
}
