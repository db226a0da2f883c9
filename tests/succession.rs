//! Who leads next: where the leader's own node is hit, and where it is told to stop.

use std::time::{Duration, Instant};

use crate::support::House;
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, api::ListParams};
use mechanic_sandbox::{install::PodProcess, nodes::NodeSpec, referee::Fact, workloads::Workload};

/// A hand-over is to take two seconds; this is on a machine that does something else.
const GENEROUS: Duration = Duration::from_secs(8);

impl House {
    fn node_of(&self, pod: &PodProcess) -> &NodeSpec {
        self.nodes.iter().find(|node| node.name == pod.node).unwrap()
    }

    /// The pods on this node that are no part of it, by name.
    async fn guests(&self, node: &NodeSpec) -> Vec<String> {
        let on_node = ListParams::default().fields(&format!("spec.nodeName={}", node.name));
        let pods = Api::<Pod>::all(self.client.clone()).list(&on_node).await.unwrap().items;
        let names = pods.into_iter().filter_map(|pod| pod.metadata.name);
        names.filter(|name| !name.starts_with("mechanic-probe")).collect()
    }

    /// When this coordinator's first write on a Node, or eviction, was received after that time.
    fn first_act(&self, pod: &str, since: Timestamp) -> Option<Timestamp> {
        self.referee.look(|history| {
            let acts = history.records.iter().filter_map(|record| match &record.fact {
                Fact::Request(request)
                    if request.pod.as_deref() == Some(pod)
                        && request.received >= since
                        && ((request.resource == "nodes" && request.verb == "patch")
                            || request.is_eviction()) =>
                {
                    Some(request.received)
                }
                _ => None,
            });
            acts.min()
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_28_a_leader_whose_own_node_is_hit_hands_over_and_is_moved_like_any_other_pod() {
    let house = House::with_nodes(4, 1).await;
    house.deploy(&Workload::new("web", 6).spread(), None).await;
    let leader = house.leader().await;
    let node = house.node_of(&leader);
    let event = house.announce_reboot(node);
    let claim = house.wait_for_phase(&node.name, "drained").await;
    assert_eq!(claim["podsLeft"], serde_json::Value::Null, "{claim}");
    assert_eq!(house.guests(node).await, [""; 0], "the former leader among them");
    let next = house.leader().await;
    assert_ne!(next.node, leader.node);
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

/// The leader has nobody to hand over to until it has moved the other, and by then the node may be drained but for itself.
#[tokio::test(flavor = "multi_thread")]
async fn where_both_coordinators_are_on_the_node_that_is_hit_both_are_moved() {
    let house = House::with_nodes(4, 1).await;
    let leader = house.leader().await;
    let node = house.node_of(&leader);
    house.close_others(&[node]).await.unwrap();
    let coordinators = house.installation.coordinators();
    let other = coordinators.iter().find(|pod| pod.pod != leader.pod).unwrap();
    house.kubectl(&["--namespace=mechanic", "delete", "pod", &other.pod, "--wait=false"]).await;
    let together = async || {
        let pods = house.installation.coordinators();
        let here = |pod: &PodProcess| pod.ready && !pod.terminating && pod.node == node.name;
        (pods.len() == 2 && pods.iter().all(here)).then_some(())
    };
    house.wait("both are on one node", together).await;
    house.open_others(&[node]).await.unwrap();

    let event = house.announce_reboot(node);
    let moved = async || {
        let claim = house.claim(&node.name).await?;
        let all = claim["phase"] == "drained" && claim["podsLeft"] == serde_json::Value::Null;
        (all && house.guests(node).await.is_empty()).then_some(())
    };
    house.wait("both are moved", moved).await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

/// Both coordinators' nodes are hit by one event, so neither can hand over to the other for good: one leads to the end.
#[tokio::test(flavor = "multi_thread")]
async fn where_no_other_coordinator_will_last_the_leader_stays() {
    let house = House::with_nodes(4, 1).await;
    let [one, two] = [0, 1].map(|number| house.installation.coordinators()[number].clone());
    let nodes = [house.node_of(&one), house.node_of(&two)];
    let events = nodes.map(|node| house.announce_reboot(node));
    for node in nodes {
        house.wait_for_phase(&node.name, "drained").await;
    }
    for event in &events {
        house.remove(event);
    }
    for node in nodes {
        house.wait_released(&node.name).await;
    }
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_coordinator_evicts_everything_else_and_then_ends_in_order() {
    let house = House::with_nodes(4, 1).await;
    house
        .kubectl(&["--namespace=mechanic", "scale", "deployment/mechanic-coordinator", "--replicas=1"])
        .await;
    let single = async || {
        let pods = house.installation.coordinators();
        (pods.len() == 1).then(|| pods[0].clone())
    };
    house.wait("one coordinator is left", single).await;
    let leader = house.leader().await;
    house.deploy(&Workload::new("web", 6).spread(), None).await;
    let node = house.node_of(&leader);
    let event = house.announce_reboot(node);
    let claim = house.wait_for_phase(&node.name, "drained").await;
    assert_eq!(claim["podsLeft"], 1, "{claim}");
    assert_eq!(house.guests(node).await, std::slice::from_ref(&leader.pod), "it never evicts itself");
    let ended = async || house.logs_of(&leader).contains("there is no other coordinator").then_some(());
    house.wait("it says why it ends", ended).await;
    let restarted = async || house.installation.pod(&leader.pod).ok().filter(|pod| pod.restarts == 1);
    house.wait("it is started again", restarted).await;
    // It leads again, and doesn't end again.
    house.remove(&event);
    house.wait_released(&node.name).await;
    assert_eq!(house.installation.pod(&leader.pod).unwrap().restarts, 1);
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_in_mid_drain_is_followed_within_seconds() {
    let house = House::with_nodes(4, 1).await;
    let slow = Workload::new("web", 16).start_after(Duration::from_secs(2)).spread();
    house.deploy(&slow, Some(1)).await;
    let node = house.node_without_coordinator();
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "draining").await;
    let leader = house.leader().await;
    let (asked, began) = (Timestamp::now(), Instant::now());
    house.kubectl(&["--namespace=mechanic", "delete", "pod", &leader.pod, "--wait=false"]).await;
    let leases: Api<Lease> = Api::namespaced(house.client.clone(), "mechanic");
    let next = house
        .wait("another leads", async || {
            let lease = leases.get("mechanic-coordinator").await.unwrap();
            let holder = lease.spec?.holder_identity.filter(|holder| !holder.is_empty())?;
            let pods = house.installation.coordinators();
            pods.into_iter().find(|pod| pod.pod != leader.pod && holder.starts_with(&pod.pod))
        })
        .await;
    let taken_over = began.elapsed();
    let acted = house.wait("it acts", async || house.first_act(&next.pod, asked)).await;
    let after = Duration::try_from(acted.duration_since(asked)).unwrap();
    println!(
        "from the order to stop: {:.2} s to the next leader, {:.2} s to what it does first",
        taken_over.as_secs_f64(),
        after.as_secs_f64()
    );
    assert!(after < GENEROUS, "{after:?}");
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}
