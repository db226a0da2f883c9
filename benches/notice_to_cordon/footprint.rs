//! What mechanic's processes take, and what the machine is busy with.

use std::{fs, path::Path, thread};

use anyhow::{Context as _, Result};
use mechanic_sandbox::install::PodProcess;

use crate::ground::Ground;

/// How busy the machine is: where others work on it too, no number is worth much.
pub(crate) fn load() -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg").context("the load can't be read")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!("load average {load} on {} CPUs", thread::available_parallelism()?))
}

/// Prints memory by role, and the sizes of the binaries.
pub(crate) fn tell(ground: &Ground, leader: &str) -> Result<()> {
    println!("\nmemory in kB:                VmRSS                 RssAnon");
    let (coordinators, probes): (Vec<_>, Vec<_>) =
        ground.world.installation.pods().into_iter().partition(|pod| pod.is("mechanic-coordinator"));
    let (leaders, followers): (Vec<_>, Vec<_>) = coordinators.into_iter().partition(|pod| pod.pod == leader);
    for (role, pods) in [("leader", leaders), ("follower", followers), ("probes", probes)] {
        let (rss, anon) = (spread(&pods, "VmRSS:")?, spread(&pods, "RssAnon:")?);
        println!("  {role:9} {:3} processes   {rss:20}  {anon}", pods.len());
    }
    println!("binaries:");
    for program in [&ground.programs.coordinator, &ground.programs.probe] {
        let name = program.file_name().unwrap_or_default();
        println!("  {:9} bytes  {}", size(program)?, name.display());
    }
    Ok(())
}

fn size(program: &Path) -> Result<u64> {
    Ok(program.metadata().with_context(|| format!("can't read {}", program.display()))?.len())
}

/// Minimum, median and maximum.
fn spread(pods: &[PodProcess], field: &str) -> Result<String> {
    let mut values = pods.iter().map(|pod| kilobytes(pod, field)).collect::<Result<Vec<_>>>()?;
    values.sort_unstable();
    Ok(match values.as_slice() {
        [] => "none".to_owned(),
        [one] => one.to_string(),
        [first, .., last] => format!("{first} / {} / {last}", values[values.len() / 2]),
    })
}

fn kilobytes(pod: &PodProcess, field: &str) -> Result<u64> {
    let read = || -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", pod.pid?)).ok()?;
        status.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
    };
    read().with_context(|| format!("the process of {} can't be looked at", pod.pod))
}
