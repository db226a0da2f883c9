//! `cargo bench -p mechanic-proto --bench drain_against_kubectl`: the same pods drained by `kubectl drain` and by mechanic,
//! on one control plane, one after the other.
//!
//! Times run from the start of kubectl, or from the moment that Azure's document changes, to the moment that the last pod
//! is gone from its node; mechanic's therefore hold its probe's poll, and are told from its first claim on as well.
//! Requests are those of kubectl, or of both coordinators for pods and nodes, in the API server's audit log in that time;
//! Kubernetes Events are counted apart.
//! `PROFILE=dev` takes builds that don't ship, for a quick look. Fails where a bar or a promise is broken.

// A bench is there to print.
#![allow(clippy::print_stdout)]

mod ground;
mod requests;
#[path = "../support/mod.rs"]
mod support;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;
use jiff::Timestamp;
use mechanic_sandbox::{programs::Profile, workloads::Workload};

use ground::Ground;
use requests::{Requests, Who};

/// The shares that mechanic may take of the time of one `kubectl drain` of all nodes.
const ONE_NODE: f64 = 0.25;
const TEN_NODES: f64 = 0.5;
/// Requests a drain may need beside one for each pod.
const BESIDE: usize = 10;
/// Requests for ten pods that stay blocked, in the second minute.
const BLOCKED: usize = 20;
/// From the opening of a budget to the first eviction that uses it.
const OPENED: Duration = Duration::from_secs(1);

/// One side of a comparison.
struct Side {
    name: &'static str,
    took: Duration,
    /// mechanic's time without what came before its first claim.
    since_claim: Option<Duration>,
    requests: Requests,
}

#[derive(Clone, Copy)]
enum Way {
    /// As people do it: one process, which takes the nodes one after the other.
    Kubectl,
    /// A process for each node, side by side.
    KubectlEach,
    Mechanic,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Kubectl => "kubectl drain",
            Self::KubectlEach => "a kubectl each",
            Self::Mechanic => "mechanic",
        }
    }
}

fn main() -> Result<ExitCode> {
    support::run(compare)
}

