//! More pods on one node than a page of a list holds, on a real API server.

use std::time::Duration;

use crate::support::{House, LONG};
use mechanic_sandbox::{
    fault_proxy::{Effect, Fault, FaultHandle, Requests},
    nodes::NodeSpec,
    workloads::Workload,
};

const GOING: u32 = 1200;
/// More than a page: nothing else is in the lists before the drain's end.
const STAYING: u32 = 501;
/// Longer than so many evictions take on a slow machine.
const WITHIN: Duration = Duration::from_mins(5);

impl House {
    async fn make_room(&self, node: &NodeSpec) {
        let room = r#"{"status":{"allocatable":{"pods":"2000"},"capacity":{"pods":"2000"}}}"#;
        self.kubectl(&["patch", "node", &node.name, "--subresource=status", "--patch", room]).await;
    }

    /// The next list of pods is told, where it goes on, that its token has expired.
    fn expire_next_list(&self) -> FaultHandle {
        let pages = Requests::any().method("GET").path_contains("/api/v1/pods?").path_contains("continue=");
        self.fault_proxy.inject(Fault::once(pages, Effect::refuse(410, "Expired")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn u13_u14_edge_41_all_of_1200_pods_go_though_lists_expire_between_their_pages() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    house.make_room(node).await;
    for (name, replicas, empty_dir) in [("going", GOING, false), ("staying", STAYING, true)] {
        let workload = Workload { cpu_millis: 1, empty_dir, ..Workload::new(name, replicas) };
        house.deploy(&workload.on_node(&node.name), None).await;
    }

    let watch = house.expire_next_list();
    let evictions = Requests::any().method("POST").path_contains("/eviction");
    let first_eviction = house.fault_proxy.inject(Fault::once(evictions, Effect::Hold));
    let event = house.announce_reboot(node);
    watch.hit(LONG).await.unwrap();
    first_eviction.hit(LONG).await.unwrap();
    let last_list = house.expire_next_list();
    first_eviction.release();
    last_list.hit(WITHIN).await.unwrap();
    let claim = house.wait_for_phase(&node.name, "drained").await;
    assert_eq!(claim["podsLeft"], STAYING, "{claim}");
    let facts = house.referee.verdict().await.facts;
    let evicted: Vec<usize> = facts.drains.iter().map(|drain| drain.pods).collect();
    assert_eq!((facts.evictions_accepted, evicted), (GOING as usize, vec![GOING as usize]));
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}
