//! `cargo bench -p mechanic-proto --bench drain_against_kubectl`: the same pods drained by `kubectl drain` and by mechanic,
//! on one control plane, one after the other.
//!
//! Times run from the start of kubectl, or from the moment that Azure's document changes, to the moment that the last pod
//! is gone from its node; mechanic's therefore hold its probe's poll, the cordon and the claim too. Requests are those of
//! kubectl, or of both coordinators for pods and nodes, in the API server's audit log in that time; Kubernetes Events are
//! counted apart.
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

/// The shares of kubectl's time that mechanic may take.
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
    took: Duration,
    requests: Requests,
}

fn main() -> Result<ExitCode> {
    support::run(compare)
}

async fn compare(profile: Profile) -> Result<ExitCode> {
    let ground = Ground::prepare(profile).await?;
    let mut kept = true;

    let one_node = [(Workload::new("web", 30), None), (Workload::new("cart", 10), Some(1))];
    let (kubectl, mechanic) = both(&ground, 1, &one_node).await?;
    println!("\n30 pods without a budget and 10 behind `maxUnavailable: 1`, on one node:");
    kept &= tell(&kubectl, &mechanic, 40, 1, ONE_NODE);

    let ten_nodes = [(Workload::new("web", 300).spread(), None)];
    let (kubectl, mechanic) = both(&ground, 10, &ten_nodes).await?;
    println!("\n10 nodes with 30 pods each, at once (kubectl in ten processes):");
    kept &= tell(&kubectl, &mechanic, 300, 10, TEN_NODES);

    kept &= blocked(&ground).await?;

    let verdict = ground.world.referee.verdict().await;
    println!("\n{verdict}");
    ground.world.end().await?;
    Ok(if kept && verdict.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same pods on so many nodes, drained by the one and then by the other.
async fn both(ground: &Ground, nodes: usize, workloads: &[(Workload, Option<u32>)]) -> Result<(Side, Side)> {
    let nodes = &ground.targets[..nodes];
    let mut sides = Vec::new();
    for who in [Who::Kubectl, Who::Mechanic] {
        ground.fill(nodes, workloads).await?;
        let (begun, at) = (Instant::now(), Timestamp::now());
        let mut drain = match who {
            Who::Kubectl => ground.drain_by_kubectl(nodes)?,
            Who::Mechanic => ground.drain_by_mechanic(nodes)?,
        };
        ground.all_gone(nodes, workloads).await?;
        let (took, until) = (begun.elapsed(), Timestamp::now());
        drain.end().await?;
        let requests = Requests::of(&ground.world.cluster, who, at, until)?;
        ground.give_back(nodes).await?;
        ground.clear(workloads).await?;
        sides.push(Side { took, requests });
    }
    let mechanic = sides.remove(1);
    Ok((sides.remove(0), mechanic))
}

/// Says how both did, and whether mechanic kept its bars.
fn tell(kubectl: &Side, mechanic: &Side, pods: usize, drains: usize, share: f64) -> bool {
    for (name, Side { took, requests }) in [("kubectl drain", kubectl), ("mechanic", mechanic)] {
        #[allow(clippy::cast_precision_loss, reason = "a few thousand at most")]
        let each = requests.all as f64 / pods as f64;
        println!(
            "  {name:14} {:6.2} s   {:4} requests, {each:.2} a pod ({} evictions), {} Events",
            took.as_secs_f64(),
            requests.all,
            requests.evictions,
            requests.events
        );
    }
    let bar = kubectl.took.mul_f64(share);
    let at_most = pods + BESIDE * drains;
    let (fast, sparing) = (mechanic.took <= bar, mechanic.requests.all <= at_most);
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
    let mut drains = [ground.drain_by_kubectl(by_kubectl)?, ground.drain_by_mechanic(by_mechanic)?];
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
