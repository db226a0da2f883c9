use serde_json::json;

use super::*;
use crate::azure::Event;
use crate::nodes::Pool;

fn at(text: &str) -> Timestamp {
    format!("2026-11-23T12:00:{text}Z").parse().unwrap()
}

fn record(seconds: &str, fact: Fact) -> Record {
    Record { at: at(seconds), fact }
}

fn node(name: &str, ready: bool) -> Fact {
    Fact::Node(NodeSeen { name: name.into(), ready, ..NodeSeen::default() })
}

fn announced(nodes: &[&str]) -> Fact {
    let event = Event {
        event_id: "ABC-1".into(),
        not_before: "Mon, 23 Nov 2026 12:15:00 GMT".into(),
        ..Event::scheduled("Freeze", ["vm"], std::time::Duration::ZERO)
    };
    let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
    Fact::Azure(AzureFact::Announced { event: Box::new(event), nodes, avoidable: true })
}

fn request(user: &str, verb: &str, resource: &str, name: &str) -> Request {
    Request {
        received: at("00"),
        answered: at("00"),
        api_group: String::new(),
        verb: verb.into(),
        uri: String::new(),
        resource: resource.into(),
        subresource: String::new(),
        namespace: String::new(),
        name: name.into(),
        user: user.into(),
        pod: None,
        code: 200,
        forbidden: false,
        message: String::new(),
        body: None,
        answer: None,
    }
}

fn asked(request: Request) -> Fact {
    Fact::Request(Box::new(request))
}

#[test]
fn times_count_from_the_first_deed_and_what_was_before_is_not_told() {
    let lines = Story::default().tell(&[
        record("12.5", node("n1", false)),
        record("00", node("n1", true)),
        record("10", announced(&["n1"])),
    ]);
    assert_eq!(
        lines,
        [
            "t+  0.0 s  Azure      announces the Freeze of n1: not before 12:15:00, for 9 s, \
             “Host server is undergoing maintenance.”",
            "t+  2.5 s  cluster    n1 is NotReady",
        ]
    );
}

#[test]
fn pods_of_one_moment_share_a_line_and_nodes_have_short_names() {
    let specs = Pool::new("apps").nodes(2);
    let (first, second) = (specs[0].name.as_str(), specs[1].name.as_str());
    let mut records = vec![record("00", announced(&[first, second]))];
    for index in 0..5 {
        let uid = format!("uid-{index}");
        let pod = PodSeen {
            name: format!("cart-{index}"),
            uid: uid.clone(),
            node: Some(first.into()),
            ..PodSeen::default()
        };
        records.push(record("01", Fact::Pod(pod)));
        let eviction = Request {
            subresource: "eviction".into(),
            body: Some(json!({ "deleteOptions": { "preconditions": { "uid": uid } } })),
            code: if index == 4 { 429 } else { 201 },
            ..request(COORDINATORS, "create", "pods", &format!("cart-{index}"))
        };
        records.push(record("02", asked(eviction.clone())));
        records.push(record("03", asked(Request { code: 429, ..eviction })));
    }
    let lines = Story::about(&specs).tell(&records);
    assert!(lines[0].contains("the Freeze of apps/0, apps/1"), "{lines:?}");
    assert!(lines[1].ends_with("mechanic   evicts 4 pods from apps/0"), "{lines:?}");
    assert!(lines[2].contains("5 pods from apps/0: their budgets say no, for now"), "{lines:?}");
    assert_eq!(lines.len(), 3, "a budget's no is told once a pod: {lines:?}");
}

#[test]
fn people_and_leaders_are_told() {
    let lease = |holder: &str| Request {
        answer: Some(json!({ "spec": { "holderIdentity": holder } })),
        ..request(COORDINATORS, "update", "leases", "mechanic-coordinator")
    };
    let cordon = Request {
        answer: Some(json!({ "spec": { "unschedulable": true } })),
        ..request(PERSON, "patch", "nodes", "n1")
    };
    let mut story = Story::default();
    let lines = story.tell(&[
        record("00", asked(lease("mechanic-coordinator-a_1"))),
        record("01", Fact::Script("kills the leader".into())),
        record("02", asked(cordon.clone())),
        record("03", asked(cordon)),
        record("04", asked(lease("mechanic-coordinator-b_1"))),
        record("05", asked(lease("mechanic-coordinator-b_1"))),
    ]);
    assert_eq!(
        lines,
        [
            "t+  0.0 s  script     kills the leader",
            "t+  1.0 s  person     cordons n1",
            "t+  3.0 s  mechanic   mechanic-coordinator-b leads, after mechanic-coordinator-a",
        ]
    );
    assert_eq!(story.status(), "0 nodes held: 0 draining, 0 drained │ b leads");
}
