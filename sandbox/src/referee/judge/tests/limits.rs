//! The limits and settings: each kept once and broken once.

use super::*;
use crate::referee::history::OPT_OUT_LABEL;

fn event(id: &str, event_type: &str) -> Event {
    announced(event_type, id)
}

/// The honest run, and a second drain in the midst of it, for this event.
fn with_second_drain(second: &Event, settings: &[(&str, &str)]) -> Run {
    let mut run = honest();
    run.configure(1.0, settings);
    run.announce_event(11.1, "n2", second);
    run.write(11.2, Some(LEADER), "n2", true, Some(&["EVENT-2"]));
    run.evict(13.0, LEADER, "other-1", 201);
    run.gone(13.2, "other-1");
    run.azure(20.0, AzureFact::Removed { event: "EVENT-2".into() });
    run.write(33.0, Some(LEADER), "n2", false, None);
    released(run, 34.0)
}

const SHORT: [(&str, &str); 4] = [
    ("release-hold", "3s"),
    ("release-hold-never-started", "5s"),
    ("release-hold-after-terminate", "5s"),
    ("release-hold-after-boot", "4s"),
];

fn short<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    SHORT.iter().chain(more).copied().collect()
}

#[test]
fn the_config_map_sets_the_limit_and_a_broken_value_changes_nothing() {
    let reboot = event("EVENT-2", "Reboot");
    let with = |more: &[(&str, &str)]| with_second_drain(&reboot, &short(more));
    with(&[]).breaks(Check::TooManyDrains);
    with(&[("max-concurrent-drains", "10%")]).breaks(Check::TooManyDrains);
    with(&[("max-concurrent-drains", "many")]).breaks(Check::TooManyDrains);
    assert_eq!(with(&[("max-concurrent-drains", "2")]).verdict().broken(), []);
    assert_eq!(with(&[("max-concurrent-drains", "100%")]).verdict().broken(), []);
}

#[test]
fn a_limit_that_was_lowered_counts_once_it_can_be_known() {
    let lowered = |seconds| {
        let mut run =
            with_second_drain(&event("EVENT-2", "Reboot"), &short(&[("max-concurrent-drains", "2")]));
        run.configure(seconds, &short(&[("max-concurrent-drains", "1")]));
        run
    };
    assert_eq!(lowered(12.9).verdict().broken(), [], "mechanic may not have seen it yet");
    lowered(7.0).breaks(Check::TooManyDrains);
    assert_eq!(lowered(20.0).verdict().broken(), [], "what runs, runs");
}

#[test]
fn only_a_vm_that_is_destroyed_makes_the_limit_yield() {
    let more = [("emergency-concurrent-drains", "2")];
    let with = |event_type| with_second_drain(&event("EVENT-2", event_type), &short(&more));
    assert_eq!(with("Preempt").verdict().broken(), []);
    assert_eq!(with("Terminate").verdict().broken(), []);
    with("Redeploy").breaks(Check::TooManyDrains);
    let one = [("emergency-concurrent-drains", "1")];
    with_second_drain(&event("EVENT-2", "Preempt"), &short(&one)).breaks(Check::TooManyDrains);
    // The first one's budgets said no for a while; it has begun all the same, before the limit yielded.
    let refused_at_first = |refused: f64| {
        let mut run = Run::new();
        run.configure(1.0, &short(&more));
        for (name, node) in [("cart-1", "n1"), ("other-1", "n2")] {
            run.pod(0.1, name, node);
        }
        run.announce_event(10.0, "n1", &reboot());
        run.announce_event(10.0, "n2", &event("EVENT-2", "Preempt"));
        run.write(10.5, Some(LEADER), "n1", true, Some(&[EVENT]));
        run.write(10.5, Some(LEADER), "n2", true, Some(&["EVENT-2"]));
        run.evict(refused, LEADER, "cart-1", 429);
        run.evict(12.0, LEADER, "other-1", 201);
        run.evict(14.0, LEADER, "cart-1", 201);
        run.gone(15.0, "cart-1");
        run.gone(16.0, "other-1");
        run.verdict().broken().contains(&Check::TooManyDrains)
    };
    assert!(!refused_at_first(11.0));
    assert!(!refused_at_first(12.5), "let begin by one decision");
    assert!(refused_at_first(13.5));
    // A second event, which alone would give the VM back, doesn't save it.
    let mut both = with("Preempt");
    both.announce_event(12.0, "n2", &event("EVENT-3", "Reboot"));
    both.azure(20.0, AzureFact::Removed { event: "EVENT-3".into() });
    assert_eq!(both.verdict().broken(), []);
}

