//! What is done to the candidates. Each case found a fault in some elector.

use std::{future::Future, time::Duration};

use anyhow::{Result, ensure};
use mechanic_leadership::{EPOCH_ANNOTATION, LEADER_ADDRESS_ANNOTATION, clock::Clock};
use mechanic_sandbox::cluster::Cluster;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    candidate::{Line, RENEWALS_AT_ONCE},
    group::{Group, LEASE, Led, NEXT_LEADER, SHORT_MS, now},
    idle::requests,
    judge::Tally,
};

const HOUR_MS: i64 = 3_600_000;

/// What a case found: how often it did what it does, how long the next leader took each time, and the judge's count.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) case: &'static str,
    pub(crate) times: usize,
    pub(crate) next_leader: Vec<Duration>,
    pub(crate) tally: Tally,
}

async fn finish(
    case: &'static str,
    times: usize,
    next_leader: Vec<Duration>,
    group: Group,
) -> Result<Outcome> {
    Ok(Outcome { case, times, next_leader, tally: group.verdict().await? })
}

/// A group of so many, and its leader.
async fn elected(cluster: &Cluster, case: &str, members: usize) -> Result<(Group, Led)> {
    let mut group = Group::new(cluster, case, SHORT_MS).await?;
    for _ in 0..members {
        group.spawn(0)?;
    }
    let led = group.leader().await?;
    Ok((group, led))
}

/// All are killed one after the other, each as it leads. They start at once, on a Lease that isn't there.
pub(crate) async fn killed(cluster: &Cluster, rounds: usize) -> Result<Outcome> {
    let (mut group, mut led) = elected(cluster, "killed", 3).await?;
    let mut took = Vec::new();
    for _ in 0..rounds {
        sleep(Duration::from_millis(700)).await;
        let at = now();
        group.signal(&led.by, Signal::KILL)?;
        group.spawn(0)?;
        led = group.next_leader(at, Some(&led.by), NEXT_LEADER).await?;
        took.push(led.from.since(at));
    }
    finish("leader killed", rounds, took, group).await
}

/// The leader is stopped for longer than its Lease lasts, and wakes up while another leads.
pub(crate) async fn stopped(cluster: &Cluster, rounds: usize) -> Result<Outcome> {
    let (mut group, mut led) = elected(cluster, "stopped", 2).await?;
    let mut took = Vec::new();
    for _ in 0..rounds {
        sleep(Duration::from_millis(700)).await;
        let at = now();
        group.signal(&led.by, Signal::STOP)?;
        let next = group.next_leader(at, Some(&led.by), NEXT_LEADER).await?;
        took.push(next.from.since(at));
        sleep(Duration::from_secs(2)).await;
        group.signal(&led.by, Signal::CONT)?;
        let how = group.end_of(&led.by, LEASE).await?;
        ensure!(how.starts_with("Lost"), "{} was stopped for too long, and ended so: {how}", led.by);
        group.spawn(0)?;
        led = next;
    }
    finish("leader stopped for longer than its lease", rounds, took, group).await
}

/// The wall clock of the leader or of the follower is an hour off. The follower must not take the Lease of a live leader,
/// and must take that of a dead one.
pub(crate) async fn skewed(
    cluster: &Cluster,
    case: &'static str,
    leader_ms: i64,
    follower_ms: i64,
) -> Result<Outcome> {
    let mut group = Group::new(cluster, case, SHORT_MS).await?;
    let leader = group.spawn(leader_ms)?;
    let led = group.leader().await?;
    group.spawn(follower_ms)?;
    sleep(LEASE + Duration::from_secs(2)).await;
    let still = group.leader().await?;
    ensure!(
        (&still.by, still.epoch) == (&leader, led.epoch),
        "{case}: a live leader was robbed by {}",
        still.by
    );
    let at = now();
    group.signal(&leader, Signal::KILL)?;
    let next = group.next_leader(at, Some(&leader), NEXT_LEADER).await?;
    finish(case, 1, vec![next.from.since(at)], group).await
}

pub(crate) const SKEWS: [(&str, i64, i64); 4] = [
    ("leader-an-hour-fast", HOUR_MS, 0),
    ("leader-an-hour-slow", -HOUR_MS, 0),
    ("follower-an-hour-fast", 0, HOUR_MS),
    ("follower-an-hour-slow", 0, -HOUR_MS),
];

/// Somebody sets the leader's clock: no Permit until the Lease is renewed, then the same epoch goes on.
pub(crate) async fn clock_set(cluster: &Cluster) -> Result<Outcome> {
    let (mut group, led) = elected(cluster, "clock-set", 2).await?;
    group.signal(&led.by, Signal::USR1)?;
    sleep(Duration::from_secs(3)).await;
    let log = group.log(&led.by)?;
    let refused =
        log.iter().position(|line| matches!(line, Line::Refused { why, .. } if why.contains("clock")));
    ensure!(refused.is_some(), "a clock that was set an hour ahead went unnoticed");
    let still = group.leader().await?;
    ensure!((&still.by, still.epoch) == (&led.by, led.epoch), "{} took the Lease", still.by);
    finish("leader's clock set", 1, vec![], group).await
}

