//! kwok plays the kubelets of all nodes, by the Stages beside this file.

use std::path::Path;

use anyhow::{Context, Result};

use crate::child::{Child, ChildSpec};
use crate::programs::ClusterPrograms;

/// On a Node or a pod: `off` while the VM is off.
pub const VM_ANNOTATION: &str = "sandbox/vm";
/// On a Node: its status is written once a second.
pub const CHURN_ANNOTATION: &str = "sandbox/churn";
/// A label of Nodes that have no kubelet, not even a played one.
pub const BARE_LABEL: &str = "sandbox/bare";
/// On a pod: how long it takes to get ready, like `5s`.
pub const START_AFTER_ANNOTATION: &str = "sandbox/start-after";
/// On a pod: how long it takes to stop, like `5s` (but never longer than its grace), or `never`.
pub const STOP_AFTER_ANNOTATION: &str = "sandbox/stop-after";

const STAGES: [&str; 11] = [
    include_str!("kwok/options.yaml"),
    include_str!("kwok/node-initialize.yaml"),
    include_str!("kwok/node-heartbeat.yaml"),
    include_str!("kwok/node-off.yaml"),
    include_str!("kwok/node-churn.yaml"),
    include_str!("kwok/pod-ready.yaml"),
    include_str!("kwok/pod-ready-again.yaml"),
    include_str!("kwok/pod-complete.yaml"),
    include_str!("kwok/pod-delete.yaml"),
    include_str!("kwok/pod-off.yaml"),
    include_str!("kwok/pod-restart.yaml"),
];

/// Starts it for all nodes that aren't bare, those to come included.
pub(crate) fn start(programs: &ClusterPrograms, folder: &Path, kubeconfig: &Path) -> Result<Child> {
    let stages = folder.join("kwok.yaml");
    std::fs::write(&stages, STAGES.join("\n---\n"))
        .with_context(|| format!("can't write {}", stages.display()))?;
    Child::start(
        &ChildSpec::new("kwok", programs.path("kwok"), folder.join("logs/kwok.log"))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--config={}", stages.display()))
            .arg(format!("--manage-nodes-with-label-selector=!{BARE_LABEL}"))
            .args(["--node-ip=127.0.0.1", "--node-lease-duration-seconds=40"]),
    )
}
