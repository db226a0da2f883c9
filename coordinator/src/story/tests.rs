use mechanic_plan::{Coverage, DrainOrder, DrainProgress, PodReport, ScheduledEvent, Verdict};

use super::*;
use crate::testing;

fn node(claim: ClaimOnNode, unschedulable: bool) -> Node {
    Node { claim, unschedulable, ..testing::node() }
}

fn held(phase: ClaimPhase, steps: u32) -> Arc<Node> {
    let mut claim = Claim::new("u", "vm", "boot", 1, false);
    let event = ScheduledEvent {
        event_id: "E".into(),
        event_type: "Reboot".into(),
        status: "Scheduled".into(),
        ..ScheduledEvent::default()
    };
    let seen = "2026-11-23T12:00:00Z";
    claim.note(&event, seen, seen, "boot");
    (claim.phase, claim.steps) = (phase, steps);
    Arc::new(node(ClaimOnNode::Readable(claim), true))
}

fn decision(phase: Phase, reason: Reason) -> Decision {
    let (coverage, drain) = (Coverage::Covered, DrainOrder::Stop);
    Decision { phase, reason, warnings: Vec::new(), coverage, write: None, drain }
}

fn tell(story: &mut Story, node: &Arc<Node>) -> Vec<Telling> {
    story.tell("n", node, &decision(Phase::Cordoned, Reason::StartingDrain))
}

fn codes(telling: &[Telling]) -> Vec<&'static str> {
    telling.iter().map(|telling| telling.code.as_str()).collect()
}

#[test]
fn each_step_that_is_seen_is_told_once() {
    let mut story = Story::default();
    let mut told = Vec::new();
    for (phase, steps) in [
        (ClaimPhase::Cordoned, 1),
        (ClaimPhase::Cordoned, 1),
        (ClaimPhase::Draining, 2),
        (ClaimPhase::Cordoned, 3),
        (ClaimPhase::Draining, 4),
        (ClaimPhase::Drained, 5),
    ] {
        told.extend(tell(&mut story, &held(phase, steps)));
    }
    assert_eq!(codes(&told), ["Cordoned", "DrainStarted", "DrainStopped", "DrainStarted", "DrainFinished"]);
    assert_eq!(told[0].note, "cordoned: Azure announces Reboot E (Scheduled)");
    let mut in_order = told.clone();
    in_order.sort_by(|one, other| one.place.cmp(&other.place));
    assert_eq!(in_order, told, "kubectl sorts what was told in the same second by name");
}

#[test]
fn a_next_leader_tells_the_last_step_under_the_same_key() {
    let (mut first, mut next) = (Story::default(), Story::default());
    let drained = held(ClaimPhase::Drained, 3);
    tell(&mut first, &held(ClaimPhase::Draining, 2));
    let (by_first, by_next) = (tell(&mut first, &drained), tell(&mut next, &drained));
    assert_eq!(by_first[0].key, by_next[0].key);
    assert_ne!(by_first[0].key, tell(&mut Story::default(), &held(ClaimPhase::Draining, 2))[0].key);
}

#[test]
fn a_next_leader_tells_a_reason_under_the_same_key_while_the_event_lasts() {
    let waits = |steps| {
        let decision = decision(Phase::Drained, Reason::WaitingForProof("it is Ready".into()));
        let told = Story::default().tell("n", &held(ClaimPhase::Drained, steps), &decision).pop().unwrap();
        (told.place, told.key)
    };
    assert_eq!(waits(3), waits(3));
    assert_ne!(waits(3), waits(5), "it was drained again");
    assert!(waits(3).1.is_some());
}

#[test]
fn the_pods_that_stay_are_named() {
    let mut story = Story::default();
    let mut draining = Arc::unwrap_or_clone(held(ClaimPhase::Draining, 2));
    let pod = |name: &str, verdict| PodReport {
        namespace: "shop".into(),
        name: name.into(),
        verdict,
        detail: String::new(),
        grace: std::time::Duration::ZERO,
        budget: None,
    };
    let pods = vec![pod("a", Verdict::EmptyDir), pod("b", Verdict::Terminating)];
    draining.drain = Some(DrainProgress { pods, ..DrainProgress::default() });
    tell(&mut story, &Arc::new(draining));
    let mut drained = Arc::unwrap_or_clone(held(ClaimPhase::Drained, 3));
    let ClaimOnNode::Readable(claim) = &mut drained.claim else { panic!("it is claimed") };
    claim.pods_left = 1;
    let note = &tell(&mut story, &Arc::new(drained))[0].note;
    assert!(note.contains("gone, 1 stays: shop/a: it stays") && !note.contains("shop/b"), "{note}");
}

#[test]
fn a_release_is_told_where_it_was_ours() {
    let free = Arc::new(node(ClaimOnNode::None, false));
    let mut story = Story::default();
    tell(&mut story, &held(ClaimPhase::Drained, 3));
    assert_eq!(tell(&mut story, &free), [], "somebody else took the claim off");
    tell(&mut story, &held(ClaimPhase::Drained, 3));
    story.release_begins("n");
    assert_eq!(codes(&tell(&mut story, &free)), ["Released"]);
    assert_eq!(tell(&mut story, &free), []);
}

#[test]
fn the_log_names_each_event_of_a_node_once() {
    let mut claim = Claim::new("u", "vm", "boot", 1, false);
    for event_id in ["F", "E"] {
        let event = ScheduledEvent { event_id: event_id.into(), ..ScheduledEvent::default() };
        claim.note(&event, "", "", "boot");
    }
    let for_both = node(ClaimOnNode::Readable(claim), true);
    assert_eq!(event_ids([&*held(ClaimPhase::Cordoned, 1), &for_both]), "E,F");
    assert_eq!(event_ids([&node(ClaimOnNode::None, false)]), "");
}

#[test]
fn a_reason_that_comes_and_goes_is_told_once_for_each_event() {
    let free = Arc::new(node(ClaimOnNode::None, false));
    let mut story = Story::default();
    let deferred =
        |cordoned| decision(Phase::Noticed, Reason::CordonDeferred { cordoned, limit: 3, of: String::new() });
    assert_eq!(codes(&story.tell("n", &free, &deferred(3))), ["CordonDeferred"]);
    assert_eq!(codes(&story.tell("n", &free, &decision(Phase::Noticed, Reason::Paused))), ["Paused"]);
    assert_eq!(story.tell("n", &free, &deferred(4)), []);
    assert_eq!(story.tell("n", &free, &decision(Phase::Idle, Reason::NothingAnnounced)), []);
    assert_eq!(codes(&story.tell("n", &free, &deferred(3))), ["CordonDeferred"]);
}

#[test]
fn what_is_told_beside_a_step_stands_behind_it_and_the_release_behind_all() {
    let waits = Reason::WaitingForProof("it is Ready".into());
    let mut story = Story::default();
    let told = story.tell("n", &held(ClaimPhase::Drained, 3), &decision(Phase::Drained, waits));
    story.release_begins("n");
    let released = tell(&mut story, &Arc::new(node(ClaimOnNode::None, false)));
    let told: Vec<Telling> = told.into_iter().chain(released).collect();
    assert_eq!(codes(&told), ["DrainFinished", "WaitingForProof", "Released"]);
    assert!(told.is_sorted_by(|one, other| one.place < other.place), "{told:?}");
}
