//! Two live migrations: one from its document to the uncordon, on the node where the leader is; and one in the middle of which
//! mechanic, by then in the nodes' own network, is taken off the cluster.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use mechanic_sandbox::azure::Event;
use mechanic_sandbox::cluster::User;
use mechanic_sandbox::nodes::NodeSpec;
use mechanic_sandbox::referee::{AzureFact, CLAIM_ANNOTATION, CORDONED_LABEL};

use super::endings::Watch;
use super::{Ground, LOOK_EVERY, WITHIN, installation, onlooker};
use crate::say;

/// Within the default of `lead-time`.
const NOTICE: Duration = Duration::from_mins(9);

pub(super) async fn play(ground: &Ground) -> Result<()> {
    let client = ground.cluster.client(User::Sandbox).await?;
    let endings = Watch::start(&client);
    installation::install(ground).await?;
    let (leader, node) = installation::leader(ground, &client).await?;
    installation::all_probes_report(ground, &leader).await?;
    onlooker::list_nodes(ground).await?;
    say(&format!("A live migration of {} is announced, where the leader is:", node.name));
    let migration = drained_for(ground, &client, &endings, node).await?;
    is_over(ground, &migration).await?;
    migration.since("the migration is over");
    given_back(&client, node).await?;
    migration.since("the node is given back");
    onlooker::logs_tell(ground, &migration.event.event_id).await?;
    judge(ground).await?;

    let (leader, node) = installation::leader(ground, &client).await?;
    // Both probes will be in one network here, so both ask this node's VM; the other's word is about a machine that isn't its
    // own, and moves nothing.
    installation::change_to_host_network(ground, &client, node).await?;
    installation::all_probes_report(ground, &leader).await?;
    say(&format!("Another of {} is announced, which only the nodes' own network sees:", node.name));
    let migration = drained_for(ground, &client, &endings, node).await?;
    installation::uninstall(ground, &client, &endings).await?;
    given_back(&client, node).await?;
    migration.since("the node is given back, and mechanic is gone");
    judge(ground).await
}

/// An event under way.
struct Migration {
    event: Event,
    begun: Instant,
}

impl Migration {
    fn since(&self, what: &str) {
        say(&format!("  {:>5.1} s  {what}", self.begun.elapsed().as_secs_f32()));
    }
}

/// Announces a live migration of this node, and sees its pods away.
async fn drained_for(
    ground: &Ground,
    client: &Client,
    endings: &Watch,
    node: &NodeSpec,
) -> Result<Migration> {
    let leaving = leaving(client, &node.name).await?;
    let event = Event {
        description:
            "Virtual machine is being paused because of a memory-preserving Live Migration operation.".into(),
        ..Event::scheduled("Freeze", [node.vm_name()], NOTICE)
    };
    ground.referee.witness(AzureFact::Announced {
        event: Box::new(event.clone()),
        nodes: vec![node.name.clone()],
        avoidable: true,
    });
    let migration = Migration { event, begun: Instant::now() };
    ground.azure.announce(&migration.event)?;
    node_until(client, node, "cordoned under a claim", |node| is_cordoned(node) && is_claimed(node)).await?;
    migration.since("the node is cordoned under a claim");
    node_until(client, node, "drained", |node| claim(node).contains(r#""phase":"drained""#)).await?;
    migration.since("it is drained");
    let slowest = endings.all_ended_well(&leaving).await?;
    migration.since(&format!(
        "its {} pods have ended with status 0, the slowest in {slowest:.1} s",
        leaving.len()
    ));
    Ok(migration)
}

/// It begins, and is done two seconds later.
async fn is_over(ground: &Ground, migration: &Migration) -> Result<()> {
    let event = &migration.event.event_id;
    ground.azure.start(event)?;
    ground.referee.witness(AzureFact::Started { event: event.clone() });
    tokio::time::sleep(Duration::from_secs(2)).await;
    ground.azure.remove(event)?;
    ground.referee.witness(AzureFact::Removed { event: event.clone() });
    Ok(())
}

async fn given_back(client: &Client, node: &NodeSpec) -> Result<()> {
    node_until(client, node, "given back", |node| !is_cordoned(node) && !is_claimed(node)).await
}

async fn judge(ground: &Ground) -> Result<()> {
    let verdict = ground.referee.verdict().await;
    if !verdict.is_clean() {
        bail!("{verdict}");
    }
    say("The referee saw every promise kept.");
    Ok(())
}

/// The pods that are to leave this node: all but those of DaemonSets.
async fn leaving(client: &Client, node: &str) -> Result<Vec<String>> {
    let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = Api::<Pod>::all(client.clone()).list(&here).await.context("can't list the node's pods")?;
    let leaving: Vec<String> = pods
        .iter()
        .filter(|pod| !pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet"))
        .map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()))
        .collect();
    if leaving.len() < 2 {
        bail!(
            "only {leaving:?} would leave node {node}, and there should be a coordinator and some of the workload"
        );
    }
    Ok(leaving)
}

async fn node_until(
    client: &Client,
    node: &NodeSpec,
    what: &str,
    is_so: impl Fn(&Node) -> bool,
) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let begun = Instant::now();
    loop {
        let now = nodes.get(&node.name).await.with_context(|| format!("can't read node {}", node.name))?;
        if is_so(&now) {
            return Ok(());
        }
        if begun.elapsed() > WITHIN {
            bail!(
                "node {} isn't {what} within {} s; its claim: {}",
                node.name,
                WITHIN.as_secs(),
                claim(&now)
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default()
}

fn is_claimed(node: &Node) -> bool {
    node.labels().contains_key(CORDONED_LABEL) || node.annotations().contains_key(CLAIM_ANNOTATION)
}

fn claim(node: &Node) -> &str {
    node.annotations().get(CLAIM_ANNOTATION).map_or("", String::as_str)
}
