//! A run in plain data, written down fact by fact.

use super::*;

pub(super) const LEADER: &str = "mechanic-coordinator-a";
pub(super) const OTHER: &str = "mechanic-coordinator-b";
pub(super) const COORDINATOR: &str = "system:serviceaccount:mechanic:mechanic-coordinator";
pub(super) const EVENT: &str = "EVENT-1";

pub(super) fn at(seconds: f64) -> Timestamp {
    let start: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs_f64(seconds)
}

#[derive(Clone)]
pub(super) struct Run {
    pub(super) history: History,
    pub(super) version: u64,
}

impl Run {
    pub(super) fn new() -> Self {
        let mut run = Self { history: History::default(), version: 100 };
        for node in ["n1", "n2"] {
            run.node(0.0, node, true);
        }
        run.lease(0.5, LEADER);
        run
    }

    pub(super) fn add(&mut self, seconds: f64, fact: Fact) {
        self.history.records.push(Record { at: at(seconds), fact });
    }

    pub(super) fn node(&mut self, seconds: f64, name: &str, ready: bool) {
        self.see(seconds, name, NodeSeen { ready, ..NodeSeen::default() });
    }

    /// The Node is seen in its next version.
    pub(super) fn see(&mut self, seconds: f64, name: &str, seen: NodeSeen) {
        self.version += 1;
        let seen = NodeSeen { name: name.into(), uid: name.into(), version: self.version, ..seen };
        self.add(seconds, Fact::Node(seen));
    }

    pub(super) fn request(&mut self, seconds: f64, request: Request) {
        self.add(seconds, Fact::Request(Box::new(request)));
    }

    /// A write on a Node that leaves it with this cordon and this claim.
    pub(super) fn write(
        &mut self,
        seconds: f64,
        by: Option<&str>,
        node: &str,
        cordon: bool,
        events: Option<&[&str]>,
    ) {
        self.version += 1;
        let events =
            events.map(|events| events.iter().map(|event| (*event, json!({}))).collect::<BTreeMap<_, _>>());
        let claim = events.map(|events| json!({ "mechanic/claim": json!({ "events": events }).to_string() }));
        let object = json!({
            "kind": "Node", "apiVersion": "v1",
            "metadata": {
                "name": node, "uid": node, "resourceVersion": self.version.to_string(),
                "labels": claim.as_ref().map(|_| json!({ "mechanic.cordoned": "true" })),
                "annotations": claim,
            },
            "spec": { "unschedulable": cordon },
            "status": { "conditions": [
                { "type": "Ready", "status": "True", "lastHeartbeatTime": null, "lastTransitionTime": null }] },
        });
        let mut request = asked(seconds, by, "patch", "nodes", node);
        request.answer = Some(object);
        self.request(seconds, request);
    }

    pub(super) fn lease(&mut self, seconds: f64, holder: &str) {
        self.version += 1;
        let mut request = asked(seconds, Some(holder), "patch", "leases", "mechanic-coordinator");
        request.namespace = "mechanic".into();
        request.answer = Some(json!({
            "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
            "metadata": { "name": "mechanic-coordinator", "resourceVersion": self.version.to_string() },
            "spec": { "holderIdentity": format!("{holder}_0badcafe"), "leaseDurationSeconds": 15 },
        }));
        self.request(seconds, request);
    }

    pub(super) fn pod(&mut self, seconds: f64, name: &str, node: &str) {
        self.add(seconds, Fact::Pod(pod(name, node)));
    }

    pub(super) fn gone(&mut self, seconds: f64, name: &str) {
        self.add(seconds, Fact::PodGone(uid(name)));
    }

    pub(super) fn evict(&mut self, seconds: f64, by: &str, name: &str, code: u16) {
        let eviction = eviction(seconds, by, name, code);
        self.request(seconds, eviction);
    }

    pub(super) fn azure(&mut self, seconds: f64, fact: AzureFact) {
        self.add(seconds, Fact::Azure(fact));
    }

    pub(super) fn announce(&mut self, seconds: f64) {
        self.announce_event(seconds, "n1", &reboot());
    }

    pub(super) fn announce_event(&mut self, seconds: f64, node: &str, event: &Event) {
        let (event, nodes) = (Box::new(event.clone()), vec![node.to_owned()]);
        let avoidable = event.event_status == "Scheduled";
        self.azure(seconds, AzureFact::Announced { event, nodes, avoidable });
    }