#[test]
fn no_more_of_a_pool_is_cordoned_than_allowed() {
    let with = |event_type, max: &str| {
        let mut run = honest();
        run.configure(1.0, &short(&[("max-cordoned", max)]));
        run.announce_event(11.1, "n2", &event("EVENT-2", event_type));
        run.write(11.2, Some(LEADER), "n2", true, Some(&["EVENT-2"]));
        run.azure(20.0, AzureFact::Removed { event: "EVENT-2".into() });
        run.write(33.0, Some(LEADER), "n2", false, None);
        released(run, 34.0)
    };
    with("Reboot", "1").breaks(Check::TooManyCordoned);
    with("Reboot", "50%").breaks(Check::TooManyCordoned);
    assert_eq!(with("Reboot", "51%").verdict().broken(), [], "shares are rounded up");
    assert_eq!(with("Preempt", "1").verdict().broken(), []);
}

/// One plan lets one node have the last place, and another pass the limit; their writes land in any order.
#[test]
fn a_cordon_that_passes_the_limit_takes_no_place_from_what_was_decided_with_it() {
    let with = |cordoned: f64| {
        let mut run = Run::new();
        run.configure(1.0, &short(&[("max-cordoned", "1")]));
        run.announce_event(cordoned - 0.1, "n2", &event("EVENT-2", "Preempt"));
        run.write(cordoned, Some(LEADER), "n2", true, Some(&["EVENT-2"]));
        run.announce(10.0);
        run.write(10.5, Some(LEADER), "n1", true, Some(&[EVENT]));
        for renewed in [12.0, 24.0] {
            run.lease(renewed, LEADER);
        }
        for event in [EVENT, "EVENT-2"] {
            run.azure(20.0, AzureFact::Removed { event: event.into() });
        }
        run.write(33.0, Some(LEADER), "n2", false, None);
        released(run, 34.0)
    };
    assert_eq!(with(10.4).verdict().broken(), []);
    with(3.0).breaks(Check::TooManyCordoned);
}

#[test]
fn a_cordon_of_somebody_else_is_none_of_mechanics() {
    let mut run = honest();
    run.configure(1.0, &short(&[("max-cordoned", "1")]));
    run.write(5.0, None, "n2", true, None);
    assert_eq!(released(run, 34.0).verdict().broken(), []);
}

#[test]
fn pods_stay_where_an_event_does_them_no_harm() {
    let freeze = |seconds, description: &str| Event {
        duration_in_seconds: seconds,
        description: description.into(),
        ..event("EVENT-2", "Freeze")
    };
    let with = |event: &Event| with_second_drain(event, &short(&[("max-concurrent-drains", "2")]));
    let migration =
        "Virtual machine is being paused because of a memory-preserving Live Migration operation.";
    with(&freeze(10, "")).breaks(Check::MovedInVain);
    with(&freeze(0, "")).breaks(Check::MovedInVain);
    with(&freeze(30, migration).started()).breaks(Check::MovedInVain);
    with(&event("EVENT-2", "Hibernate")).breaks(Check::MovedInVain);
    for harmful in
        [freeze(11, ""), freeze(-1, ""), freeze(5, migration), event("EVENT-2", "Reboot").started()]
    {
        assert_eq!(with(&harmful).verdict().broken(), [], "{harmful:?}");
    }
}

