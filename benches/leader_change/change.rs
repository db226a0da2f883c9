//! One change of the leader.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use mechanic_sandbox::{azure::Event, install::NAMESPACE};
use rustix::process::{Pid, Signal, kill_process};

use crate::{cost::Meter, ground::Ground};

const NOTICE: Duration = Duration::from_mins(9);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What was set going has come to rest after this.
const REST: Duration = Duration::from_secs(20);
/// From the next leader on until it has heard all probes.
const BAR: Duration = Duration::from_secs(15);

#[derive(Clone, Copy)]
pub(crate) enum Change {
    /// SIGTERM: it gives the Lease back.
    ToldToStop,
    /// SIGKILL: the Lease runs out.
    Killed,
}

impl Change {
    /// Makes it, says how it went, and whether that is within the bar.
    pub(crate) async fn measure(self, ground: &Ground, count: u32) -> Result<bool> {
        let (signal, what) = match self {
            Self::ToldToStop => (Signal::TERM, "told to stop"),
            Self::Killed => (Signal::KILL, "killed"),
        };
        let world = &ground.world;
        let leader = world.leader().await?;
        let free = world.nodes_without_coordinator();
        let node = *free.first().context("no node without a coordinator")?;

        let meter = Meter::start(ground)?;
        let pid =
            leader.pid.and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).context("it has no process")?;
        let begun = Instant::now();
        kill_process(pid, signal)?;
        let event = world.announce(&Event::scheduled("Reboot", [node.vm_name()], NOTICE), &[node], true)?;
        let since = || begun.elapsed().as_secs_f64();
        let (leads, held, attached) = tokio::try_join!(
            async { next_leader(ground, &leader.pod).await.map(|()| since()) },
            async { ground.wait_held(node, true).await.map(|()| since()) },
            async {
                // The old one may still show what it had.
                next_leader(ground, &leader.pod).await?;
                ground.wait_attached(count).await.map(|()| since())
            }
        )?;
        let in_time = attached - leads <= BAR.as_secs_f64();
        let judged = if in_time { "" } else { "   TOO LONG" };
        println!(
            "\nthe leader is {what}: another leads after {leads:.1} s, has all streams {:.1} s later{judged}, and holds the \
             node of an event that came just then {:.1} s after it leads",
            attached - leads,
            held - leads
        );
        meter.tell(ground)?;
        world.remove(&event)?;
        ground.wait_held(node, false).await?;
        tokio::time::sleep(REST).await;
        Ok(in_time)
    }
}

async fn next_leader(ground: &Ground, old: &str) -> Result<()> {
    let leases = Api::<Lease>::namespaced(ground.world.client.clone(), NAMESPACE);
    loop {
        let lease = leases.get("mechanic-coordinator").await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        if !holder.is_empty() && !holder.contains(old) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
