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
