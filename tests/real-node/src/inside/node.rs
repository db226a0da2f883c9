//! One node: containerd and a kubelet, in folders and control groups of their own.

mod configuration;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use mechanic_sandbox::child::{Child, ChildSpec};
use mechanic_sandbox::cluster::Cluster;
use tokio::process::Command;

use super::WITHIN;
use super::addresses::NODES;
use crate::images::archives;

/// Where a node is, on this machine.
pub(super) struct Place<'a> {
    pub(super) number: usize,
    pub(super) run: &'a Path,
    pub(super) logs: &'a Path,
    pub(super) cgroups: &'a str,
    pub(super) kubeconfig: &'a Path,
}

/// A running one. In the order of its end.
pub(super) struct RealNode {
    kubelet: Child,
    _containerd: Child,
}

impl RealNode {
    /// Starts it, with all images there.
    pub(super) async fn start(cluster: &Cluster, name: &str, place: &Place<'_>) -> Result<Self> {
        let home = place.run.join(format!("node{}", place.number));
        // In /run, which is ours: a socket's path must be short.
        let state = PathBuf::from(format!("/run/node{}", place.number));
        for folder in [&home, &state, &home.join("cni")] {
            fs::create_dir_all(folder).with_context(|| format!("can't create {}", folder.display()))?;
        }
        let log = |part: &str| place.logs.join(format!("{part}{}.log", place.number));
        let socket = state.join("containerd.sock");
        let config = write(&home, "containerd.toml", &configuration::containerd(&home, &state))?;
        write(&home.join("cni"), "10-pods.conflist", &configuration::cni(place.number))?;
        let containerd = program("containerd")?;
        let containerd = Child::start(
            &ChildSpec::new("containerd", containerd, log("containerd")).arg("--config").arg(config),
        )?;
        import_images(&socket, &containerd).await?;

        let cgroup = format!("/{}/node{}", place.cgroups, place.number);
        configuration::make_cgroup(&cgroup)?;
        // Of each its own: a kubelet removes what it doesn't know.
        let pod_logs = place.logs.join(format!("pods{}", place.number));
        let kubelet = configuration::kubelet(&home, &socket, NODES[place.number], &cgroup, &pod_logs);
        let config = write(&home, "kubelet.json", &kubelet)?;
        let flag = |name: &str, value: &Path| format!("--{name}={}", value.display());
        let kubelet = Child::start(
            &ChildSpec::new("kubelet", cluster.programs().path("kubelet"), log("kubelet"))
                .arg(flag("config", &config))
                .arg(flag("kubeconfig", place.kubeconfig))
                .arg(flag("root-dir", &home.join("kubelet")))
                .arg(flag("cert-dir", &home.join("pki")))
                .arg(format!("--hostname-override={name}"))
                .arg(format!("--node-ip={}", NODES[place.number])),
        )?;
        Ok(Self { kubelet, _containerd: containerd })
    }

    /// The end of the kubelet's log.
    pub(super) fn last_words(&self) -> String {
        format!("The last words of a kubelet:\n{}", self.kubelet.last_words())
    }
}

async fn import_images(socket: &Path, containerd: &Child) -> Result<()> {
    let begun = Instant::now();
    let ctr = |arguments: &[&str]| {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(socket)
            .args(["--namespace", "k8s.io"])
            .args(arguments)
            .kill_on_drop(true);
        command
    };
    while !ctr(&["plugins", "list"]).output().await.context("can't run ctr")?.status.success() {
        if containerd.status().is_some() || begun.elapsed() > WITHIN {
            bail!("containerd doesn't answer. Its last words:\n{}", containerd.last_words());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let folder = archives(&crate::folder());
    for entry in fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))? {
        let archive = entry.context("can't read the images' folder")?.path();
        let output = ctr(&["images", "import"]).arg(&archive).output().await.context("can't run ctr")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("containerd can't import {}: {}", archive.display(), said.trim());
        }
    }
    Ok(())
}

/// One does for both nodes, which share a network.
pub(super) fn start_kube_proxy(
    cluster: &Cluster,
    node: &str,
    run: &Path,
    logs: &Path,
    kubeconfig: &Path,
) -> Result<Child> {
    let config = write(run, "kube-proxy.json", &configuration::kube_proxy(node, kubeconfig))?;
    let spec =
        ChildSpec::new("kube-proxy", cluster.programs().path("kube-proxy"), logs.join("kube-proxy.log"));
    Child::start(&spec.arg(format!("--config={}", config.display())))
}

fn program(program: &str) -> Result<PathBuf> {
    crate::requirements::find(program).with_context(|| format!("there is no {program}"))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
    Ok(path)
}
