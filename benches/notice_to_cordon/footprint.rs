//! What mechanic's processes take.

use std::path::Path;

use anyhow::{Context as _, Result};
use mechanic_sandbox::install::PodProcess;

use crate::{ground::Ground, support};

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
    let mut values = pods.iter().map(|pod| support::kilobytes(pod, field)).collect::<Result<Vec<_>>>()?;
    values.sort_unstable();
    Ok(match values.as_slice() {
        [] => "none".to_owned(),
        [one] => one.to_string(),
        [first, .., last] => format!("{first} / {} / {last}", values[values.len() / 2]),
    })
}