    pub(super) fn configure(&mut self, seconds: f64, data: &[(&str, &str)]) {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.add(seconds, Fact::Settings(SettingsSeen { namespace: "mechanic".into(), data }));
    }

    pub(super) fn verdict(&self) -> Verdict {
        judge(&self.history, &promises())
    }

    #[track_caller]
    pub(super) fn breaks(&self, check: Check) {
        let verdict = self.verdict();
        assert_eq!(verdict.broken(), [check], "{verdict}");
    }
}

/// Two nodes, of which one may be drained at a time, and short holds.
pub(super) fn promises() -> Promises {
    let settings = Settings {
        max_cordoned: Amount::Number(2),
        release_hold: Duration::from_secs(3),
        release_hold_never_started: Duration::from_secs(5),
        release_hold_after_boot: Duration::from_secs(4),
        ..Settings::default()
    };
    Promises { settings, ..Promises::default() }
}

pub(super) fn reboot() -> Event {
    announced("Reboot", EVENT)
}

/// For the twentieth second.
pub(super) fn announced(event_type: &str, id: &str) -> Event {
    let event = Event::scheduled(event_type, ["vm"], Duration::ZERO);
    Event { event_id: id.into(), not_before: rfc1123(at(20.0)), ..event }
}

pub(super) fn uid(name: &str) -> String {
    format!("uid-of-{name}")
}

pub(super) fn pod(name: &str, node: &str) -> PodSeen {
    PodSeen {
        namespace: "shop".into(),
        name: name.into(),
        uid: uid(name),
        node: Some(node.into()),
        labels: BTreeMap::from([("app".into(), "cart".into())]),
        ready: true,
        ..PodSeen::default()
    }
}

pub(super) fn asked(seconds: f64, by: Option<&str>, verb: &str, resource: &str, name: &str) -> Request {
    Request {
        received: at(seconds - 0.01),
        answered: at(seconds),
        verb: verb.into(),
        uri: format!("/api/{resource}/{name}"),
        api_group: String::new(),
        resource: resource.into(),
        subresource: String::new(),
        namespace: String::new(),
        name: name.into(),
        user: by.map_or("person", |_| COORDINATOR).into(),
        pod: by.map(Into::into),
        code: 200,
        forbidden: false,
        message: String::new(),
        body: None,
        answer: None,
    }
}

pub(super) fn eviction(seconds: f64, by: &str, name: &str, code: u16) -> Request {
    let body = json!({ "deleteOptions": { "preconditions": { "uid": uid(name) } } });
    Request {
        namespace: "shop".into(),
        subresource: "eviction".into(),
        body: Some(body),
        code,
        ..asked(seconds, Some(by), "create", "pods", name)
    }
}

pub(super) fn healthy(count: i32) -> Fact {
    let selector = serde_json::from_value(json!({ "matchLabels": { "app": "cart" } })).unwrap();
    Fact::Budget(BudgetSeen {
        namespace: "shop".into(),
        name: "cart".into(),
        selector,
        healthy: count,
        desired: 2,
    })
}

/// A reboot of n1 as it should go: two pods, the second of which its budget holds for a while.
pub(super) fn honest() -> Run {
    let mut run = Run::new();
    run.pod(0.1, "cart-1", "n1");
    run.pod(0.1, "cart-2", "n1");
    run.pod(0.1, "other-1", "n2");
    run.add(0.2, healthy(3));
    run.announce(10.0);
    run.write(10.5, Some(LEADER), "n1", true, Some(&[EVENT]));
    run.evict(11.0, LEADER, "cart-1", 201);
    run.evict(11.1, LEADER, "cart-2", 429);
    run.lease(11.5, LEADER);
    run.gone(12.0, "cart-1");
    run.add(12.1, healthy(2));
    run.add(14.0, healthy(3));
    run.evict(15.0, LEADER, "cart-2", 201);
    run.gone(16.0, "cart-2");
    run.lease(18.0, LEADER);
    run.azure(20.0, AzureFact::Started { event: EVENT.into() });
    run.azure(20.0, AzureFact::PoweredOff { node: "n1".into() });
    run.azure(25.0, AzureFact::PoweredOn { node: "n1".into() });
    run.azure(30.0, AzureFact::Removed { event: EVENT.into() });
    run.lease(31.0, LEADER);
    run
}

pub(super) fn released(mut run: Run, seconds: f64) -> Run {
    run.write(seconds, Some(LEADER), "n1", false, None);
    run
}