/// The Lease is deleted under a live leader: it makes it anew and leads on.
pub(crate) async fn deleted(cluster: &Cluster, rounds: usize) -> Result<Outcome> {
    let (group, led) = elected(cluster, "deleted", 3).await?;
    for _ in 0..rounds {
        group.delete_lease().await?;
        sleep(Duration::from_millis(2500)).await;
        let still = group.leader().await?;
        ensure!((&still.by, still.epoch) == (&led.by, led.epoch), "{} made the Lease anew", still.by);
        ensure!(
            group.lease().await?.spec.and_then(|spec| spec.holder_identity)
                == Some(group.holder_id(&led.by)?)
        );
    }
    finish("lease deleted under a live leader", rounds, vec![], group).await
}

/// The Lease is deleted under a dead leader.
pub(crate) async fn deleted_when_dead(cluster: &Cluster) -> Result<Outcome> {
    let (mut group, led) = elected(cluster, "deleted-when-dead", 3).await?;
    group.signal(&led.by, Signal::KILL)?;
    sleep(Duration::from_secs(1)).await;
    let at = now();
    group.delete_lease().await?;
    let next = group.next_leader(at, Some(&led.by), NEXT_LEADER).await?;
    finish("lease deleted under a dead leader", 1, vec![next.from.since(at)], group).await
}

/// Somebody takes the Lease from a live leader by hand: it must notice before another leads.
async fn robbed_by_hand(
    cluster: &Cluster,
    case: &'static str,
    edit: impl AsyncFn(&Group, &Led) -> Result<Value>,
) -> Result<Outcome> {
    let (mut group, led) = elected(cluster, case, 2).await?;
    let edit = edit(&group, &led).await?;
    let at = now();
    group.edit_lease(edit).await?;
    let how = group.end_of(&led.by, LEASE).await?;
    ensure!(how.starts_with("Lost"), "{} ended so: {how}", led.by);
    let next = group.next_leader(at, Some(&led.by), NEXT_LEADER).await?;
    finish(case, 1, vec![next.from.since(at)], group).await
}

pub(crate) async fn emptied(cluster: &Cluster) -> Result<Outcome> {
    robbed_by_hand(cluster, "emptied-by-hand", async |_, _| Ok(json!({ "spec": { "holderIdentity": "" } })))
        .await
}

pub(crate) async fn holder_removed(cluster: &Cluster) -> Result<Outcome> {
    robbed_by_hand(cluster, "spec-removed-by-hand", async |_, _| Ok(json!({ "spec": null }))).await
}

pub(crate) async fn given_to_a_stranger(cluster: &Cluster) -> Result<Outcome> {
    let stranger = async |_: &Group, _: &Led| Ok(json!({ "spec": { "holderIdentity": "somebody-else" } }));
    robbed_by_hand(cluster, "stranger-typed-in", stranger).await
}

/// The follower's own name is typed over the leader's, whose Permit still holds.
pub(crate) async fn given_to_the_follower(cluster: &Cluster) -> Result<Outcome> {
    robbed_by_hand(cluster, "follower-typed-in", async |group, led| {
        let follower =
            if led.by.ends_with('0') { led.by.replace("-0", "-1") } else { led.by.replace("-1", "-0") };
        Ok(json!({ "spec": { "holderIdentity": group.holder_id(&follower)? } }))
    })
    .await
}

/// Edits that take nothing from a live leader: it leads on, and puts right what followers need.
pub(crate) async fn scribbled_on(cluster: &Cluster) -> Result<Outcome> {
    let (mut group, led) = elected(cluster, "scribbled-on", 2).await?;
    let address = format!("{}:7443", led.by);
    let edits = [
        json!({ "spec": { "leaseDurationSeconds": 1 } }),
        json!({ "spec": { "leaseDurationSeconds": 86_400 } }),
        json!({ "spec": { "renewTime": null } }),
        json!({ "spec": { "leaseTransitions": i32::MAX } }),
        json!({ "metadata": { "annotations": { LEADER_ADDRESS_ANNOTATION: null, EPOCH_ANNOTATION: "many" } } }),
    ];
    for edit in &edits {
        group.edit_lease(edit.clone()).await?;
        sleep(Duration::from_millis(2500)).await;
        let annotations = group.lease().await?.metadata.annotations.unwrap_or_default();
        ensure!(
            annotations.get(LEADER_ADDRESS_ANNOTATION) == Some(&address),
            "after {edit}: {annotations:?}"
        );
        ensure!(
            annotations.get(EPOCH_ANNOTATION) == Some(&led.epoch.to_string()),
            "after {edit}: {annotations:?}"
        );
        let still = group.leader().await?;
        ensure!((&still.by, still.epoch) == (&led.by, led.epoch), "after {edit} {} leads", still.by);
    }
    let at = now();
    group.signal(&led.by, Signal::KILL)?;
    let next = group.next_leader(at, Some(&led.by), NEXT_LEADER).await?;
    finish("lease scribbled on", edits.len(), vec![next.from.since(at)], group).await
}

