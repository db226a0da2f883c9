//! The contract of the election, kept by real processes against a real API server: never two Permits at once, writes
//! ordered by epoch, the next leader in time.
//!
//! Candidates are this very binary, started again. Lease 6 s, Permit 4 s, renewed each second, so that it takes two to
//! three minutes. `MECHANIC_SOAK_ROUNDS=20` repeats each case that has rounds so often; an argument runs only the cases
//! whose name contains it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod candidate;
mod cases;
mod group;
mod idle;
mod judge;

use std::{env, future::Future, pin::Pin, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use mechanic_sandbox::{
    cluster::{Cluster, ClusterOptions},
    programs::Progress,
};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    candidate::Orders,
    cases::{Outcome, SKEWS},
};

/// How many cases run at once.
const AT_ONCE: usize = 6;

type Case<'a> = (String, Pin<Box<dyn Future<Output = Result<Outcome>> + 'a>>);

fn main() -> Result<()> {
    if let Some(orders) = Orders::from_env() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(candidate::run(orders?));
    }
    if env::args().any(|argument| argument == "--list") {
        println!("contract: test");
        return Ok(());
    }
    let filter = env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    tokio::runtime::Runtime::new()?.block_on(contract(&filter))
}

async fn contract(filter: &str) -> Result<()> {
    let began = Instant::now();
    judge::check_the_judge()?;
    let soak: Option<usize> =
        env::var("MECHANIC_SOAK_ROUNDS").ok().map(|rounds| rounds.parse()).transpose()?;
    let rounds = |default: usize| soak.unwrap_or(default);
    let progress: Progress = Arc::new(|line| println!("{line}"));
    let options = ClusterOptions { progress: Some(progress), ..ClusterOptions::default() };
    let cluster = &Cluster::start(options).await?;
    println!("contract of the election: an API server after {:.1} s", began.elapsed().as_secs_f64());

    let mut all: Vec<Case<'_>> = vec![
        ("killed".into(), Box::pin(cases::killed(cluster, rounds(4)))),
        ("stopped".into(), Box::pin(cases::stopped(cluster, rounds(2)))),
        ("handed-over".into(), Box::pin(cases::handed_over(cluster, rounds(6)))),
        ("scribbled-on".into(), Box::pin(cases::scribbled_on(cluster))),
        ("deleted".into(), Box::pin(cases::deleted(cluster, rounds(3)))),
        ("deleted-when-dead".into(), Box::pin(cases::deleted_when_dead(cluster))),
        ("emptied-by-hand".into(), Box::pin(cases::emptied(cluster))),
        ("spec-removed-by-hand".into(), Box::pin(cases::holder_removed(cluster))),
        ("stranger-typed-in".into(), Box::pin(cases::given_to_a_stranger(cluster))),
        ("follower-typed-in".into(), Box::pin(cases::given_to_the_follower(cluster))),
        ("annotated-when-dead".into(), Box::pin(cases::annotated_when_dead(cluster))),
        ("renewed-before-acting".into(), Box::pin(cases::renewed_before_acting(cluster))),
        ("clock-set".into(), Box::pin(cases::clock_set(cluster))),
    ];
    for (case, leader, follower) in SKEWS {
        all.push((case.into(), Box::pin(cases::skewed(cluster, case, leader, follower))));
    }
    all.retain(|(name, _)| name.contains(filter));

    let turns = Semaphore::new(AT_ONCE);
    let cases = futures::future::join_all(
        all.into_iter().map(|(name, case)| async { (name, cases::in_turn(&turns, case).await) }),
    );
    let idle = async { if "idle".contains(filter) { idle::idle(cluster).await.map(Some) } else { Ok(None) } };
    let (outcomes, idle) = tokio::join!(cases, idle);

    let mut failures = Vec::new();
    let mut passed = Vec::new();
    for (name, outcome) in outcomes {
        match outcome {
            Ok(outcome) => passed.push(outcome),
            Err(error) => failures.push(format!("{name}: {error:#}")),
        }
    }
    // Alone: it stops the API server for everybody.
    if "stalled".contains(filter) {
        match cases::stalled(cluster, rounds(2)).await {
            Ok(outcomes) => passed.extend(outcomes),
            Err(error) => failures.push(format!("stalled: {error:#}")),
        }
    }
    for outcome in &passed {
        print(outcome);
    }
    match idle {
        Ok(Some(idle)) => println!(
            "  idle minute: {} requests of the leader, {} of the follower",
            idle.leader, idle.follower
        ),
        Ok(None) => {}
        Err(error) => failures.push(format!("idle: {error:#}")),
    }
    println!("contract of the election: {:.0} s", began.elapsed().as_secs_f64());
    ensure!(failures.is_empty(), "the contract is broken:\n{}", failures.join("\n"));
    Ok(())
}

fn print(outcome: &Outcome) {
    let Outcome { case, times, next_leader, tally } = outcome;
    let mut took: Vec<Duration> = next_leader.clone();
    took.sort();
    let seconds = |duration: &Duration| format!("{:.2}", duration.as_secs_f64());
    let next = match (took.first(), took.get(took.len() / 2), took.last()) {
        (Some(least), Some(median), Some(most)) => {
            format!(
                "next leader after {} / {} / {} s (least, median, most)",
                seconds(least),
                seconds(median),
                seconds(most)
            )
        }
        _ => "the leader stayed".to_owned(),
    };
    let gap =
        tally.least_gap_ms.map_or_else(String::new, |gap| format!(", least gap between Permits {gap} ms"));
    println!(
        "  {case}, {times} times: {next}{gap}; {} processes, {} Permits in a row, {} writes judged",
        tally.processes, tally.intervals, tally.writes
    );
}
