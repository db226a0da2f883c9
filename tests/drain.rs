//! How a drain asks: the API server's answers to real evictions.

use std::time::{Duration, Instant};

use crate::support::House;
use k8s_openapi::api::core::v1::Pod;
use mechanic_sandbox::{
    fault_proxy::{Effect, Fault, Requests},
    workloads::Workload,
};
use serde_json::json;

/// Far less than the minute after which a budget that nothing is heard of is asked again.
const AT_ONCE: Duration = Duration::from_secs(30);

impl House {
    /// Waits until the leader's metrics say so.
    pub(crate) async fn shows(&self, expected: &[(&str, f64)]) {
        let leader = self.leader().await;
        for (sample, value) in expected {
            let shown = async || (self.metric(&leader, sample).await >= *value).then_some(());
            self.wait(&format!("{sample} is {value}"), shown).await;
            let shown = self.metric(&leader, sample).await;
            assert!(shown <= *value, "{sample} is {shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_30_a_closed_budget_is_asked_once_for_all_its_pods_and_used_as_soon_as_it_opens() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    let web = Workload::new("web", 12).spread();
    house.deploy(&web, Some(0)).await;
    let is_there = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&node.name);
    let held = web.pods(&house.client).await.unwrap().into_iter().filter(is_there).count();
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "draining").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let blocked = "mechanic_pods_to_leave{reason=\"BlockedForGood\"}";
    house.shows(&[(blocked, f64::from(u32::try_from(held).unwrap()))]).await;
    let facts = house.referee.verdict().await.facts;
    assert_eq!((facts.evictions_accepted, facts.evictions_refused), (0, 1));

    let opened = Instant::now();
    house.open_budget("web").await.unwrap();
    house.wait_for_phase(&node.name, "drained").await;
    let took = opened.elapsed();
    println!("drained {:.1} s after the budget had opened", took.as_secs_f64());
    assert!(took < AT_ONCE, "{took:?}");
    house
        .shows(&[
            ("mechanic_leader", 1.0),
            ("mechanic_nodes{phase=\"drained\"}", 1.0),
            ("mechanic_nodes_with_reason{reason=\"Drained\"}", 1.0),
            ("mechanic_nodes_covered{coverage=\"covered\"}", 4.0),
            ("mechanic_evictions_total{result=\"budget\"}", 1.0),
            ("mechanic_steps_total{step=\"Cordoned\"}", 1.0),
            ("mechanic_steps_total{step=\"DrainFinished\"}", 1.0),
            (blocked, 0.0),
            ("mechanic_notice_to_cordon_seconds_count", 1.0),
            ("mechanic_notice_to_drained_seconds_count", 1.0),
            ("mechanic_left_when_drained_seconds_bucket{le=\"0.0\"}", 0.0),
        ])
        .await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    let in_time = "mechanic_events_total{type=\"Reboot\",outcome=\"drained_in_time\"}";
    house.shows(&[(in_time, 1.0)]).await;
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_can_not_go_on_gives_its_slot_away_and_goes_on_when_it_can() {
    let house = House::with_nodes(6, 1).await;
    house.configure(json!({"set-aside-after": "5s"})).await;
    let free = house.nodes_without_coordinator();
    // All pods of a budget that lets none go are on the first node.
    house.close_others(&free[..1]).await.unwrap();
    house.deploy(&Workload::new("web", 2), Some(0)).await;
    house.open_others(&free[..1]).await.unwrap();
    house.deploy(&Workload::new("api", 12).spread(), None).await;

    let first = house.announce_reboot(free[0]);
    house.wait_for_phase(&free[0].name, "draining").await;
    let second = house.announce_reboot(free[1]);
    house.wait_for_phase(&free[1].name, "drained").await;
    let claim = house.wait_for_phase(&free[0].name, "cordoned").await;
    assert_eq!(claim["reason"], "DrainBlocked");
    let events = house.cluster.kubectl(["get", "events", "--all-namespaces"]).await.unwrap();
    assert!(events.contains("maxUnavailable: 0`; 1 would let it go"), "{events}");

    house.open_budget("web").await.unwrap();
    for node in &free[..2] {
        house.wait_for_phase(&node.name, "drained").await;
    }
    house.remove(&first);
    house.remove(&second);
    for node in &free[..2] {
        house.wait_released(&node.name).await;
    }
    house.judge().await;
}

/// W4 on a real API server: what was evicted stays evicted, what was not stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_whose_event_is_cancelled_stops_at_the_next_pod() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    let web = Workload::new("web", 6).start_after(Duration::from_secs(3));
    house.close_others(&[node]).await.unwrap();
    house.deploy(&web, Some(1)).await;
    house.open_others(&[node]).await.unwrap();
    let left = async || {
        let pods = web.pods(&house.client).await.unwrap();
        let here = |name: Option<&str>| name == Some(node.name.as_str());
        pods.iter().filter(|pod| here(pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()))).count()
    };
    let event = house.announce_reboot(node);
    house.wait("two pods are gone", async || (left().await <= 4).then_some(())).await;
    house.remove(&event);
    house.wait_for_phase(&node.name, "cordoned").await;
    let stayed = left().await;
    assert!(stayed >= 2, "the drain was over before it could be cancelled");
    house.wait_released(&node.name).await;
    assert_eq!(left().await, stayed, "pods are evicted for an event that is no longer announced");
    let accepted = house.referee.verdict().await.facts.evictions_accepted;
    assert_eq!(accepted + stayed, 6);
    house.shows(&[("mechanic_events_total{type=\"Reboot\",outcome=\"never_started\"}", 1.0)]).await;
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_sheds_load_slows_all_evictions_down_and_sets_no_node_aside() {
    let house = House::with_nodes(4, 1).await;
    house.configure(json!({"set-aside-after": "3s"})).await;
    let node = house.node_without_coordinator();
    house.deploy(&Workload::new("web", 40).spread(), None).await;
    let evictions = Requests::any().method("POST").path_contains("/eviction");
    let overload = house.fault_proxy.inject(Fault::always(evictions, Effect::refuse(429, "TooManyRequests")));
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "draining").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    // A second, two, four, …: ten may be on their way each time, and there are no more than ten pods.
    let asked = overload.hits();
    assert!(asked <= 50, "{asked} evictions in ten seconds");
    assert_eq!(house.claim(&node.name).await.unwrap()["phase"], "draining");
    overload.clear();
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}
