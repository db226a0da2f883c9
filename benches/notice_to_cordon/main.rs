//! `cargo bench -p mechanic-proto --bench notice_to_cordon`: how long from the moment Azure's document changes until the
//! claim and the cordon stand on the Node, over many events on 50 nodes; then what an idle minute costs.
//!
//! A real control plane, kwok nodes, mechanic as it ships, installed from `deploy/overlays/default`. Announced is when
//! the document changes, on this machine's clock; written is the `stageTimestamp` of the first PATCH in the API server's
//! audit log whose answer carries cordon and claim with that event, so the write to etcd is in it and no watch is.
//!
//! `NODES` (50), `EVENTS` (300) and `IDLE` (60, in seconds) change the size; `PROFILE=dev` takes builds that don't ship,
//! for a quick look. Fails where a bar or a promise is broken.

// A bench is there to print.
#![allow(clippy::print_stdout)]

mod audit;
mod footprint;
mod ground;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::VecDeque,
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use mechanic_sandbox::{azure::Event, programs::Profile};

use audit::AuditLog;
use ground::Ground;

/// The share of all events that may not take longer.
const BARS: [(&str, usize, Duration); 3] = [
    ("p50", 50, Duration::from_millis(600)),
    ("p95", 95, Duration::from_millis(1100)),
    ("p99", 99, Duration::from_millis(1500)),
];
/// Enough for any drain.
const NOTICE: Duration = Duration::from_mins(9);
/// How long an event stays in the document.
const LIFE: Duration = Duration::from_secs(8);
/// Between two events, plus up to a second: probes poll once a second, each in its own phase.
const PAUSE: Duration = Duration::from_millis(300);
/// What the events set going has come to rest after this.
const SETTLE: Duration = Duration::from_secs(20);

/// An event, and the node whose machine it hits.
pub(crate) struct Announced {
    pub(crate) event: String,
    pub(crate) node: String,
    pub(crate) at: Timestamp,
}

fn main() -> Result<ExitCode> {
    support::run(measure)
}

async fn measure(profile: Profile) -> Result<ExitCode> {
    let (nodes, events, idle) = (number("NODES", 50)?, number("EVENTS", 300)?, number("IDLE", 60)?);
    let ground = Ground::prepare(nodes, profile).await?;
    println!("{nodes} nodes, {profile:?} builds of mechanic; {}", support::load()?);

    let announced = announce_all(&ground, events).await?;
    ground.all_given_back().await?;
    let fast_enough = tell_times(&AuditLog::read(&ground.world.cluster)?, &announced)?;

    tokio::time::sleep(SETTLE).await;
    let leader = ground.leader().await?;
    let begun = Timestamp::now();
    tokio::time::sleep(Duration::from_secs(idle.into())).await;
    let ended = Timestamp::now();
    println!("\nrequests of {idle} idle seconds ({}):", support::load()?);
    AuditLog::read(&ground.world.cluster)?.tell_requests(begun, ended, &leader.pod);
    footprint::tell(&ground, &leader.pod)?;

    let verdict = ground.world.referee.verdict().await;
    println!("\n{verdict}");
    ground.world.end().await?;
    Ok(if fast_enough && verdict.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn number(variable: &str, default: u32) -> Result<u32> {
    let Ok(text) = env::var(variable) else { return Ok(default) };
    text.parse().with_context(|| format!("{variable} is {text:?}, which is no number"))
}

/// One after the other, each on the next node, at random phases of its probe's poll.
async fn announce_all(ground: &Ground, count: u32) -> Result<Vec<Announced>> {
    let mut announced = Vec::new();
    let mut present = VecDeque::new();
    for node in ground.targets.iter().cycle().take(count as usize) {
        ground.given_back(&node.name).await?;
        tokio::time::sleep(PAUSE + Duration::from_secs(1).mul_f64(rand::random())).await;
        while present.front().is_some_and(|(since, _): &(Instant, String)| since.elapsed() > LIFE) {
            present.pop_front().into_iter().try_for_each(|(_, event)| ground.world.remove(&event))?;
        }
        let event = Event::scheduled("Reboot", [node.vm_name()], NOTICE);
        let at = Timestamp::now();
        let event = ground.world.announce(&event, &[node], true)?;
        present.push_back((Instant::now(), event.clone()));
        announced.push(Announced { event, node: node.name.clone(), at });
    }
    tokio::time::sleep(LIFE).await;
    present.into_iter().try_for_each(|(_, event)| ground.world.remove(&event))?;
    Ok(announced)
}

/// Says how long it took, and whether that is within the bars.
fn tell_times(log: &AuditLog, announced: &[Announced]) -> Result<bool> {
    let cordons: Vec<_> = announced.iter().filter_map(|event| log.cordon(event)).collect();
    println!("\nfrom the notice to the cordon, {} of {} events:", cordons.len(), announced.len());
    let sorted = |part: fn(&audit::Cordon) -> Duration| {
        let mut times: Vec<Duration> = cordons.iter().map(part).collect();
        times.sort();
        times
    };
    let (written, arrived) = (sorted(|cordon| cordon.written), sorted(|cordon| cordon.arrived));
    let Some(longest) = written.last() else { bail!("no event led to a cordon") };
    let mut fast_enough = cordons.len() == announced.len();
    println!("       written    bar      the PATCH arrived");
    for (name, percent, bar) in BARS {
        let (time, arrival) = (percentile(&written, percent), percentile(&arrived, percent));
        let judged = if time <= bar { "" } else { "   TOO LONG" };
        fast_enough &= time <= bar;
        println!(
            "  {name}  {:.3} s   {:.1} s    {:.3} s{judged}",
            time.as_secs_f64(),
            bar.as_secs_f64(),
            arrival.as_secs_f64()
        );
    }
    println!("  max  {:.3} s", longest.as_secs_f64());
    println!("  {} of mechanic's writes on Nodes met a newer version and were made anew", log.conflicts());
    Ok(fast_enough)
}

/// The smallest time that so many per cent of all don't exceed. `sorted` isn't empty.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}
