use std::sync::Arc;

use mechanic_plan::{Claim, ClaimOnNode, Document, Monotonic, Probe};

use super::*;
use crate::testing;

const EARLY: &str = "2026-11-26T12:00:00Z";
const DUE: &str = "Thu, 26 Nov 2026 12:10:00 GMT";
const LATE: &str = "2026-11-26T12:20:00Z";

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn event(event_type: &str, status: &str) -> ScheduledEvent {
    ScheduledEvent {
        event_id: "E".into(),
        event_type: event_type.into(),
        status: status.into(),
        not_before: DUE.into(),
        ..ScheduledEvent::default()
    }
}

fn claim(event: &ScheduledEvent, started_seen: &str, drained_at: &str) -> Claim {
    let mut claim = Claim::new("u", "vm", "boot", 1, false);
    claim.note(event, EARLY, started_seen, "boot");
    let claimed = claim.events.get_mut("E").unwrap();
    drained_at.clone_into(&mut claimed.drained_at);
    claim
}

/// A node whose probe shows these events on this boot.
fn node(claim: Option<Claim>, own_events: &[ScheduledEvent], boot_id: &str) -> Node {
    let document = Document { own_events: own_events.to_vec(), complete: true, ..Document::default() };
    Node {
        claim: claim.map_or(ClaimOnNode::None, ClaimOnNode::Readable),
        probe: Some(Probe {
            last_heard: Monotonic::default(),
            boot_id: boot_id.into(),
            vm: None,
            document: Some(Arc::new(document)),
            unchanged_since: Monotonic::default(),
            evidence: None,
            evidence_of_document: None,
            proved_last: Monotonic::default(),
            listed: Arc::default(),
        }),
        ..testing::node()
    }
}

/// How an event ends whose node is seen so, one after the other.
fn outcome(views: impl IntoIterator<Item = Node>) -> Outcome {
    let mut outcomes = Outcomes::default();
    let ended: Vec<_> = views
        .into_iter()
        .flat_map(|node| outcomes.look("n", &node, &EventPolicy::default(), at(LATE)))
        .collect();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!((&*ended[0].node, &*ended[0].event_id), ("n", "E"));
    ended[0].outcome
}

fn free(boot_id: &str) -> Node {
    node(None, &[], boot_id)
}

#[test]
fn a_drain_is_in_time_where_it_ended_before_the_event_began() {
    let (scheduled, started) = (event("Reboot", "Scheduled"), event("Reboot", "Started"));
    let held =
        |event, started_seen, drained_at| node(Some(claim(event, started_seen, drained_at)), &[], "boot");
    let (before, after) = ("2026-11-26T12:05:00Z", "2026-11-26T12:15:00Z");
    for (view, then, expected) in [
        (held(&started, after, before), free("boot"), Outcome::DrainedInTime),
        (held(&started, before, after), free("boot"), Outcome::DrainedLate),
        (held(&started, before, ""), free("boot"), Outcome::NotDrained),
        (held(&scheduled, "", before), free("boot"), Outcome::DrainedInTime),
        // Nobody saw it begin, and the machine has another boot since.
        (held(&scheduled, "", after), free("boot 2"), Outcome::DrainedLate),
        (held(&scheduled, "", ""), free("boot 2"), Outcome::NotDrained),
        (held(&scheduled, "", after), free("boot"), Outcome::DrainedInTime),
        (held(&scheduled, "", ""), free("boot"), Outcome::NeverStarted),
    ] {
        let shown = format!("{:?}", view.claim);
        assert_eq!(outcome([view, then]), expected, "{shown}");
    }
}

#[test]
fn what_nothing_is_done_about_ends_when_the_probe_shows_it_no_more() {
    let short = ScheduledEvent { duration: Some(std::time::Duration::ZERO), ..event("Freeze", "Scheduled") };
    for (event, expected) in [
        (short, Outcome::Tolerated),
        (event("Reboot", "Postponed"), Outcome::ShownOnly),
        (event("Reboot", "Scheduled"), Outcome::NeverStarted),
        (event("Reboot", "Started"), Outcome::NotDrained),
    ] {
        assert_eq!(outcome([node(None, std::slice::from_ref(&event), "boot"), free("boot")]), expected);
    }
}

