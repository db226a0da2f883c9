//! A person who looks at mechanic on a cluster of their own, by the lines of README.md and docs/ that only a real kubelet
//! answers.

use anyhow::{Context as _, Result, bail};
use mechanic_sandbox::cluster::User;
use tokio::process::Command;

use super::{Ground, WITHIN};
use crate::say;

const README: &str = include_str!("../../../../README.md");
const DEBUGGING: &str = include_str!("../../../../docs/debugging.md");
const OPERATIONS: &str = include_str!("../../../../docs/operations.md");

/// Asks the leader for all nodes, through `kubectl port-forward`.
pub(super) async fn list_nodes(ground: &Ground) -> Result<()> {
    let forward = DEBUGGING.split('`').find(|words| words.contains(" port-forward "));
    let forward = forward.context("docs/debugging.md says nothing of a port-forward")?;
    let list = README.split("```").find_map(|block| Some(&block[block.find("grpcurl ")?..]));
    let list = list.context("README.md shows no grpcurl line")?;
    let script = format!(
        "{forward} & trap 'kill %1' EXIT\n\
         until (: < /dev/tcp/localhost/7443) 2>/dev/null; do kill -0 %1; sleep 0.1; done\n{list}"
    );
    let output = tokio::time::timeout(WITHIN, shell(ground, &script)?.output());
    let output = output.await.context("port-forward stands still")??;
    let answer = String::from_utf8_lossy(&output.stdout);
    let all = ground.nodes.iter().all(|node| answer.contains(&format!("\"name\": \"{}\"", node.name)));
    if !output.status.success() || !all {
        bail!("{script}\nended with {}: {}{answer}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    say("FleetService lists them through `kubectl port-forward`.");
    Ok(())
}

/// The logs, by the line of docs/operations.md, tell of an event.
pub(super) async fn logs_tell(ground: &Ground, event_id: &str) -> Result<()> {
    let line = OPERATIONS.lines().find(|line| line.contains(" logs ")).map(str::trim);
    let line = line.context("docs/operations.md has no line for logs")?.replace("EVENT_ID", event_id);
    let output = shell(ground, &line)?.output().await.context("can't run a shell")?;
    let told = String::from_utf8_lossy(&output.stdout);
    if !told.contains("Released") {
        bail!("{line}\ntold {told}{}", String::from_utf8_lossy(&output.stderr));
    }
    say(&format!("{} lines of the coordinators' logs tell of it.", told.lines().count()));
    Ok(())
}

/// A person's shell, in which kubectl and grpcurl reach the cluster.
fn shell(ground: &Ground, script: &str) -> Result<Command> {
    let programs = ground.cluster.programs().path("kubectl");
    let programs = programs.parent().context("kubectl is in no folder")?.to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&others)))?;
    let mut shell = Command::new("bash");
    shell
        .args(["-ec", script])
        .env("PATH", path)
        .env("KUBECONFIG", ground.cluster.kubeconfig(User::Admin))
        .env("MECHANIC", "localhost:7443")
        .kill_on_drop(true);
    Ok(shell)
}
