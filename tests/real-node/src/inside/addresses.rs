//! The network inside: nothing leads out of it. Each node has an address and a range for its pods; pods reach everything
//! through their node, as on Azure.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};

use super::machine::run;

/// The nodes' own addresses. The control plane and the DNS are on the first.
pub(super) const NODES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 88, 0, 1), Ipv4Addr::new(10, 88, 0, 2)];
/// The real address of the metadata service.
const IMDS: &str = "169.254.169.254";

/// The range of a node's pods.
pub(super) fn pods_of(node: usize) -> String {
    format!("10.244.{node}.0/24")
}

pub(super) fn prepare() -> Result<()> {
    run("ip", &["link", "set", "lo", "up"])?;
    run("ip", &["link", "add", "nodes", "type", "bridge"])?;
    for node in NODES {
        run("ip", &["address", "add", &format!("{node}/24"), "dev", "nodes"])?;
    }
    run("ip", &["link", "set", "nodes", "up"])?;
    // Kubelets want one.
    run("ip", &["route", "add", "default", "dev", "nodes"])?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("can't make the enclosure's network forward")
}

/// From the pods of this node, the metadata service's address leads to `vm`, that of the VM under it.
pub(super) fn lead_to_imds(node: usize, vm: SocketAddr) -> Result<()> {
    redirect("-A", &["PREROUTING", "-s", &pods_of(node)], vm)
}

/// As AKS's restriction has it: the metadata service answers what is in the nodes' own network, and no pod besides. The nodes
/// share that network here, so it is one VM that answers.
pub(super) fn restrict_imds(vms: &[SocketAddr], answers: SocketAddr) -> Result<()> {
    for (node, vm) in vms.iter().enumerate() {
        redirect("-D", &["PREROUTING", "-s", &pods_of(node)], *vm)?;
    }
    redirect("-A", &["OUTPUT"], answers)
}

fn redirect(command: &str, whom: &[&str], vm: SocketAddr) -> Result<()> {
    let vm = vm.to_string();
    let mut arguments = vec!["-t", "nat", command];
    arguments.extend(whom);
    arguments.extend(["-d", IMDS, "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", &vm]);
    run("iptables", &arguments)
}
