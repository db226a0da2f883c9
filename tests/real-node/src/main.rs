//! mechanic's images, built from their Dockerfiles, on real kubelets: one event from its document to the uncordon.
//!
//! What runs, runs [inside](inside) namespaces of its own (network, mounts, processes): however this ends, the kernel takes
//! all of it away. Outside remain the builds, and what has no namespace: control groups and files.

mod cgroups;
mod enclosure;
mod images;
mod inside;
mod requirements;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use mechanic_sandbox::programs::{ClusterPrograms, Progress, workspace};
use tokio::signal::unix::{SignalKind, signal};

use crate::cgroups::Cgroups;
use crate::enclosure::Network;

/// The first argument of the process inside; the second is the name of its control groups.
const INSIDE: &str = "inside";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.as_slice() {
        [] => outside(),
        [subcommand, cgroups] if subcommand == INSIDE => inside::run(cgroups),
        _ => Err(anyhow::anyhow!("mechanic-real-node takes no arguments")),
    };
    ended.map_or_else(
        |error| {
            let _ = writeln!(std::io::stderr(), "Error: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// One line for people. A reader who has gone away is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Where everything of ours lies that outlives a run.
fn folder() -> PathBuf {
    workspace().join("target/real-node")
}

fn outside() -> Result<()> {
    if let Some(missing) = requirements::missing() {
        say(&format!("Skipped: real nodes can't run here: {missing}."));
        return Ok(());
    }
    // One thread: what it starts is to end with it, and the kernel watches threads.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = build_and_run() => result,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("told to stop"),
        }
    });
    // A build that was interrupted isn't waited for.
    runtime.shutdown_background();
    ended
}

async fn build_and_run() -> Result<()> {
    let begun = Instant::now();
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("can't create {}", folder.display()))?;
    let lock =
        File::create(folder.join(".lock")).context("can't create the lock of the real nodes' folder")?;
    if lock.try_lock().is_err() {
        bail!("another run uses {}", folder.display());
    }
    let progress: Progress = std::sync::Arc::new(|line: &str| say(line));
    let prepared = tokio::task::spawn_blocking(move || ClusterPrograms::prepare_with_nodes(&progress));
    prepared.await.context("the building of the programs was cut off")??;
    let images = images::build(&folder).await?;
    for image in &images {
        say(&image.describe());
    }
    remove(&folder.join("logs"))?;
    // In the order of their making; they end in the other, when nothing runs any more.
    let _run = RunFolder::create(&folder)?;
    let cgroups = Cgroups::create()?;
    let this = std::env::current_exe().context("can't tell which program this is")?;
    let mut command = enclosure::command(Network::Own);
    command.arg(this).args([INSIDE, cgroups.name()]);
    let status = command.status().await.context("can't run the enclosure")?;
    if !status.success() {
        bail!("the run on real nodes failed; its logs are in {}", folder.join("logs").display());
    }
    say(&format!("Real nodes: done in {} s.", begun.elapsed().as_secs()));
    Ok(())
}

/// What a run needs on disk. Dropping it removes it.
struct RunFolder(PathBuf);

impl RunFolder {
    fn create(folder: &Path) -> Result<Self> {
        let path = folder.join("run");
        remove(&path)?;
        fs::create_dir(&path).with_context(|| format!("can't create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // What can't be removed now is removed at the next start.
        let _ = remove(&self.0);
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
