//! What the benches on a real control plane share: how they begin, the API server's audit log, and a look at processes.
// Not each uses all of it.
#![allow(dead_code)]

use std::{env, fs, process::ExitCode, sync::Arc, thread};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use mechanic_sandbox::{
    cluster::Cluster,
    install::PodProcess,
    programs::{Profile, Programs, Progress},
};
use serde_json::Value;

/// Runs a bench with the builds that `PROFILE` names, until it has ended or somebody interrupts it.
pub(crate) fn run(bench: impl AsyncFnOnce(Profile) -> Result<ExitCode>) -> Result<ExitCode> {
    // `cargo test --benches` asks for the tests in here; there are none.
    if !env::args().any(|argument| argument == "--bench") {
        return Ok(ExitCode::SUCCESS);
    }
    let profile = match env::var("PROFILE").as_deref() {
        Ok("dev") => Profile::Dev,
        Ok(other) => bail!("PROFILE is {other:?}; only `dev` means something"),
        Err(_) => Profile::Release,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            code = bench(profile) => code,
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
        }
    })
}

/// Kubernetes' programs and mechanic's, built where they aren't yet.
pub(crate) async fn programs(profile: Profile) -> Result<Programs> {
    let progress: Progress = Arc::new(|line| println!("{line}"));
    tokio::task::spawn_blocking(move || Programs::prepare(profile, &progress)).await?
}

/// Each request once: when it had ended, a watch when it began.
pub(crate) fn audit_log(cluster: &Cluster) -> Result<Vec<Value>> {
    let text = fs::read_to_string(cluster.audit_log()).context("the audit log can't be read")?;
    // The last line may be half-written.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ends = |line: &Value| (line["verb"] == "watch") == (line["stage"] == "ResponseStarted");
    Ok(lines.filter(ends).collect())
}

/// A moment in a line of the audit log.
pub(crate) fn time(request: &Value, field: &str) -> Option<Timestamp> {
    request[field].as_str()?.parse().ok()
}

/// How busy the machine is: where others work on it too, no number is worth much.
pub(crate) fn load() -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg").context("the load can't be read")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!("load average {load} on {} CPUs", thread::available_parallelism()?))
}

/// A figure of the kernel's on a process' memory.
pub(crate) fn kilobytes(pod: &PodProcess, field: &str) -> Result<u64> {
    let read = || -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", pod.pid?)).ok()?;
        status.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
    };
    read().with_context(|| format!("the process of {} can't be looked at", pod.pod))
}
