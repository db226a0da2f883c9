//! How a drain asks: the API server's answers to real evictions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use mechanic_sandbox::workloads::Workload;
use support::House;

/// Far less than the minute after which a budget that nothing is heard of is asked again.
const AT_ONCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_budget_is_asked_once_for_all_its_pods_and_used_as_soon_as_it_opens() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    house.deploy(&Workload::new("web", 12).spread(), Some(0)).await;
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "draining").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let facts = house.referee.verdict().await.facts;
    assert_eq!((facts.evictions_accepted, facts.evictions_refused), (0, 1));

    let open = ["patch", "pdb", "web", "--type=merge", "--patch", r#"{"spec":{"maxUnavailable":"100%"}}"#];
    let opened = Instant::now();
    house.cluster.kubectl(open).await.unwrap();
    house.wait_for_phase(&node.name, "drained").await;
    let took = opened.elapsed();
    println!("drained {:.1} s after the budget had opened", took.as_secs_f64());
    assert!(took < AT_ONCE, "{took:?}");
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}
