//! What a while costs whom: processors, memory, and requests by their kind.

use std::{collections::BTreeMap, fs, time::Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use crate::{ground::Ground, support};

/// From its start on.
pub(crate) struct Meter {
    begun: Instant,
    at: Timestamp,
    api_server: f64,
    coordinators: BTreeMap<u32, f64>,
    own: f64,
}

impl Meter {
    pub(crate) fn start(ground: &Ground) -> Result<Self> {
        Ok(Self {
            begun: Instant::now(),
            at: Timestamp::now(),
            api_server: seconds(api_server(ground)?)?,
            coordinators: coordinators(ground)?,
            own: seconds(std::process::id())?,
        })
    }

    /// Prints what it has cost since.
    pub(crate) fn tell(&self, ground: &Ground) -> Result<()> {
        let passed = self.begun.elapsed().as_secs_f64();
        let api_server = seconds(api_server(ground)?)? - self.api_server;
        let own = seconds(std::process::id())? - self.own;
        // One that has been restarted began at nothing.
        let coordinators: Vec<String> = coordinators(ground)?
            .into_iter()
            .map(|(pid, now)| {
                format!("{:.1}", now - self.coordinators.get(&pid).copied().unwrap_or_default())
            })
            .collect();
        println!(
            "  processors, of {passed:.1} s: API server {api_server:.1} s, coordinators {} s, all probes together {own:.1} s",
            coordinators.join(" and ")
        );
        let mut kinds = BTreeMap::<String, u32>::new();
        for request in support::audit_log(&ground.world.cluster)? {
            let agent = request["userAgent"].as_str().unwrap_or_default();
            let in_time = support::time(&request, "requestReceivedTimestamp").is_some_and(|at| at >= self.at);
            if agent.contains("coordinator") && in_time {
                let verb = request["verb"].as_str().unwrap_or_default();
                let resource = request["objectRef"]["resource"].as_str().unwrap_or_default();
                *kinds.entry(format!("{verb} {resource}")).or_default() += 1;
            }
        }
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        println!("  requests of the coordinators: {}", kinds.join(", "));
        for pod in ground.world.installation.coordinators().iter().filter(|pod| pod.pid.is_some()) {
            println!("  {}: {} kB", pod.pod, support::kilobytes(pod, "VmRSS:")?);
        }
        Ok(())
    }
}

fn api_server(ground: &Ground) -> Result<u32> {
    let mut children = ground.world.cluster.children();
    let api_server = children.find(|child| child.name().contains("apiserver"));
    Ok(api_server.context("there is no API server")?.pid())
}

fn coordinators(ground: &Ground) -> Result<BTreeMap<u32, f64>> {
    let pids = ground.world.installation.coordinators().into_iter().filter_map(|pod| pod.pid);
    pids.map(|pid| Ok((pid, seconds(pid)?))).collect()
}

/// Processor time of a process so far, by the kernel's hundredths of a second.
fn seconds(pid: u32) -> Result<f64> {
    let read = || -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let user: f64 = fields.nth(11)?.parse().ok()?;
        let system: f64 = fields.next()?.parse().ok()?;
        Some((user + system) / 100.0)
    };
    read().with_context(|| format!("process {pid} can't be looked at"))
}
