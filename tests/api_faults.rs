//! An API server that answers badly, late or not at all, and parts of mechanic that go and come back, in mid-event.
//! A fault that hit nothing fails its test.

use std::time::{Duration, Instant};

use crate::support::{House, LONG, kill};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::DeleteParams};
use mechanic_sandbox::{
    azure::Event,
    fault_proxy::{Effect, Fault, Requests},
    nodes::NodeSpec,
    workloads::Workload,
};

fn writes() -> Requests {
    Requests::any().that("a patch of a Node or an eviction", |seen| {
        seen.method == "PATCH" && seen.path.contains("/api/v1/nodes/") || seen.path.contains("/eviction")
    })
}

impl House {
    /// One event from its announcement to the node's release, with the first writes meeting `effect`.
    async fn event_through(&self, node: &NodeSpec, effect: Effect) {
        let what = format!("{effect:?}");
        let first_writes = Fault { times: Some(4), ..Fault::always(writes(), effect) };
        let fault = self.fault_proxy.inject(first_writes);
        let event = self.announce_reboot(node);
        self.wait_for_phase(&node.name, "drained").await;
        self.remove(&event);
        self.wait_released(&node.name).await;
        assert_eq!(fault.hits(), 4, "{what} was not met");
        fault.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c6_c7_u15_edge_25_requests_that_are_lost_refused_or_late_change_nothing_in_the_end() {
    let house = House::with_nodes(4, 1).await;
    house.deploy(&Workload::new("web", 12).spread(), None).await;
    for effect in [
        Effect::DropBefore,
        Effect::DropAfterTakingEffect,
        Effect::refuse(500, "InternalError"),
        Effect::refuse(429, "TooManyRequests"),
        Effect::refuse(409, "Conflict"),
        Effect::Delay(Duration::from_secs(5)),
    ] {
        house.event_through(house.node_without_coordinator(), effect).await;
    }
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_are_cut_in_mid_drain_are_taken_up_again() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    let web = Workload::new("web", 8).start_after(Duration::from_secs(2)).spread();
    house.deploy(&web, Some(1)).await;
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "draining").await;
    for _ in 0..3 {
        house.fault_proxy.cut_watches(None);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

/// The coordinators reach no API server for so long, from the middle of a drain on.
async fn api_server_gone_for(outage: Duration) {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    let web = Workload::new("web", 8).start_after(Duration::from_secs(2)).spread();
    house.deploy(&web, Some(1)).await;
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "draining").await;
    let fault = house.fault_proxy.inject(Fault::always(Requests::any(), Effect::DropBefore));
    house.fault_proxy.cut_watches(None);
    tokio::time::sleep(outage).await;
    assert!(fault.hits() > 0);
    fault.clear();
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w6_u12_an_api_server_that_is_gone_for_12_seconds_in_mid_drain() {
    api_server_gone_for(Duration::from_secs(12)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_gone_for_a_minute_in_mid_drain() {
    api_server_gone_for(Duration::from_mins(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_and_both_coordinators_are_killed_in_mid_event_and_come_back() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    let web = Workload::new("web", 8).start_after(Duration::from_secs(2)).spread();
    house.deploy(&web, Some(1)).await;
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "draining").await;
    kill(house.installation.probe_on(&node.name).unwrap().pid.unwrap());
    for coordinator in house.installation.coordinators() {
        kill(coordinator.pid.unwrap());
    }
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_31_a_node_that_is_deleted_and_made_again_in_mid_drain_starts_from_nothing() {
    let house = House::with_nodes(5, 1).await;
    let node = house.node_without_coordinator();
    let slow = Workload::new("slow", 10).stop_after(Duration::from_secs(5)).spread();
    house.deploy(&slow, None).await;
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "draining").await;
    let nodes: Api<Node> = Api::all(house.client.clone());
    let old = house.node(&node.name).await.metadata.uid;
    nodes.delete(&node.name, &DeleteParams::default()).await.unwrap();
    house
        .wait("the Node is gone", async || nodes.get_opt(&node.name).await.unwrap().is_none().then_some(()))
        .await;
    house.remove(&event);
    house.kubelets.create_ready(std::slice::from_ref(node), LONG).await.unwrap();
    assert_ne!(house.node(&node.name).await.metadata.uid, old);
    // Its slot is free: another node is drained while nobody waits for the old one's pods.
    let other = house
        .nodes
        .iter()
        .find(|other| {
            other.name != node.name
                && !house.installation.coordinators().iter().any(|pod| pod.node == other.name)
        })
        .unwrap();
    let second = house.announce_reboot(other);
    house.wait_for_phase(&other.name, "drained").await;
    assert_eq!(
        house.claim(&node.name).await,
        None,
        "what was known of the old Node is written on the new one"
    );
    house.remove(&second);
    house.wait_released(&other.name).await;
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_behind_the_same_node_ends_what_was_announced_for_the_old_one() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    house.deploy(&Workload::new("web", 6).spread(), None).await;
    let old = house.announce_reboot(node);
    let before = house.wait_for_phase(&node.name, "drained").await;
    // The old event vanishes with its machine, and the new one is told of another.
    house.remove(&old);
    house.replace_vm(node).await.unwrap();
    let new = house.announce_reboot(node);
    let after = house
        .wait("the claim is about the new machine", async || {
            let claim = house.claim(&node.name).await?;
            (claim["vmId"] != before["vmId"] && claim["events"].get(&new).is_some()).then_some(claim)
        })
        .await;
    assert!(after["events"].get(&old).is_none(), "{after}");
    assert_eq!(after["wasUnschedulable"], before["wasUnschedulable"], "the cordon is still ours to take off");
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&new);
    house.wait_released(&node.name).await;
    house.judge().await;
}

/// Prints how long it took; what must hold is that it is in time for a minute's notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_preempt_in_the_very_second_of_a_leaders_end_is_still_evicted_for() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    house.deploy(&Workload::new("web", 8).spread(), None).await;
    let notice = Duration::from_mins(1);
    let preempt = Event::scheduled("Preempt", [node.vm_name()], notice);
    kill(house.leader().await.pid.unwrap());
    let announced = Instant::now();
    let event = house.announce(node, &preempt);
    house.wait_for_phase(&node.name, "drained").await;
    println!(
        "a Preempt announced as the leader died: drained {:.1} s later",
        announced.elapsed().as_secs_f64()
    );
    tokio::time::sleep(notice.saturating_sub(announced.elapsed())).await;
    house.start(&event);
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}
