//! mechanic on the cluster, as an administrator puts it there, changes it and takes it away.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use mechanic_sandbox::install::NAMESPACE;
use mechanic_sandbox::nodes::NodeSpec;
use mechanic_sandbox::programs::workspace;

use super::endings::Watch;
use super::{Ground, LOOK_EVERY, WITHIN, addresses, containers};
use crate::say;

const DEFAULT: &str = "deploy/overlays/default";
const HOST_NETWORK: &str = "deploy/overlays/host-network";
const RELEASE: &str = "deploy/release";
/// The ConfigMap's holds, shortened as anybody may.
const SHORT_HOLDS: &str = r#"{"data":{"release-hold":"2s","release-hold-after-boot":"6s"}}"#;

/// As an administrator does.
pub(super) async fn install(ground: &Ground) -> Result<()> {
    let begun = Instant::now();
    apply(ground, DEFAULT).await?;
    let workload = workspace().join("tests/real-node/workload.yaml").display().to_string();
    ground.cluster.kubectl(["apply", "--filename", &workload]).await?;
    shorten_holds(ground).await?;
    rolled_out(ground).await?;
    ground.cluster.kubectl(["rollout", "status", "deployment/web", "--timeout=5m"]).await?;
    say(&format!(
        "mechanic is installed from {DEFAULT} and Ready after {:.1} s.",
        begun.elapsed().as_secs_f32()
    ));
    say("Its processes: user 65532, no capability, no new privileges, a seccomp filter, a read-only root.");
    Ok(())
}

/// The leader's pod, and the node that it is on.
pub(super) async fn leader<'a>(ground: &'a Ground, client: &Client) -> Result<(String, &'a NodeSpec)> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let begun = Instant::now();
    loop {
        let lease = leases.get_opt("mechanic-coordinator").await?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
        let all = pods.list(&ListParams::default()).await?;
        let leader = all.iter().find(|pod| holder.starts_with(&pod.name_any()));
        let on = leader.and_then(|pod| pod.spec.as_ref()?.node_name.clone());
        let node = ground.nodes.iter().find(|node| Some(&node.name) == on.as_ref());
        if let (Some(leader), Some(node)) = (leader, node) {
            return Ok((leader.name_any(), node));
        }
        if begun.elapsed() > WITHIN {
            bail!("no coordinator took the Lease within {} s", WITHIN.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A probe that was there before the first coordinator learns whom to trust when its kubelet looks at its volumes again,
/// which may take a minute and a half.
pub(super) async fn all_probes_report(ground: &Ground, leader: &str) -> Result<()> {
    let begun = Instant::now();
    let metrics = format!("/api/v1/namespaces/{NAMESPACE}/pods/{leader}:8080/proxy/metrics");
    let all = format!("mechanic_probe_streams {}", ground.nodes.len());
    loop {
        let metrics = ground.cluster.kubectl(["get", "--raw", &metrics]).await?;
        if metrics.lines().any(|line| line == all) {
            say(&format!(
                "All probes report to {leader} after another {:.1} s.",
                begun.elapsed().as_secs_f32()
            ));
            return Ok(());
        }
        if begun.elapsed() > WITHIN {
            bail!("not all probes report to {leader} within {} s; its metrics:\n{metrics}", WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// From here on only what is in the nodes' own network reaches the metadata service, that of this node's VM, and the probes go there.
pub(super) async fn change_to_host_network(ground: &Ground, client: &Client, node: &NodeSpec) -> Result<()> {
    let mut machines = ground.nodes.iter().zip(&ground.vms);
    let (_, vm) =
        machines.find(|(other, _)| other.name == node.name).context("no machine is under the node")?;
    addresses::restrict_imds(&ground.vms, *vm)?;
    let begun = Instant::now();
    apply(ground, HOST_NETWORK).await?;
    // The overlay brings the ConfigMap as it is installed.
    shorten_holds(ground).await?;
    rolled_out(ground).await?;
    let probes = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
    let probes = probes.list(&ListParams::default().labels("app.kubernetes.io/name=mechanic-probe")).await?;
    // Those of before may not be gone yet.
    let probes = probes.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let in_host_network = |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    if probes.filter(in_host_network).count() != ground.nodes.len() {
        bail!("{HOST_NETWORK} is applied, and not all probes are in the nodes' network");
    }
    say(&format!("It is changed to {HOST_NETWORK} and Ready after {:.1} s.", begun.elapsed().as_secs_f32()));
    Ok(())
}

/// In the order of docs/install.md, while it holds a node.
pub(super) async fn uninstall(ground: &Ground, client: &Client, endings: &Watch) -> Result<()> {
    let kubectl = |arguments: &'static [&'static str]| ground.cluster.kubectl(arguments);
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE).list(&ListParams::default()).await?;
    let pods: Vec<String> = pods.iter().map(|pod| format!("{NAMESPACE}/{}", pod.name_any())).collect();
    kubectl(&["-n", NAMESPACE, "scale", "deployment", "mechanic-coordinator", "--replicas=0"]).await?;
    apply(ground, RELEASE).await?;
    kubectl(&["-n", NAMESPACE, "wait", "--for=condition=complete", "--timeout=3m", "job/mechanic-release"])
        .await?;
    let overlay = workspace().join(HOST_NETWORK).display().to_string();
    ground.cluster.kubectl(["delete", "--kustomize", &overlay]).await?;
    let slowest = endings.all_ended_well(&pods).await?;
    say(&format!(
        "Uninstalled by way of {RELEASE}: {} pods of mechanic's ended with status 0, the slowest in {slowest:.1} s.",
        pods.len()
    ));
    Ok(())
}

async fn apply(ground: &Ground, folder: &str) -> Result<()> {
    let path = workspace().join(folder).display().to_string();
    ground.cluster.kubectl(["apply", "--kustomize", &path]).await.map(drop)
}

async fn shorten_holds(ground: &Ground) -> Result<()> {
    let patch = ["-n", NAMESPACE, "patch", "configmap", "mechanic", "--type=merge", "--patch", SHORT_HOLDS];
    ground.cluster.kubectl(patch).await.map(drop)
}

/// Waits until all its pods are Ready, and looks at their processes.
async fn rolled_out(ground: &Ground) -> Result<()> {
    for what in ["deployment/mechanic-coordinator", "daemonset/mechanic-probe"] {
        ground.cluster.kubectl(["-n", NAMESPACE, "rollout", "status", what, "--timeout=5m"]).await?;
    }
    for program in ["mechanic-probe", "mechanic-coordinator"] {
        containers::confined(program, 2)?;
    }
    Ok(())
}