#[test]
fn while_paused_nothing_new_begins() {
    let paused = |from: f64, until: f64| {
        let mut run = released(honest(), 34.0);
        run.configure(from, &short(&[("paused", "true")]));
        run.configure(until, &SHORT);
        run
    };
    // The claim comes at 10.5, evictions at 11 and 15, the release at 34.
    paused(4.0, 12.0).breaks(Check::PausedAndBegan);
    paused(8.0, 33.0).breaks(Check::PausedAndBegan);
    assert_eq!(paused(8.0, 14.0).verdict().broken(), [], "too short to be seen");
    assert_eq!(paused(16.0, 40.0).verdict().broken(), [], "what is to be given back is given back");
}

#[test]
fn a_dry_run_writes_nothing_but_who_leads() {
    let mut run = Run::new();
    run.configure(1.0, &[("dry-run", "true")]);
    run.lease(8.0, LEADER);
    let mut review = asked(9.0, Some(LEADER), "create", "tokenreviews", "");
    review.code = 201;
    run.request(9.0, review);
    run.request(9.0, asked(9.0, Some(LEADER), "patch", "configmaps", "mechanic-accepted"));
    assert_eq!(run.verdict().broken(), []);
    let wrote = |resource: &str, code| {
        let mut run = run.clone();
        run.request(9.5, Request { code, ..asked(9.5, Some(LEADER), "create", resource, "x") });
        run
    };
    wrote("events", 201).breaks(Check::DryRunAndWrote);
    wrote("configmaps", 409).breaks(Check::DryRunAndWrote);
    let mut over = run.clone();
    over.configure(9.4, &[]);
    over.request(9.6, asked(9.6, Some(LEADER), "create", "events", "x"));
    assert_eq!(over.verdict().broken(), [], "it is over");
}

#[test]
fn a_node_that_is_opted_out_is_left_alone() {
    let opted_out = |seconds: f64, value: &str| {
        let mut run = honest();
        let mut request = asked(seconds, None, "patch", "nodes", "n1");
        // Between the Node as it was first seen and the claim.
        request.answer = Some(json!({
            "kind": "Node", "apiVersion": "v1",
            "metadata": { "name": "n1", "uid": "n1", "resourceVersion": "103",
                          "labels": { OPT_OUT_LABEL: value } },
        }));
        run.request(seconds, request);
        released(run, 34.0)
    };
    opted_out(2.0, "true").breaks(Check::OptedOut);
    assert_eq!(opted_out(2.0, "false").verdict().broken(), []);
    assert_eq!(opted_out(9.0, "true").verdict().broken(), [], "mechanic may not have seen it yet");
}

#[test]
fn a_terminate_that_vanishes_while_the_vm_lives_is_doubted_for_longer() {
    let vanished = |hold: &str, goes: bool| {
        let mut run = Run::new();
        run.configure(1.0, &[("release-hold-after-terminate", hold)]);
        run.announce_event(10.0, "n1", &Event { event_id: EVENT.into(), ..event(EVENT, "Terminate") });
        run.write(10.5, Some(LEADER), "n1", true, Some(&[EVENT]));
        run.azure(12.0, AzureFact::Started { event: EVENT.into() });
        if goes {
            run.azure(13.0, AzureFact::PoweredOff { node: "n1".into() });
            run.azure(14.0, AzureFact::PoweredOn { node: "n1".into() });
        }
        run.azure(15.0, AzureFact::Removed { event: EVENT.into() });
        run.lease(24.0, LEADER);
        released(run, 25.0)
    };
    vanished("11s", false).breaks(Check::ReleasedEarly);
    assert_eq!(vanished("9s", false).verdict().broken(), []);
    assert_eq!(
        vanished("11s", true).verdict().broken(),
        [],
        "a VM that went and came back is another matter"
    );
}

