//! The whole line on a real control plane: from the document of one machine to the last evicted pod and back.

use std::time::Duration;

use crate::support::House;
use k8s_openapi::api::{core::v1::Pod, events::v1::Event as KubernetesEvent};
use kube::{Api, api::ListParams};
use mechanic_sandbox::{azure::Behaviour, workloads::Workload};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn one_reboot_from_the_document_to_the_uncordon_and_then_another() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    let web = Workload::new("web", 6).start_after(Duration::from_secs(1)).spread();
    house.deploy(&web, Some(1)).await;
    let plain = Workload::new("plain", 4).spread();
    house.deploy(&plain, None).await;

    let event = house.announce_reboot(node);
    let claim = house.wait_for_phase(&node.name, "drained").await;
    assert!(claim["events"][&event].is_object(), "{claim}");
    assert_eq!(pods_of(&house, &node.name, &["web", "plain"]).await, 0);

    house.start(&event);
    house.power_off(node).await;
    house.power_on(node).await;
    house.remove(&event);
    house.wait_released(&node.name).await;

    tells_the_story_of(&house, &node.name, &event).await;
    let told = steps(&house, &node.name).await;
    for step in ["Cordoned", "DrainStarted", "DrainFinished", "Released"] {
        assert_eq!(told.iter().filter(|told| *told == step).count(), 1, "{step} in {told:?}");
    }

    // A second event after the first, cancelled before it starts.
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_in_force_without_a_restart_and_the_budget_holds() {
    let house = House::with_nodes(5, 1).await;
    let slow = Workload::new("slow", 6).stop_after(Duration::from_secs(4)).spread();
    house.deploy(&slow, None).await;
    house.configure(json!({"max-concurrent-drains": "two", "lead-time": "5m"})).await;
    // Ten minutes ahead is further than five: shown, and nothing is done.
    let events: Vec<_> = house.nodes.iter().take(2).map(|node| house.announce_reboot(node)).collect();
    tokio::time::sleep(Duration::from_secs(4)).await;
    for node in &house.nodes {
        assert_eq!(house.claim(&node.name).await, None, "{} is acted on before its time", node.name);
    }
    house.configure(json!({"max-concurrent-drains": "1", "lead-time": "10m"})).await;
    for (node, event) in house.nodes.iter().zip(&events) {
        house.wait_for_phase(&node.name, "drained").await;
        house.remove(event);
    }
    for node in house.nodes.iter().take(2) {
        house.wait_released(&node.name).await;
    }
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn imds_failing_in_any_way_in_mid_event_releases_nothing() {
    let ways = [
        Behaviour::Throttled,
        Behaviour::ErrorWithJson,
        Behaviour::ErrorWithoutBody,
        Behaviour::EmptyBody,
        Behaviour::BrokenJson,
        Behaviour::Html,
        Behaviour::Hanging,
        Behaviour::Refused,
    ];
    let house = House::with_nodes(u32::try_from(ways.len()).unwrap() + 1, ways.len()).await;
    // All at once, so that one outage of each kind is enough.
    house.configure(json!({"max-cordoned": "100%"})).await;
    let hit = &house.nodes[..ways.len()];
    let events: Vec<_> = hit.iter().map(|node| house.announce_reboot(node)).collect();
    for node in hit {
        house.wait_for_phase(&node.name, "drained").await;
    }
    for (node, way) in hit.iter().zip(ways) {
        house.azure.set_behaviour(&node.vm_name(), way).unwrap();
    }
    // The events vanish while nobody can see it: silence and errors are no proof.
    for event in &events {
        house.remove(event);
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    for (node, way) in hit.iter().zip(ways) {
        assert!(house.claim(&node.name).await.is_some(), "{way:?} was taken for the end of an event");
    }
    for node in hit {
        house.azure.set_behaviour(&node.vm_name(), Behaviour::Normal).unwrap();
    }
    for node in hit {
        house.wait_released(&node.name).await;
    }
    house.judge().await;
}

/// What `grep` with an `EventId` finds in the leader's log, one JSON object a line: each step in its order, on this node, by
/// this leader.
async fn tells_the_story_of(house: &House, node: &str, event: &str) {
    let leader = house.leader().await;
    let lines = house
        .wait("the log says that the node is given back", async || {
            let log = house.logs_of(&leader);
            let lines = log.lines().filter(|line| line.contains(event));
            let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
            lines.iter().any(|line| line["fields"]["reason"] == "Released").then_some(lines)
        })
        .await;
    let epoch = house.metric(&leader, "mechanic_leader_epoch").await;
    let mut told = Vec::new();
    for line in &lines {
        let fields = &line["fields"];
        let about = (fields["node"].as_str(), fields["event"].as_str(), fields["epoch"].as_f64());
        assert_eq!(about, (Some(node), Some(event), Some(epoch)), "{line}");
        told.extend(fields["reason"].as_str().or(fields["message"].as_str()));
    }
    let evicted = told.iter().filter(|told| **told == "evicted").count();
    assert!(evicted >= 2, "each eviction of web's and plain's: {told:?}");
    // That a drain has begun, and that its evictions do, is found out side by side.
    for steps in [
        &["Cordoned", "DrainStarted", "DrainFinished", "Released"][..],
        &["Cordoned", "evictions begin", "evicted", "DrainFinished"],
    ] {
        let mut told = told.iter();
        for step in steps {
            assert!(told.any(|told| told == step), "{step} is missing, or comes too soon: {lines:#?}");
        }
    }
}

async fn pods_of(house: &House, node: &str, apps: &[&str]) -> usize {
    let parameters = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = Api::<Pod>::all(house.client.clone()).list(&parameters).await.unwrap();
    let app = |pod: &Pod| pod.metadata.labels.as_ref().and_then(|labels| labels.get("app").cloned());
    pods.iter().filter(|pod| app(pod).is_some_and(|app| apps.contains(&app.as_str()))).count()
}

async fn events_on(house: &House, node: &str) -> Vec<KubernetesEvent> {
    let events =
        Api::<KubernetesEvent>::all(house.client.clone()).list(&ListParams::default()).await.unwrap();
    let on_node = |event: &KubernetesEvent| {
        event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some(node))
            && event.reporting_controller.as_deref() == Some("mechanic-coordinator")
    };
    events.items.into_iter().filter(on_node).collect()
}

/// The reasons of the Events on a node; waits for the last of a line, which comes after its write.
async fn steps(house: &House, node: &str) -> Vec<String> {
    house
        .wait("the Event Released", async || {
            let events = events_on(house, node).await;
            let told: Vec<String> = events.into_iter().filter_map(|event| event.reason).collect();
            told.contains(&"Released".to_owned()).then_some(told)
        })
        .await
}
