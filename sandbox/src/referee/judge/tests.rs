//! One honest run in plain data, and for each promise the same run with that promise broken.

mod drains;
mod last_calls;
mod limits;
mod run;

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

use run::*;

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
        let applied = NodeSeen {
            unschedulable: true,
            cordon_applied: true,
            labelled: true,
            claim: Some(json!({ "events": { EVENT: {} } }).to_string()),
            ready: true,
            ..NodeSeen::default()
        };
        run.see(31.0, "n1", applied);
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
    let seen = NodeSeen {
        unschedulable: true,
        labelled: true,
        claim: Some("{}".into()),
        ready: false,
        ..NodeSeen::default()
    };
    not_ready.see(31.0, "n1", seen);
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
        let write = asked(answered, Some(LEADER), "patch", "nodes", "n2");
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
fn an_event_that_comes_late_explains_and_changes_nothing_but_a_former_leader_goes_on_with_none() {
    let told_late = |count: usize, followed: bool| {
        let mut run = released(honest(), 34.0);
        if followed {
            run.lease(40.0, OTHER);
        }
        for number in 0..count {
            let write = asked(50.0, Some(LEADER), "create", "events", &format!("event-{number}"));
            run.request(50.0, write);
        }
        run.verdict().broken()
    };
    for followed in [true, false] {
        assert_eq!(told_late(10, followed), [], "followed: {followed}");
        assert_eq!(told_late(11, followed), [Check::NotTheLeader], "followed: {followed}");
    }
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
            // Events explain them, and take none of the places.
            run.request(61.0, asked(61.0, Some(LEADER), "create", "events", &format!("event-{number}")));
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

    // mechanic takes that one too, but later.
    let by_the_node_controller = |unready: f64| {
        let mut run = released(honest(), 34.0);
        run.pod(0.1, "cart-3", "n2");
        run.add(unready, Fact::Pod(PodSeen { ready: false, ..pod("cart-3", "n2") }));
        run.add(16.1, healthy(1));
        run.pod(17.0, "cart-3", "n2");
        run.evict(18.0, LEADER, "cart-3", 201);
        run.add(18.0, Fact::Pod(PodSeen { terminating: true, ..pod("cart-3", "n2") }));
        run.gone(19.0, "cart-3");
        run.verdict().broken().contains(&Check::BudgetBroken)
    };
    assert!(!by_the_node_controller(16.0));
    assert!(by_the_node_controller(16.5), "it was too late to be the cause");
}

#[test]
fn a_probe_has_no_business_with_the_api_server() {
    let mut run = released(honest(), 34.0);
    let user = "system:serviceaccount:mechanic:mechanic-probe".into();
    run.request(15.0, Request { user, ..asked(15.0, Some("mechanic-probe-x"), "get", "nodes", "n1") });
    run.breaks(Check::ProbeTouchedApi);
}

#[test]
fn a_coordinator_asks_for_nothing_that_it_has_no_right_to() {
    let refused = |by, forbidden| {
        let mut run = released(honest(), 34.0);
        let request = asked(15.0, by, "delete", "services", "web");
        run.request(15.0, Request { code: 403, forbidden, ..request });
        run
    };
    refused(Some(LEADER), true).breaks(Check::WithoutRight);
    assert_eq!(refused(Some(LEADER), false).verdict().broken(), [], "admission has refused it");
    assert_eq!(refused(None, true).verdict().broken(), [], "it was somebody else");
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