#[test]
fn an_event_that_never_started_and_a_vm_that_just_booted_are_waited_for() {
    let mut cancelled = Run::new();
    cancelled.announce(10.0);
    cancelled.write(10.5, Some(LEADER), "n1", true, Some(&[EVENT]));
    cancelled.azure(12.0, AzureFact::Removed { event: EVENT.into() });
    cancelled.lease(14.0, LEADER);
    released(cancelled.clone(), 16.0).breaks(Check::ReleasedEarly);
    assert_eq!(released(cancelled, 17.5).verdict().broken(), []);

    let booted = |hold| {
        let mut run = released(honest(), 34.0);
        run.configure(1.0, &[("release-hold-after-boot", hold)]);
        run
    };
    booted("10s").breaks(Check::ReleasedEarly);
    assert_eq!(booted("9s").verdict().broken(), []);
}

#[test]
fn an_event_of_a_vm_that_was_replaced_is_over() {
    let mut run = Run::new();
    run.announce(10.0);
    run.write(10.5, Some(LEADER), "n1", true, Some(&[EVENT]));
    run.lease(12.0, LEADER);
    assert_eq!(released(run.clone(), 20.0).verdict().broken(), [Check::ReleasedEarly]);
    run.azure(11.0, AzureFact::Replaced { node: "n1".into() });
    assert_eq!(released(run, 20.0).verdict().broken(), []);
}

#[test]
fn no_drain_begins_while_too_many_nodes_are_out_of_use() {
    let run = |cordoned: f64, max: &str| {
        let mut run = Run::new();
        run.node(0.0, "n3", true);
        run.configure(1.0, &short(&[("max-unavailable-nodes", max)]));
        run.write(cordoned, None, "n2", true, None);
        run.announce(10.0);
        run.write(10.5, Some(LEADER), "n1", true, Some(&[EVENT]));
        let Some(Record { fact: Fact::Request(request), .. }) = run.history.records.last_mut() else {
            unreachable!("a write is a request")
        };
        let claim = json!({ "phase": "draining", "events": { EVENT: {} } }).to_string();
        request.answer.as_mut().unwrap()["metadata"]["annotations"]["mechanic/claim"] = claim.into();
        run.azure(12.0, AzureFact::Removed { event: EVENT.into() });
        run.lease(18.0, LEADER);
        released(run, 25.0)
    };
    run(4.0, "1").breaks(Check::TooManyUnavailable);
    run(4.0, "50%").breaks(Check::TooManyUnavailable);
    assert_eq!(run(4.0, "2").verdict().broken(), []);
    assert_eq!(run(8.0, "1").verdict().broken(), [], "mechanic may not have seen it yet");
    // The limit yields where the VM is destroyed, and for no pod's sake earlier than it must.
    let far = || rfc1123(at(900.0));
    let destroyed_by = |event_type: &str, not_before: String| {
        let mut run = run(4.0, "1");
        for record in &mut run.history.records {
            if let Fact::Azure(AzureFact::Announced { event, .. }) = &mut record.fact {
                event.event_type = event_type.into();
                event.not_before.clone_from(&not_before);
            }
        }
        run
    };
    assert_eq!(destroyed_by("Preempt", far()).verdict().broken(), []);
    assert_eq!(destroyed_by("Terminate", rfc1123(at(40.0))).verdict().broken(), []);
    assert_eq!(destroyed_by("Terminate", "soon".into()).verdict().broken(), []);
    destroyed_by("Terminate", far()).breaks(Check::TooManyUnavailable);
    let mut moved = destroyed_by("Terminate", far());
    moved.azure(10.2, AzureFact::Moved { event: EVENT.into(), not_before: rfc1123(at(40.0)) });
    assert_eq!(moved.verdict().broken(), []);
    let mut slow = destroyed_by("Terminate", far());
    slow.add(9.0, Fact::Pod(PodSeen { grace: Duration::from_mins(20), ..pod("slow", "n1") }));
    assert_eq!(slow.verdict().broken(), [], "a pod needs all that time");
}
