//! What is done about each kind of event, from the document of a machine to the Node and its pods.

use std::time::Duration;

use crate::support::{House, NOTICE};
use mechanic_sandbox::{azure::Event, nodes::NodeSpec, workloads::Workload, world::World};
use serde_json::json;

const LIVE_MIGRATION: &str =
    "Virtual machine is being paused because of a memory-preserving Live Migration operation.";

fn scheduled(node: &NodeSpec, event_type: &str, notice: Duration) -> Event {
    Event::scheduled(event_type, [node.vm_name()], notice)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_event_gets_what_it_is_worth() {
    let house = House::with_nodes(9, 7).await;
    house
        .configure(json!({
            "max-cordoned": "100%",
            "max-unavailable-nodes": "100%",
            "release-hold-after-terminate": "6s",
        }))
        .await;
    let free = house.nodes_without_coordinator();
    let [freeze, migration, redeploy, terminate, preempt, unknown, started] = free[..7] else {
        panic!("more nodes than that")
    };
    house.deploy(&Workload::new("web", 18).spread(), None).await;

    let short = Event { duration_in_seconds: 9, ..scheduled(freeze, "Freeze", NOTICE) };
    let tolerated = house.announce(freeze, &short);
    let live_migration = Event {
        duration_in_seconds: 5,
        description: LIVE_MIGRATION.into(),
        ..scheduled(migration, "Freeze", NOTICE)
    };
    let mut events = vec![
        (migration, house.announce(migration, &live_migration)),
        (redeploy, house.announce(redeploy, &scheduled(redeploy, "Redeploy", NOTICE))),
        (terminate, house.announce(terminate, &scheduled(terminate, "Terminate", NOTICE))),
        (preempt, house.announce(preempt, &scheduled(preempt, "Preempt", Duration::from_mins(1)))),
    ];
    for (node, event) in &events {
        let claim = house.wait_for_phase(&node.name, "drained").await;
        assert!(claim["events"][event].is_object(), "{claim}");
        assert_eq!(claim["podsLeft"], serde_json::Value::Null, "{claim}");
    }
    let unheard_of = house.announce(unknown, &scheduled(unknown, "Rehydrate", NOTICE));
    let late = Event { duration_in_seconds: -1, ..scheduled(started, "Freeze", Duration::ZERO).started() };
    // It is under way when it is first seen: nobody can move a pod before that.
    let freeze_under_way = World::announce(&house, &late, &[started], false).unwrap();
    for (node, event) in [(unknown, &unheard_of), (started, &freeze_under_way)] {
        let claim = house.wait_for_phase(&node.name, "cordoned").await;
        assert!(claim["events"][event].is_object(), "{claim}");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(house.claim(&freeze.name).await, None, "a short freeze is worth no cordon");
    for node in [unknown, started] {
        assert_eq!(house.claim(&node.name).await.unwrap()["phase"], "cordoned", "{}", node.name);
    }
    events.extend([(unknown, unheard_of), (started, freeze_under_way), (freeze, tolerated)]);
    for (_, event) in &events {
        house.remove(event);
    }
    for (node, _) in &events {
        house.wait_released(&node.name).await;
    }
    house
        .shows(&[
            ("mechanic_events_total{type=\"Freeze\",outcome=\"drained_in_time\"}", 1.0),
            ("mechanic_events_total{type=\"Redeploy\",outcome=\"drained_in_time\"}", 1.0),
            ("mechanic_events_total{type=\"Terminate\",outcome=\"drained_in_time\"}", 1.0),
            ("mechanic_events_total{type=\"Preempt\",outcome=\"drained_in_time\"}", 1.0),
            ("mechanic_events_total{type=\"other\",outcome=\"cordoned_only\"}", 1.0),
            ("mechanic_events_total{type=\"Freeze\",outcome=\"cordoned_only\"}", 1.0),
            ("mechanic_events_total{type=\"Freeze\",outcome=\"tolerated\"}", 1.0),
        ])
        .await;
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_over_many_machines_is_one_claim_on_each_within_the_limits() {
    let house = House::with_nodes(6, 1).await;
    house.configure(json!({"max-cordoned": "50%"})).await;
    house.deploy(&Workload::new("web", 12).spread(), None).await;
    let hit = house.nodes_without_coordinator();
    assert_eq!(hit.len(), 4);
    let event = Event::scheduled("Reboot", hit.iter().map(|node| node.vm_name()), NOTICE);
    let id = World::announce(&house, &event, &hit, true).unwrap();
    // Three of six may be cordoned; the fourth waits until one of them is given back.
    let claimed = async || {
        let mut claimed = Vec::new();
        for node in &hit {
            claimed.extend(house.claim(&node.name).await);
        }
        claimed
    };
    house
        .wait("three nodes are drained", async || {
            let drained = claimed().await.iter().filter(|claim| claim["phase"] == "drained").count();
            (drained == 3).then_some(())
        })
        .await;
    let claims = claimed().await;
    assert_eq!(claims.len(), 3, "{claims:?}");
    assert!(claims.iter().all(|claim| claim["events"][&id].is_object()), "{claims:?}");
    house.remove(&id);
    for node in hit {
        house.wait_released(&node.name).await;
    }
    house.judge().await;
}

/// An Event of mechanic's, as `kubectl describe` shows it.
#[derive(Debug)]
struct Told {
    kind: String,
    code: String,
    says: String,
}

impl House {
    /// What `kubectl describe node` says of mechanic's doing, from above to below.
    async fn described(&self, node: &str) -> Vec<Told> {
        let text = self.cluster.kubectl(["describe", "node", node]).await.unwrap();
        let (_, events) = text.rsplit_once("Events:").expect("a list of Events");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let told = events.lines().map(words).filter_map(|words| {
            let from = words.iter().position(|word| word == "mechanic-coordinator")?;
            Some(Told { kind: words[0].clone(), code: words[1].clone(), says: words[from + 1..].join(" ") })
        });
        told.collect()
    }
}

/// What somebody reads who wasn't there, and knows nothing of mechanic's source.
#[tokio::test(flavor = "multi_thread")]
async fn describe_node_alone_tells_the_story_of_a_reboot_that_a_budget_held_up() {
    let house = House::with_nodes(4, 1).await;
    house.configure(json!({"set-aside-after": "15s"})).await;
    let node = house.node_without_coordinator();
    house.close_others(&[node]).await.unwrap();
    house.deploy(&Workload::new("web", 2), Some(0)).await;
    house.open_others(&[node]).await.unwrap();

    let event = house.announce_reboot(node);
    house
        .wait("the drain is set aside", async || {
            house.claim(&node.name).await.filter(|claim| claim["reason"] == "DrainBlocked")
        })
        .await;
    house.open_budget("web").await.unwrap();
    house.wait_for_phase(&node.name, "drained").await;
    house.start(&event);
    house.power_off(node).await;
    house.power_on(node).await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    let told = house
        .wait("the last step is told", async || {
            let told = house.described(&node.name).await;
            told.iter().any(|told| told.code == "Released").then_some(told)
        })
        .await;
    let codes: Vec<&str> = told.iter().map(|told| told.code.as_str()).collect();
    let story = [
        ("Normal", "Cordoned", vec!["Reboot", &event, "not before"]),
        ("Normal", "DrainStarted", vec!["pods are evicted", &event]),
        ("Warning", "BlockedForGood", vec!["default/web-", "and another pod", "PodDisruptionBudget web"]),
        ("Warning", "DrainBlocked", vec!["none of the 2 pods", "default/web-", "`maxUnavailable: 0`"]),
        ("Normal", "DrainStopped", vec!["nothing more is evicted"]),
        ("Normal", "DrainStarted", vec!["pods are evicted", &event]),
        ("Normal", "DrainFinished", vec!["every pod that can be moved is gone"]),
        ("Normal", "WaitingForProof", vec!["isn't proven to be over"]),
        ("Normal", "Released", vec!["the event is over", "takes pods again"]),
    ];
    let of_story: Vec<&Told> =
        told.iter().filter(|told| story.iter().any(|(_, code, _)| told.code == *code)).collect();
    assert_eq!(of_story.len(), story.len(), "each once: {codes:?}");
    for (told, (kind, code, parts)) in of_story.into_iter().zip(story) {
        assert_eq!((told.kind.as_str(), told.code.as_str()), (kind, code), "{codes:?}");
        assert!(parts.iter().all(|part| told.says.contains(part)), "{parts:?} in {told:?}");
    }
    house.judge().await;
}
