//! One live migration, from its document to the uncordon, on the node where the leader is.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use mechanic_sandbox::azure::Event;
use mechanic_sandbox::cluster::User;
use mechanic_sandbox::install::NAMESPACE;
use mechanic_sandbox::nodes::NodeSpec;
use mechanic_sandbox::programs::workspace;
use mechanic_sandbox::referee::{AzureFact, CLAIM_ANNOTATION, CORDONED_LABEL};

use super::endings::Watch;
use super::{Ground, WITHIN, containers};
use crate::say;

const OVERLAY: &str = "deploy/overlays/default";
/// Within the default of `lead-time`.
const NOTICE: Duration = Duration::from_mins(9);
/// The ConfigMap's holds, shortened as anybody may.
const SHORT_HOLDS: &str = r#"{"data":{"release-hold":"2s","release-hold-after-boot":"6s"}}"#;
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn play(ground: &Ground) -> Result<()> {
    let client = ground.cluster.client(User::Sandbox).await?;
    let endings = Watch::start(&client);
    install(ground).await?;
    let (leader, node) = leader(ground, &client).await?;
    all_probes_report(ground, &leader).await?;
    let leaving = leaving(&client, &node.name).await?;

    let event = Event {
        description:
            "Virtual machine is being paused because of a memory-preserving Live Migration operation.".into(),
        ..Event::scheduled("Freeze", [node.vm_name()], NOTICE)
    };
    ground.referee.witness(AzureFact::Announced {
        event: Box::new(event.clone()),
        nodes: vec![node.name.clone()],
        avoidable: true,
    });
    let begun = Instant::now();
    let since = |what: &str| say(&format!("  {:>5.1} s  {what}", begun.elapsed().as_secs_f32()));
    ground.azure.announce(&event)?;
    say(&format!("A live migration of {} is announced, where the leader is:", node.name));
    node_until(&client, node, "cordoned under a claim", |node| is_cordoned(node) && is_claimed(node)).await?;
    since("the node is cordoned under a claim");
    node_until(&client, node, "drained", |node| claim(node).contains(r#""phase":"drained""#)).await?;
    since("it is drained");
    let slowest = endings.all_ended_well(&leaving).await?;
    since(&format!("its {} pods have ended with status 0, the slowest in {slowest:.1} s", leaving.len()));

    ground.azure.start(&event.event_id)?;
    ground.referee.witness(AzureFact::Started { event: event.event_id.clone() });
    tokio::time::sleep(Duration::from_secs(2)).await;
    ground.azure.remove(&event.event_id)?;
    ground.referee.witness(AzureFact::Removed { event: event.event_id.clone() });
    since("the migration is over");
    node_until(&client, node, "given back", |node| !is_cordoned(node) && !is_claimed(node)).await?;
    since("the node is given back");

    let verdict = ground.referee.verdict().await;
    if !verdict.is_clean() {
        bail!("{verdict}");
    }
    say("The referee saw every promise kept.");
    end(ground, &client, &endings).await
}

/// As an administrator does.
async fn install(ground: &Ground) -> Result<()> {
    let begun = Instant::now();
    let kubectl = |arguments: &'static [&'static str]| ground.cluster.kubectl(arguments);
    let overlay = workspace().join(OVERLAY).display().to_string();
    ground.cluster.kubectl(["apply", "--kustomize", &overlay]).await?;
    let workload = workspace().join("tests/real-node/workload.yaml").display().to_string();
    ground.cluster.kubectl(["apply", "--filename", &workload]).await?;
    kubectl(&["-n", NAMESPACE, "patch", "configmap", "mechanic", "--type=merge", "--patch", SHORT_HOLDS])
        .await?;
    kubectl(&["-n", NAMESPACE, "rollout", "status", "deployment/mechanic-coordinator", "--timeout=5m"])
        .await?;
    kubectl(&["-n", NAMESPACE, "rollout", "status", "daemonset/mechanic-probe", "--timeout=5m"]).await?;
    kubectl(&["rollout", "status", "deployment/web", "--timeout=5m"]).await?;
    for program in ["mechanic-probe", "mechanic-coordinator"] {
        containers::confined(program, 2)?;
    }
    say(&format!(
        "mechanic is installed from {OVERLAY} and Ready after {:.1} s.",
        begun.elapsed().as_secs_f32()
    ));
    say("Its processes: user 65532, no capability, no new privileges, a seccomp filter, a read-only root.");
    Ok(())
}

/// The leader's pod, and the node that it is on.
async fn leader<'a>(ground: &'a Ground, client: &Client) -> Result<(String, &'a NodeSpec)> {
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
async fn all_probes_report(ground: &Ground, leader: &str) -> Result<()> {
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

/// The pods that are to leave this node: all but those of DaemonSets.
async fn leaving(client: &Client, node: &str) -> Result<Vec<String>> {
    let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = Api::<Pod>::all(client.clone()).list(&here).await.context("can't list the node's pods")?;
    let leaving: Vec<String> = pods
        .iter()
        .filter(|pod| !pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet"))
        .map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()))
        .collect();
    let coordinator = format!("{NAMESPACE}/mechanic-coordinator");
    if leaving.len() < 2 || !leaving.iter().any(|pod| pod.starts_with(&coordinator)) {
        bail!(
            "only {leaving:?} would leave node {node}, and there should be the leader and some of the workload"
        );
    }
    Ok(leaving)
}

/// mechanic is taken off the cluster, by the order in which it was put there.
async fn end(ground: &Ground, client: &Client, endings: &Watch) -> Result<()> {
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE).list(&ListParams::default()).await?;
    let pods: Vec<String> = pods.iter().map(|pod| format!("{NAMESPACE}/{}", pod.name_any())).collect();
    let overlay = workspace().join(OVERLAY).display().to_string();
    ground.cluster.kubectl(["delete", "--kustomize", &overlay]).await?;
    let slowest = endings.all_ended_well(&pods).await?;
    say(&format!(
        "Deleted: {} pods of mechanic's ended with status 0, the slowest in {slowest:.1} s.",
        pods.len()
    ));
    Ok(())
}

async fn node_until(
    client: &Client,
    node: &NodeSpec,
    what: &str,
    is_so: impl Fn(&Node) -> bool,
) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let begun = Instant::now();
    loop {
        let now = nodes.get(&node.name).await.with_context(|| format!("can't read node {}", node.name))?;
        if is_so(&now) {
            return Ok(());
        }
        if begun.elapsed() > WITHIN {
            bail!(
                "node {} isn't {what} within {} s; its claim: {}",
                node.name,
                WITHIN.as_secs(),
                claim(&now)
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default()
}

fn is_claimed(node: &Node) -> bool {
    node.labels().contains_key(CORDONED_LABEL) || node.annotations().contains_key(CLAIM_ANNOTATION)
}

fn claim(node: &Node) -> &str {
    node.annotations().get(CLAIM_ANNOTATION).map_or("", String::as_str)
}
