//! The leader killed at a step, not after a sleep: the fault proxy holds the request, and a fault that never
//! held one fails the test.

use std::{cell::Cell, time::Duration};

use crate::support::{House, LONG, kill};
use mechanic_sandbox::{
    fault_proxy::{Effect, Fault, Requests},
    workloads::Workload,
};

/// Kills the leader while the first request of this kind is held, then expects the line to go on to its end.
async fn leader_killed_at(requests: Requests) {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    house.deploy(&Workload::new("web", 6).start_after(Duration::from_secs(1)).spread(), Some(1)).await;
    let leader = house.leader().await;

    let fault = house.fault_proxy.inject(Fault::once(requests.from(&leader.pod), Effect::Hold));
    let event = house.announce_reboot(node);
    let removed = Cell::new(false);
    let to_the_end_of_the_event = async {
        house.wait_for_phase(&node.name, "drained").await;
        house.remove(&event);
        removed.set(true);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        hit = fault.hit(LONG) => drop(hit.unwrap()),
        () = to_the_end_of_the_event => {}
    }
    kill(leader.pid.unwrap());
    fault.clear();

    // Whoever leads next goes on from what stands on the node.
    if !removed.get() {
        house.wait_for_phase(&node.name, "drained").await;
        house.remove(&event);
    }
    house.wait_released(&node.name).await;
    assert_eq!(fault.hits(), 1);
    house.judge().await;
}

fn node_patch() -> Requests {
    Requests::any().method("PATCH").path_contains("/api/v1/nodes/")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed_as_it_claims() {
    leader_killed_at(node_patch().body_contains("unschedulable")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_26_the_leader_is_killed_as_it_sends_the_first_eviction() {
    leader_killed_at(Requests::any().method("POST").path_contains("/eviction")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed_as_it_releases() {
    leader_killed_at(node_patch().body_contains("\"mechanic/claim\":null")).await;
}
