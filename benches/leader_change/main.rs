//! `cargo bench -p mechanic-proto --bench leader_change`: 5,000 probes lose their leader and find the next one.
//!
//! A real control plane, coordinators as they ship, and 5,000 Nodes without kubelets. Their probes are the real one's uplink,
//! all in this process, each with a token that is bound to a pod on its Node. The leader is told to stop, and killed; what
//! is measured is when the next one leads, when it has all streams again, what that asks of the API server and what a stream
//! costs the leader. A reboot that is announced as the leader goes says whether somebody is still served.
//!
//! `PROBES` (5000) changes the size; `PROFILE=dev` takes builds that don't ship, for a quick look. Fails where a bar or a
//! promise is broken.

// A bench is there to print.
#![allow(clippy::print_stdout)]

mod change;
mod cost;
mod ground;
mod probes;
#[path = "../support/mod.rs"]
mod support;

use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use mechanic_sandbox::programs::Profile;

use change::Change;
use cost::Meter;
use ground::Ground;
use probes::Probes;

/// What a stream may cost the leader, in bytes.
const STREAM_BAR: u64 = 64 * 1024;
/// What a stream costs is seen when nothing is being set up any more.
const SETTLE: Duration = Duration::from_secs(30);

fn main() -> Result<ExitCode> {
    support::run(measure)
}

async fn measure(profile: Profile) -> Result<ExitCode> {
    let count: u32 = match env::var("PROBES") {
        Ok(text) => text.parse().with_context(|| format!("PROBES is {text:?}, which is no number"))?,
        Err(_) => 5_000,
    };
    let ground = Ground::prepare(profile, count).await?;
    println!("{count} probes, {profile:?} builds of mechanic; {}", support::load()?);

    let leader = ground.world.leader().await?;
    let before = support::kilobytes(&leader, "VmRSS:")?;
    let meter = Meter::start(&ground)?;
    let probes = Probes::start(&ground, count)?;
    let begun = Instant::now();
    ground.wait_attached(count).await?;
    println!("\nall at once: {count} streams after {:.1} s", begun.elapsed().as_secs_f64());
    meter.tell(&ground)?;

    let meter = Meter::start(&ground)?;
    tokio::time::sleep(SETTLE).await;
    println!("\n{} s of heartbeats", SETTLE.as_secs());
    meter.tell(&ground)?;
    let after = support::kilobytes(&leader, "VmRSS:")?;
    let bytes = after.saturating_sub(before) * 1024 / u64::from(count);
    let small_enough = bytes <= STREAM_BAR;
    let judged = if small_enough { "" } else { "   TOO MUCH" };
    println!("  the leader's memory: {before} kB before, {after} kB now: {bytes} bytes a stream{judged}");

    let mut in_time = true;
    for change in [Change::ToldToStop, Change::Killed, Change::ToldToStop, Change::Killed] {
        in_time &= change.measure(&ground, count).await?;
    }
    drop(probes);

    let verdict = ground.world.referee.verdict().await;
    println!("\n{verdict}");
    let kept = small_enough && in_time && verdict.is_clean();
    ground.world.end().await?;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
