//! What the bench stands on: a cluster, mechanic on it, and the referee.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt as _, api::ListParams};
use mechanic_sandbox::{
    cluster::User,
    install::PodProcess,
    nodes::{NodeSpec, Pool},
    programs::{Profile, Programs},
    referee::CORDONED_LABEL,
    world::{World, WorldOptions},
};
use serde_json::Value;
use tokio::process::Command;

use crate::support;

/// Longer than anything takes that works, on a slow machine.
const LONG: Duration = Duration::from_mins(3);

pub(crate) struct Ground {
    pub(crate) world: World,
    /// The nodes without a coordinator: nothing on them has to move.
    pub(crate) targets: Vec<NodeSpec>,
    pub(crate) programs: Programs,
    nodes: Api<Node>,
}

impl Ground {
    /// Returns when a coordinator leads and has heard every probe.
    pub(crate) async fn prepare(count: u32, profile: Profile) -> Result<Self> {
        let programs = support::programs(profile).await?;
        // Holds so short that a node soon comes back for its next event.
        let holds = ["release-hold", "release-hold-never-started", "release-hold-after-boot"];
        let mut config = BTreeMap::from(holds.map(|key| (key.into(), "2s".into())));
        // Half of the pool at once is what is measured here, not what is deferred.
        config.insert("max-cordoned".into(), "100%".into());
        let options =
            WorldOptions { config, ..WorldOptions::new(programs.clone(), Pool::new("apps").nodes(count)) };
        let world = World::build(options, &|line| println!("{line}")).await?;
        let targets = world.nodes_without_coordinator().into_iter().cloned().collect();
        let nodes = Api::all(world.cluster.client(User::Sandbox).await?);
        let ground = Self { world, targets, programs, nodes };
        ground.all_heard(count as usize).await?;
        Ok(ground)
    }

    pub(crate) async fn leader(&self) -> Result<PodProcess> {
        self.world.installation.leader().await?.context("nobody leads")
    }

    /// Waits until the leader says of every node that its probe is heard.
    async fn all_heard(&self, count: usize) -> Result<()> {
        let cluster = &self.world.cluster;
        let token = cluster
            .kubectl("-n mechanic create token mechanic-viewer --audience mechanic-coordinator".split(' '))
            .await?;
        let authorities = cluster.run_folder().join("authorities.pem");
        tokio::fs::write(&authorities, self.world.installation.authorities().await?).await?;
        let mut list = Command::new(cluster.programs().grpcurl());
        list.args(["-authority", "mechanic-coordinator", "-cacert"])
            .arg(authorities)
            .args(["-H", &format!("authorization: Bearer {}", token.trim())])
            .arg(self.world.installation.coordinator_address()?.to_string())
            .arg("mechanic.v1.FleetService/ListNodes")
            .kill_on_drop(true);
        wait("the leader to hear all probes", async || {
            // A leader that has just begun answers with an error, and not with JSON.
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
