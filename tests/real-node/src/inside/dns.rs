//! The cluster's DNS: `CoreDNS`, with the part of AKS's configuration that is about the cluster.

use std::path::Path;

use anyhow::{Context as _, Result};
use mechanic_sandbox::child::{Child, ChildSpec};
use mechanic_sandbox::cluster::Cluster;

use super::addresses::NODES;

/// Starts it on the first node's address.
pub(super) fn start(cluster: &Cluster, run: &Path, logs: &Path, kubeconfig: &Path) -> Result<Child> {
    let corefile = run.join("Corefile");
    let text = format!(
        ".:53 {{\n  bind {}\n  errors\n  kubernetes cluster.local {{\n    kubeconfig {}\n  }}\n}}\n",
        NODES[0],
        kubeconfig.display()
    );
    std::fs::write(&corefile, text).context("can't write CoreDNS's configuration")?;
    let spec = ChildSpec::new("coredns", cluster.programs().path("coredns"), logs.join("coredns.log"));
    Child::start(&spec.arg("-conf").arg(corefile))
}
