//! One honest run in plain data, and for each promise the same run with that promise broken.

mod drains;
mod limits;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::judge;
use crate::azure::{Event, rfc1123};
use crate::referee::history::{
    AzureFact, BudgetSeen, Fact, History, NodeSeen, PodSeen, Record, Request, SettingsSeen,
};
use crate::referee::promises::Promises;
use crate::referee::settings::{Amount, Settings};
use crate::referee::verdict::{Check, Verdict};

const LEADER: &str = "mechanic-coordinator-a";
const OTHER: &str = "mechanic-coordinator-b";
const COORDINATOR: &str = "system:serviceaccount:mechanic:mechanic-coordinator";
const EVENT: &str = "EVENT-1";

fn at(seconds: f64) -> Timestamp {
    let start: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs_f64(seconds)
}

#[derive(Clone)]
struct Run {
    history: History,
    version: u64,
}

impl Run {
    fn new() -> Self {
        let mut run = Self { history: History::default(), version: 100 };
        for node in ["n1", "n2"] {
            run.node(0.0, node, true);
        }
        run.lease(0.5, LEADER);
        run
    }

    fn add(&mut self, seconds: f64, fact: Fact) {
        self.history.records.push(Record { at: at(seconds), fact });
    }

    fn node(&mut self, seconds: f64, name: &str, ready: bool) {
        self.version += 1;
        let seen = NodeSeen {
            name: name.into(),
            uid: name.into(),
            version: self.version,
            ready,
            ..NodeSeen::default()
        };
        self.add(seconds, Fact::Node(seen));
    }

    fn request(&mut self, seconds: f64, request: Request) {
        self.add(seconds, Fact::Request(Box::new(request)));
    }