/// A stranger annotates the Lease each second while the leader is dead.
pub(crate) async fn annotated_when_dead(cluster: &Cluster) -> Result<Outcome> {
    let (mut group, led) = elected(cluster, "annotated-when-dead", 2).await?;
    let at = now();
    group.signal(&led.by, Signal::KILL)?;
    let scribble = async {
        for note in 0.. {
            group
                .edit_lease(json!({ "metadata": { "annotations": { "stranger": format!("note {note}") } } }))
                .await?;
            sleep(Duration::from_secs(1)).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    let next = tokio::select! {
        failed = scribble => { failed?; anyhow::bail!("the stranger stopped") }
        next = group.next_leader(at, Some(&led.by), NEXT_LEADER) => next?,
    };
    finish("lease annotated each second, leader dead", 1, vec![next.from.since(at)], group).await
}

/// The leader is asked to stop and hands over.
pub(crate) async fn handed_over(cluster: &Cluster, rounds: usize) -> Result<Outcome> {
    let (mut group, mut led) = elected(cluster, "handed-over", 2).await?;
    let mut took = Vec::new();
    for _ in 0..rounds {
        sleep(Duration::from_millis(700)).await;
        let at = now();
        group.signal(&led.by, Signal::TERM)?;
        let next = group.next_leader(at, Some(&led.by), NEXT_LEADER).await?;
        took.push(next.from.since(at));
        let how = group.end_of(&led.by, LEASE).await?;
        ensure!(how == "SteppedDown", "{} ended so: {how}", led.by);
        group.spawn(0)?;
        led = next;
    }
    finish("hand-over by step-down", rounds, took, group).await
}

/// The API server stands still for longer than a Lease lasts, over several groups at once.
pub(crate) async fn stalled(cluster: &Cluster, rounds: usize) -> Result<Vec<Outcome>> {
    let names = ["stalled-a", "stalled-b", "stalled-c"];
    let [a, b, c] = names.map(|name| elected(cluster, name, 2));
    let (a, b, c) = tokio::try_join!(a, b, c)?;
    let mut groups = [a, b, c];
    let mut took: [Vec<Duration>; 3] = Default::default();
    for _ in 0..rounds {
        sleep(Duration::from_secs(1)).await;
        cluster.freeze_api_server()?;
        for (group, led) in &mut groups {
            group.signal(&led.by, Signal::USR2)?;
        }
        sleep(LEASE + Duration::from_secs(3)).await;
        cluster.thaw_api_server()?;
        let at = now();
        for ((group, led), took) in groups.iter_mut().zip(&mut took) {
            let granted = group.renewals_granted(&led.by, LEASE).await?;
            ensure!(granted == 0, "{} got {granted} Permits from an API server that stood still", led.by);
            let next = group.next_leader(at, None, NEXT_LEADER).await?;
            took.push(next.from.since(at));
            if !group.is_alive(&led.by)? {
                group.spawn(0)?;
            }
            *led = next;
        }
    }
    let mut outcomes = Vec::new();
    for (((group, _), took), case) in groups.into_iter().zip(took).zip(names) {
        outcomes.push(finish(case, rounds, took, group).await?);
    }
    Ok(outcomes)
}

/// Renew, then act: many ask at once, and share renewals that are sent after they asked. A follower gets nothing.
pub(crate) async fn renewed_before_acting(cluster: &Cluster) -> Result<Outcome> {
    let (mut group, led) = elected(cluster, "renewed-before-acting", 2).await?;
    let follower =
        if led.by.ends_with('0') { led.by.replace("-0", "-1") } else { led.by.replace("-1", "-0") };
    let from = Clock::system().now().wall;
    group.signal(&led.by, Signal::USR2)?;
    let granted = group.renewals_granted(&led.by, LEASE).await?;
    let requests = requests(cluster, &led.by, from, Clock::system().now().wall)?;
    ensure!(granted == RENEWALS_AT_ONCE, "the leader got {granted} Permits");
    // Two a renewal: one that was under way, one for those who asked, one more that was due by itself.
    ensure!((2..=6).contains(&requests), "{RENEWALS_AT_ONCE} tasks cost {requests} requests");
    group.signal(&follower, Signal::USR2)?;
    let granted = group.renewals_granted(&follower, LEASE).await?;
    ensure!(granted == 0, "a follower got {granted} Permits");
    finish("renew, then act", 1, vec![], group).await
}

/// So that the cases don't starve each other on a small machine.
pub(crate) async fn in_turn<T>(
    turns: &tokio::sync::Semaphore,
    case: impl Future<Output = Result<T>>,
) -> Result<T> {
    let _turn = turns.acquire().await?;
    case.await
}