async fn compare(profile: Profile) -> Result<ExitCode> {
    let ground = Ground::prepare(profile).await?;
    let mut kept = true;

    let one_node = [(Workload::new("web", 30), None), (Workload::new("cart", 10), Some(1))];
    let sides = drain_in_turn(&ground, 1, &one_node, &[Way::Kubectl, Way::Mechanic]).await?;
    println!("\n30 pods without a budget and 10 behind `maxUnavailable: 1`, on one node:");
    kept &= tell(&sides, 40, 1, ONE_NODE);

    let ten_nodes = [(Workload::new("web", 300).spread(), None)];
    let sides =
        drain_in_turn(&ground, 10, &ten_nodes, &[Way::Kubectl, Way::KubectlEach, Way::Mechanic]).await?;
    println!("\n10 nodes with 30 pods each:");
    kept &= tell(&sides, 300, 10, TEN_NODES);

    kept &= blocked(&ground).await?;

    let verdict = ground.world.referee.verdict().await;
    println!("\n{verdict}");
    ground.world.end().await?;
    Ok(if kept && verdict.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same pods on so many nodes, drained in one way after the other.
async fn drain_in_turn(
    ground: &Ground,
    nodes: usize,
    workloads: &[(Workload, Option<u32>)],
    ways: &[Way],
) -> Result<Vec<Side>> {
    let nodes = &ground.targets[..nodes];
    let cluster = &ground.world.cluster;
    let mut sides = Vec::new();
    for way in ways {
        ground.fill(nodes, workloads).await?;
        let (begun, at) = (Instant::now(), Timestamp::now());
        let (who, mut drain) = match way {
            Way::Kubectl => (Who::Kubectl, ground.drain_by_kubectl(nodes, nodes.len())?),
            Way::KubectlEach => (Who::Kubectl, ground.drain_by_kubectl(nodes, 1)?),
            Way::Mechanic => (Who::Mechanic, ground.drain_by_mechanic(nodes)?),
        };
        ground.all_gone(nodes, workloads).await?;
        let (took, until) = (begun.elapsed(), Timestamp::now());
        drain.end().await?;
        let claimed = match who {
            Who::Kubectl => None,
            Who::Mechanic => Requests::first_claim(cluster, at)?,
        };
        sides.push(Side {
            name: way.name(),
            took,
            since_claim: claimed.and_then(|claimed| Duration::try_from(until.duration_since(claimed)).ok()),
            requests: Requests::of(cluster, who, at, until)?,
        });
        ground.give_back(nodes).await?;
        ground.clear(workloads).await?;
    }
    Ok(sides)
}

/// Says how all did, and whether mechanic, the last, kept its bars against the first.
fn tell(sides: &[Side], pods: usize, drains: usize, share: f64) -> bool {
    let [kubectl, .., mechanic] = sides else { return false };
    for Side { name, took, since_claim, requests } in sides {
        #[allow(clippy::cast_precision_loss, reason = "a few thousand at most")]
        let each = requests.all as f64 / pods as f64;
        println!(
            "  {name:14} {:6.2} s  {:4.0}%   {:4} requests, {each:.2} a pod ({} evictions), {} Events",
            took.as_secs_f64(),
            100.0 * took.div_duration_f64(kubectl.took),
            requests.all,
            requests.evictions,
            requests.events
        );
        if let Some(time) = since_claim {
            println!(
                "  {:>14} {:6.2} s  {:4.0}%",
                "from claim on",
                time.as_secs_f64(),
                100.0 * time.div_duration_f64(kubectl.took)
            );
        }
    }
    let bar = kubectl.took.mul_f64(share);
    let at_most = pods + BESIDE * drains;
    // kubectl is told to drain; mechanic has decided so with its claim.
    let (drained_in, asked) = (mechanic.since_claim.unwrap_or(mechanic.took), mechanic.requests.all);
    let (fast, sparing) = (drained_in <= bar, asked <= at_most);
    println!(
        "  bars: {:.2} s{}, {at_most} requests{}",
        bar.as_secs_f64(),
        if fast { "" } else { "   TOO LONG" },
        if sparing { "" } else { "   TOO MANY" }
    );
    fast && sparing
}

/// Ten pods that no eviction can move for two minutes, on a node for each of both, and then can.
async fn blocked(ground: &Ground) -> Result<bool> {
    let (by_kubectl, by_mechanic) = (&ground.targets[..1], &ground.targets[1..2]);
    let mine = [(Workload::new("held-by-mechanic", 10), Some(0))];
    let theirs = [(Workload::new("held-by-kubectl", 10), Some(0))];
    ground.fill(by_mechanic, &mine).await?;
    ground.fill(by_kubectl, &theirs).await?;
    let mut drains = [ground.drain_by_kubectl(by_kubectl, 1)?, ground.drain_by_mechanic(by_mechanic)?];
    tokio::time::sleep(Duration::from_mins(1)).await;
    let from = Timestamp::now();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let until = Timestamp::now();
    println!("\n10 pods behind a budget that lets none go, requests in the second minute:");
    let [kubectl, mechanic] =
        [Who::Kubectl, Who::Mechanic].map(|who| Requests::of(&ground.world.cluster, who, from, until));
    let (kubectl, mechanic) = (kubectl?, mechanic?);
    let sparing = mechanic.all <= BLOCKED;
    println!("  kubectl drain  {:4}\n  mechanic       {:4}", kubectl.all, mechanic.all);
    println!("  bar: {BLOCKED}{}", if sparing { "" } else { "   TOO MANY" });

    let opened = Timestamp::now();
    ground.world.open_budget("held-by-mechanic").await?;
    ground.all_gone(by_mechanic, &mine).await?;
    let used = Requests::first_eviction(&ground.world.cluster, Who::Mechanic, opened)?;
    let soon = used.is_some_and(|used| used <= OPENED);
    println!(
        "  the budget opens: {:.3} s to the first eviction; bar: {:.0} s{}",
        used.unwrap_or_default().as_secs_f64(),
        OPENED.as_secs_f64(),
        if soon { "" } else { "   TOO LONG" }
    );
    ground.world.open_budget("held-by-kubectl").await?;
    ground.all_gone(by_kubectl, &theirs).await?;
    for drain in &mut drains {
        drain.end().await?;
    }
    ground.give_back(&ground.targets[..2]).await?;
    Ok(sparing && soon)
}