    /// A write on a Node that leaves it with this cordon and this claim.
    fn write(&mut self, seconds: f64, by: Option<&str>, node: &str, cordon: bool, events: Option<&[&str]>) {
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

    fn lease(&mut self, seconds: f64, holder: &str) {
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

    fn pod(&mut self, seconds: f64, name: &str, node: &str) {
        self.add(seconds, Fact::Pod(pod(name, node)));
    }

    fn gone(&mut self, seconds: f64, name: &str) {
        self.add(seconds, Fact::PodGone(uid(name)));
    }

    fn evict(&mut self, seconds: f64, by: &str, name: &str, code: u16) {
        let eviction = eviction(seconds, by, name, code);
        self.request(seconds, eviction);
    }

    fn azure(&mut self, seconds: f64, fact: AzureFact) {
        self.add(seconds, Fact::Azure(fact));
    }

    fn announce(&mut self, seconds: f64) {
        self.announce_event(seconds, "n1", &reboot());
    }

    fn announce_event(&mut self, seconds: f64, node: &str, event: &Event) {
        let (event, nodes) = (Box::new(event.clone()), vec![node.to_owned()]);
        let avoidable = event.event_status == "Scheduled";
        self.azure(seconds, AzureFact::Announced { event, nodes, avoidable });
    }

    fn configure(&mut self, seconds: f64, data: &[(&str, &str)]) {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.add(seconds, Fact::Settings(SettingsSeen { namespace: "mechanic".into(), data }));
    }

    fn verdict(&self) -> Verdict {
        judge(&self.history, &promises())
    }

    #[track_caller]
    fn breaks(&self, check: Check) {
        let verdict = self.verdict();
        assert_eq!(verdict.broken(), [check], "{verdict}");
    }
}

/// Two nodes, of which one may be drained at a time, and short holds.
fn promises() -> Promises {
    let settings = Settings {
        max_cordoned: Amount::Number(2),
        release_hold: Duration::from_secs(3),
        release_hold_never_started: Duration::from_secs(5),
        release_hold_after_boot: Duration::from_secs(4),
        ..Settings::default()
    };
    Promises { settings, ..Promises::default() }
}

fn reboot() -> Event {
    announced("Reboot", EVENT)
}

/// For the twentieth second.
fn announced(event_type: &str, id: &str) -> Event {
    let event = Event::scheduled(event_type, ["vm"], Duration::ZERO);
    Event { event_id: id.into(), not_before: rfc1123(at(20.0)), ..event }
}

fn uid(name: &str) -> String {
    format!("uid-of-{name}")
}

fn pod(name: &str, node: &str) -> PodSeen {
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

fn asked(seconds: f64, by: Option<&str>, verb: &str, resource: &str, name: &str) -> Request {
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
        message: String::new(),
        body: None,
        answer: None,
    }
}

fn eviction(seconds: f64, by: &str, name: &str, code: u16) -> Request {
    let body = json!({ "deleteOptions": { "preconditions": { "uid": uid(name) } } });
    Request {
        namespace: "shop".into(),
        subresource: "eviction".into(),
        body: Some(body),
        code,
        ..asked(seconds, Some(by), "create", "pods", name)
    }
}

fn healthy(count: i32) -> Fact {
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
fn honest() -> Run {
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

fn released(mut run: Run, seconds: f64) -> Run {
    run.write(seconds, Some(LEADER), "n1", false, None);
    run
}

#[test]
fn an_honest_run_is_clean_and_its_facts_are_told() {
    let verdict = released(honest(), 34.0).verdict();
    assert_eq!(verdict.broken(), [], "{verdict}");
    let facts = verdict.facts;
    assert_eq!((facts.evictions_accepted, facts.evictions_refused), (2, 1));
    assert_eq!(facts.refused_then_accepted, ["shop/cart-2"]);
    assert_eq!(facts.most_drains_at_once, 1);
    assert_eq!(facts.leaders, [format!("{LEADER}_0badcafe")]);
    let [drain] = facts.drains.as_slice() else { panic!("one drain: {:?}", facts.drains) };
    assert_eq!((drain.from, drain.until, drain.pods), (at(11.0), at(16.0), 2));
}

#[test]
fn a_delete_is_no_eviction() {
    let mut run = released(honest(), 34.0);
    let delete =
        Request { namespace: "shop".into(), ..asked(14.0, Some(LEADER), "delete", "pods", "cart-2") };
    run.request(14.0, delete);
    run.breaks(Check::PodDeleted);
}

#[test]
fn a_cordon_by_a_person_is_left_alone() {
    let mut run = released(honest(), 34.0);
    run.write(5.0, None, "n2", true, None);
    assert_eq!(run.verdict().broken(), []);
    run.write(35.0, Some(LEADER), "n2", false, None);
    run.breaks(Check::ForeignCordon);
}

#[test]
fn a_node_that_a_person_had_cordoned_first_stays_cordoned() {
    let held = |cordoned_after| {
        let mut run = honest();
        run.write(5.0, None, "n2", true, None);
        run.write(10.6, Some(LEADER), "n2", true, Some(&[EVENT]));
        run.write(33.5, Some(LEADER), "n2", cordoned_after, None);
        released(run, 34.0)
    };
    assert_eq!(held(true).verdict().broken(), []);
    held(false).breaks(Check::ForeignCordon);
}

#[test]
fn a_cordon_that_a_person_applies_beside_mechanics_stays() {
    let held = |cordoned_after| {
        let mut run = honest();
        run.version += 1;
        let applied = NodeSeen {
            name: "n1".into(),
            uid: "n1".into(),
            version: run.version,
            unschedulable: true,
            cordon_applied: true,
            labelled: true,
            claim: Some(json!({ "events": { EVENT: {} } }).to_string()),
            ready: true,
            ..NodeSeen::default()
        };
        run.add(31.0, Fact::Node(applied));
        run.write(34.0, Some(LEADER), "n1", cordoned_after, None);
        run
    };
    assert_eq!(held(true).verdict().broken(), []);
    held(false).breaks(Check::ForeignCordon);
}

#[test]
fn a_veto_holds_until_a_new_event() {
    let again = |events: &[&str]| {
        let mut run = honest();
        // Versions count, not the order of the log.
        run.write(31.1, None, "n1", false, Some(&[EVENT]));
        run.write(31.2, Some(LEADER), "n1", true, Some(events));
        released(run, 34.0)
    };
    again(&[EVENT]).breaks(Check::ForeignCordon);
    assert_eq!(again(&[EVENT, "EVENT-2"]).verdict().broken(), []);
}

#[test]
fn a_node_is_given_back_only_when_all_is_over() {
    released(honest(), 32.0).breaks(Check::ReleasedEarly);
    released(honest(), 29.0).breaks(Check::ReleasedEarly);
    let mut off = honest();
    off.azure(31.0, AzureFact::PoweredOff { node: "n1".into() });
    released(off, 34.0).breaks(Check::ReleasedEarly);
    // Ready again at the version that is written over, or not.
    let mut not_ready = honest();
    not_ready.version += 1;
    let seen = NodeSeen {
        name: "n1".into(),
        uid: "n1".into(),
        version: not_ready.version,
        unschedulable: true,
        labelled: true,
        claim: Some("{}".into()),
        ready: false,
        ..NodeSeen::default()
    };
    not_ready.add(31.0, Fact::Node(seen));
    released(not_ready, 34.0).breaks(Check::ReleasedEarly);
}

#[test]
fn an_event_that_asks_for_nothing_yet_or_never_keeps_no_node() {
    let with = |event: Event| {
        let mut run = honest();
        run.configure(
            1.0,
            &[("lead-time", "10m"), ("release-hold", "3s"), ("release-hold-after-boot", "4s")],
        );
        let (event, nodes) = (Box::new(event), vec!["n1".to_owned()]);
        run.azure(28.0, AzureFact::Announced { event, nodes, avoidable: false });
        released(run, 34.0)
    };
    let in_minutes = |minutes: f64| rfc1123(at(34.0 + minutes * 60.0));
    let reboot = |not_before| Event { not_before, ..announced("Reboot", "EVENT-2") };
    assert_eq!(with(reboot(in_minutes(11.0))).verdict().broken(), []);
    with(reboot(in_minutes(9.0))).breaks(Check::ReleasedEarly);
    with(reboot("soon".into())).breaks(Check::ReleasedEarly);
    with(reboot(in_minutes(11.0)).started()).breaks(Check::ReleasedEarly);
    let freeze = |duration_in_seconds| Event { duration_in_seconds, ..announced("Freeze", "EVENT-2") };
    assert_eq!(with(freeze(9)).verdict().broken(), []);
    with(freeze(30)).breaks(Check::ReleasedEarly);
}

#[test]
fn only_the_leader_writes() {
    let mut stranger = released(honest(), 34.0);
    stranger.evict(15.5, OTHER, "cart-2", 201);
    stranger.breaks(Check::NotTheLeader);

    let mut refused = released(honest(), 34.0);
    refused.request(15.5, Request { code: 409, ..eviction(15.5, OTHER, "cart-2", 409) });
    assert_eq!(refused.verdict().broken(), [], "a stale write is refused by the server, as it should be");
}

#[test]
fn a_former_leader_writes_only_what_was_on_its_way() {
    let after_change = |received: f64, answered: f64, stalls: bool| {
        let mut run = released(honest(), 34.0);
        run.lease(40.0, OTHER);
        let write = asked(answered, Some(LEADER), "create", "events", "an-event");
        run.request(answered, Request { received: at(received), ..write });
        let promises = Promises { api_server_stalls: stalls, ..promises() };
        judge(&run.history, &promises)
    };
    let in_flight = after_change(39.9, 41.0, false);
    assert_eq!((in_flight.broken(), in_flight.facts.in_flight_at_change), (vec![], 1));
    assert_eq!(after_change(40.5, 41.0, false).broken(), [Check::NotTheLeader]);
    assert_eq!(after_change(40.5, 41.0, true).broken(), []);
}

#[test]
fn each_time_that_a_leader_falls_ten_of_its_evictions_may_come_late() {
    let wrote_after_all = |late: [usize; 2]| {
        let mut run = released(honest(), 34.0);
        run.lease(40.0, OTHER);
        for number in 0..late[0] {
            run.evict(41.0, LEADER, &format!("late-{number}"), 201);
        }
        run.lease(50.0, LEADER);
        run.lease(60.0, OTHER);
        for number in 0..late[1] {
            run.evict(61.0, LEADER, &format!("later-{number}"), 201);
        }
        let promises = Promises { api_server_stalls: true, ..promises() };
        judge(&run.history, &promises).broken().contains(&Check::NotTheLeader)
    };
    assert!(!wrote_after_all([10, 10]));
    assert!(wrote_after_all([11, 0]));
    assert!(wrote_after_all([0, 11]));
}

#[test]
fn a_late_write_on_a_node_is_told_by_its_version() {
    let mut run = released(honest(), 34.0);
    // The log shows both within the same milliseconds; the versions say which came first.
    run.write(40.0, Some(LEADER), "n2", false, None);
    run.lease(40.0, OTHER);
    assert_eq!(run.verdict().broken(), []);
    assert_eq!(run.verdict().facts.in_flight_at_change, 0);
}

#[test]
fn a_leader_whose_lease_has_run_out_is_none() {
    released(honest(), 50.0).breaks(Check::NotTheLeader);
}

#[test]
fn an_eviction_is_bound_to_a_uid_and_gives_grace() {
    let with_body = |body: Value| {
        let mut run = released(honest(), 34.0);
        run.request(15.5, Request { body: Some(body), ..eviction(15.5, LEADER, "cart-2", 201) });
        run
    };
    with_body(json!({})).breaks(Check::NoUidPrecondition);
    let no_grace =
        json!({ "deleteOptions": { "gracePeriodSeconds": 0, "preconditions": { "uid": uid("cart-2") } } });
    with_body(no_grace).breaks(Check::NoGrace);
}

#[test]
fn pods_are_evicted_only_from_a_claimed_node() {
    let mut run = released(honest(), 34.0);
    run.evict(17.0, LEADER, "other-1", 201);
    run.breaks(Check::NodeNotClaimed);
}

#[test]
fn a_pod_still_there_when_the_event_begins_is_left_behind() {
    let left = |pod: PodSeen| {
        let mut run = released(honest(), 34.0);
        run.add(0.3, Fact::Pod(pod));
        run
    };
    left(pod("cart-3", "n1")).breaks(Check::PodsLeftBehind);
    assert_eq!(left(PodSeen { stays: true, ..pod("of-a-daemon-set", "n1") }).verdict().broken(), []);
    assert_eq!(left(PodSeen { finished: true, ..pod("done", "n1") }).verdict().broken(), []);
    let leader = PodSeen { namespace: "mechanic".into(), ..pod(LEADER, "n1") };
    assert_eq!(left(leader).verdict().broken(), [], "the leader never evicts itself");
    let follower = PodSeen { namespace: "mechanic".into(), ..pod(OTHER, "n1") };
    left(follower).breaks(Check::PodsLeftBehind);
}

#[test]
fn a_node_is_not_left_held() {
    honest().breaks(Check::LeftCordoned);
    let mut label_only = honest();
    label_only.write(34.0, Some(LEADER), "n1", true, None);
    label_only.breaks(Check::LeftCordoned);
    let expected = Promises { may_stay_held: ["n1".to_owned()].into(), ..Promises::default() };
    assert_eq!(judge(&honest().history, &expected).broken(), []);
}

#[test]
fn a_budget_is_broken_by_mechanic_or_by_others() {
    let mut by_mechanic = released(honest(), 34.0);
    by_mechanic.add(16.1, healthy(1));
    by_mechanic.breaks(Check::BudgetBroken);

    let mut by_the_vm = released(honest(), 34.0);
    by_the_vm.add(20.1, healthy(1));
    assert_eq!(by_the_vm.verdict().broken(), []);

    // Somebody wants more to be healthy than are, after mechanic was allowed to take one.
    let stricter = |count, wanted| match healthy(count) {
        Fact::Budget(seen) => Fact::Budget(BudgetSeen { desired: wanted, ..seen }),
        other => other,
    };
    let mut by_a_person = released(honest(), 34.0);
    by_a_person.add(16.1, stricter(2, 3));
    assert_eq!(by_a_person.verdict().broken(), []);
    let mut by_both = released(honest(), 34.0);
    by_both.add(16.1, stricter(1, 3));
    by_both.breaks(Check::BudgetBroken);

    let mut by_others = released(honest(), 34.0);
    by_others.add(16.0, Fact::Pod(PodSeen { terminating: true, ..pod("other-1", "n2") }));
    by_others.add(16.1, healthy(1));
    assert_eq!(by_others.verdict().broken(), []);
}

#[test]
fn a_probe_has_no_business_with_the_api_server() {
    let mut run = released(honest(), 34.0);
    let user = "system:serviceaccount:mechanic:mechanic-probe".into();
    run.request(15.0, Request { user, ..asked(15.0, Some("mechanic-probe-x"), "get", "nodes", "n1") });
    run.breaks(Check::ProbeTouchedApi);
}

#[test]
fn a_referee_that_could_not_see_says_so() {
    let mut run = released(honest(), 34.0);
    run.history.blind_spots.push("the audit log can't be read".into());
    run.breaks(Check::Blind);
    let mut unknown = released(honest(), 34.0);
    unknown.evict(15.0, LEADER, "never-seen", 201);
    unknown.breaks(Check::Blind);
}
