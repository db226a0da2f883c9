//! How the programs of a node are told what is theirs.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::images::BUSYBOX;
use crate::inside::addresses::{NODES, pods_of};
use crate::requirements::CNI_PLUGINS;

/// containerd's, in TOML.
pub(super) fn containerd(home: &Path, state: &Path) -> String {
    let (home, state) = (home.display(), state.display());
    format!(
        r#"
version = 2
root = "{home}/containerd"
state = "{state}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{state}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{BUSYBOX}"
  # We may lack the right to lower it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{home}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#
    )
}

/// How pods are connected: to their node alone, which routes all they send.
pub(super) fn cni(node: usize) -> String {
    json!({
        "cniVersion": "0.4.0",
        "name": format!("pods{node}"),
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": pods_of(node) }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
    .to_string()
}

/// A kubelet's. What keeps an ordinary one from working here is turned off; all that pods see of it is on.
pub(super) fn kubelet(
    home: &Path,
    socket: &Path,
    address: Ipv4Addr,
    cgroup: &str,
    pod_logs: &Path,
) -> String {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "healthzPort": 0,
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "clusterDNS": [NODES[0]],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{}", socket.display()),
        "evictionHard": {
            "memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%",
        },
        "failCgroupV1": false,
        "failSwapOn": false,
        "imageGCHighThresholdPercent": 100,
        "podLogsDir": pod_logs,
        "resolvConf": "",
        "seccompDefault": true,
        "volumePluginDir": home.join("volume-plugins"),
    })
    .to_string()
}

/// kube-proxy's.
pub(super) fn kube_proxy(node: &str, kubeconfig: &Path) -> String {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": node,
        "clusterCIDR": "10.244.0.0/16",
        "clientConnection": { "kubeconfig": kubeconfig },
        // Those are the whole machine's.
        "conntrack": { "maxPerCore": 0, "min": 0 },
    })
    .to_string()
}

/// The group that a kubelet begins from must be there.
pub(super) fn make_cgroup(cgroup: &str) -> Result<()> {
    for hierarchy in crate::cgroups::hierarchies() {
        let group = hierarchy.join(cgroup.trim_start_matches('/'));
        fs::create_dir_all(&group).with_context(|| format!("can't create {}", group.display()))?;
    }
    Ok(())
}