#[test]
fn a_veto_and_a_cordon_without_a_drain_are_outcomes_of_their_own() {
    let mut vetoed = claim(&event("Reboot", "Started"), EARLY, "");
    vetoed.events.get_mut("E").unwrap().vetoed = true;
    assert_eq!(outcome([node(Some(vetoed), &[], "boot"), free("boot")]), Outcome::Vetoed);
    let unknown = event("Rehydrate", "Scheduled");
    let held = node(Some(claim(&unknown, "", "")), &[unknown], "boot");
    assert_eq!(outcome([held, free("boot")]), Outcome::CordonedOnly);
    let freeze = event("Freeze", "Started");
    let held = node(Some(claim(&freeze, EARLY, "")), &[freeze], "boot");
    assert_eq!(outcome([held, free("boot")]), Outcome::CordonedOnly);
}

#[test]
fn what_comes_to_a_drained_node_finds_it_drained() {
    let mut held = claim(&event("Freeze", "Started"), LATE, "");
    held.phase = ClaimPhase::Drained;
    assert_eq!(outcome([node(Some(held), &[], "boot"), free("boot")]), Outcome::DrainedInTime);
}

#[test]
fn it_is_told_once_and_not_while_anything_names_it() {
    let mut outcomes = Outcomes::default();
    let scheduled = event("Reboot", "Scheduled");
    let held = || node(Some(claim(&scheduled, "", "")), &[], "boot");
    let shown = || node(None, std::slice::from_ref(&scheduled), "boot");
    let mut unheard = free("boot");
    unheard.probe.as_mut().unwrap().document = None;
    for (number, (view, ended)) in [
        (shown(), 0),
        (unheard, 0),
        (held(), 0),
        (shown(), 0),
        (free("boot"), 1),
        (shown(), 0),
        (free("boot"), 0),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            outcomes.look("n", &view, &EventPolicy::default(), at(EARLY)).len(),
            ended,
            "view {number}"
        );
    }
}

#[test]
fn a_node_that_is_gone_ends_what_it_was_held_for() {
    for (event_type, now, expected) in [
        ("Terminate", EARLY, Outcome::NotDrained),
        ("Reboot", EARLY, Outcome::NeverStarted),
        ("Reboot", LATE, Outcome::NotDrained),
    ] {
        let view = node(Some(claim(&event(event_type, "Scheduled"), "", "")), &[], "boot");
        let mut outcomes = Outcomes::default();
        outcomes.look("n", &view, &EventPolicy::default(), at(EARLY));
        assert_eq!(outcomes.retain(|_| true, at(now)), []);
        assert_eq!(outcomes.retain(|_| false, at(now))[0].outcome, expected);
        assert_eq!(outcomes.retain(|_| false, at(now)), []);
        outcomes.look("n", &view, &EventPolicy::default(), at(EARLY));
        let another = Node { uid: "another".into(), ..free("boot") };
        assert_eq!(outcomes.look("n", &another, &EventPolicy::default(), at(now))[0].outcome, expected);
    }
}

#[test]
fn a_probe_that_makes_events_up_has_few_of_them_followed() {
    let made_up = |name: &dyn Fn(usize) -> String| {
        let event = |number| ScheduledEvent { event_id: name(number), ..event("Reboot", "Started") };
        node(None, &(0..1000).map(event).collect::<Vec<_>>(), "boot")
    };
    let mut outcomes = Outcomes::default();
    assert_eq!(
        outcomes.look("n", &made_up(&|number| number.to_string()), &EventPolicy::default(), at(LATE)),
        []
    );
    assert_eq!(outcomes.look("n", &free("boot"), &EventPolicy::default(), at(LATE)).len(), MOST);
    outcomes.look(
        "n",
        &made_up(&|number| "x".repeat(LONGEST_ID + 1 + number)),
        &EventPolicy::default(),
        at(LATE),
    );
    assert_eq!(outcomes.look("n", &free("boot"), &EventPolicy::default(), at(LATE)), []);
    for round in 0..10 {
        outcomes.look(
            "n",
            &made_up(&|number| format!("{round} {number}")),
            &EventPolicy::default(),
            at(LATE),
        );
    }
    assert!(outcomes.nodes["n"].ended.len() <= REMEMBERED);
}
