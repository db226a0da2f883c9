//! The table of design §3.5, row by row, and the rule above it.

use mechanic_plan::{ClaimOnNode, ReasonCode};

use super::{SOON, cluster, cluster_with, one_drain_at_once, run_with};
use crate::{
    run::Run,
    world::{Announcement, Budget, Change, ConditionSays, Impact, Workload, World},
};

/// Node 0 drained for a Reboot that never happens and vanishes at the returned time.
fn drained() -> (Run, u64) {
    let vanishes = SOON + 600;
    let mut run = run_with(cluster(6), [Announcement::new("Reboot", &[0], SOON, 900).cancelled(vanishes)]);
    run.until(SOON + 300);
    assert_eq!(run.reason(0), ReasonCode::Drained);
    (run, vanishes)
}

/// Two nodes that need the only slot; the first is held by a pod that takes its time.
fn two_for_one_slot() -> Run {
    let mut world = cluster_with(6, one_drain_at_once());
    world.add_workload(Workload::new("a", 6).with_budget(Budget::MaxUnavailable(0)));
    let events = [(0, 9_000), (1, 9_100)]
        .map(|(machine, notice)| Announcement::new("Reboot", &[machine], SOON, notice));
    let mut run = run_with(world, events);
    run.until(SOON + 7_400);
    assert!(run.is_draining(0));
    assert_eq!(run.reason(1), ReasonCode::WaitingForSlot);
    run
}

#[test]
fn the_rule_three_polls_over_the_hold_and_sixty_seconds_where_it_never_started() {
    let (mut run, vanishes) = drained();
    run.until(vanishes + 58);
    assert_eq!(run.reason(0), ReasonCode::WaitingForProof);
    run.until(vanishes + 75);
    assert_eq!(run.claim(0), None);
}

#[test]
fn the_rule_after_a_reboot_the_metadata_service_must_have_been_read_for_five_minutes() {
    let reboot = Announcement::new("Reboot", &[0], SOON, 900);
    let boots = reboot.not_before + 62;
    let mut run = run_with(cluster(6), [Announcement { ends: boots + 30, ..reboot }]);
    run.until(boots + 298);
    assert_eq!(run.reason(0), ReasonCode::WaitingForProof);
    run.until(boots + 330);
    assert_eq!(run.claim(0), None);
}

#[test]
fn the_rule_failing_polls_and_unreadable_entries_release_nothing_however_long_they_last() {
    for change in [Change::ProbeFails(0, true), Change::ProbeGarbled(0, true)] {
        let (mut run, vanishes) = drained();
        run.world.now(change);
        run.until(vanishes + 5_000);
        assert!(run.claim(0).is_some() && run.is_cordoned(0));
    }
}

#[test]
fn the_rule_a_new_leader_s_empty_memory_releases_nothing() {
    let (mut run, vanishes) = drained();
    run.world.now(Change::ProbeMute(0, true));
    run.world.now(Change::LeaderDies);
    run.world.now(Change::LeaderBegins);
    for machine in 1..6 {
        run.world.now(Change::ProbeMute(machine, true));
    }
    run.until(vanishes + 3_000);
    assert_eq!(run.reason(0), ReasonCode::WaitingForProof);
}

#[test]
fn row_1_node_deleted_or_another_uid_the_claim_ends_the_slot_is_free_and_nothing_is_made_anew_from_memory() {
    for change in [Change::NodeDeleted(0), Change::NodeRecreated(0)] {
        let mut run = two_for_one_slot();
        let recreated = matches!(change, Change::NodeRecreated(_));
        run.world.now(change);
        // Whatever comes, it isn't from memory: the probe of the new Node says nothing yet.
        run.world.now(Change::ProbeMute(0, true));
        run.go_on(30);
        assert!(run.is_draining(1), "the slot is free");
        if recreated {
            assert_eq!((run.claim(0), run.is_cordoned(0)), (None, false));
        }
    }
}

#[test]
fn row_2_same_node_another_vm_id_old_events_end_and_it_starts_fresh() {
    let redeploy =
        Announcement { impact: Impact::Replace(60), ..Announcement::new("Redeploy", &[0], SOON, 600) };
    let up = redeploy.not_before + 62;
    let mut world = cluster(6);
    let old = world.announce(Announcement { ends: up, ..redeploy });
    let new = world.announce(Announcement::new("Reboot", &[0], up + 40, 900));
    let mut run = run_with(world, []);
    run.until(up + 90);
    let claim = run.claim(0).unwrap();
    assert!(!claim.events.contains_key(&old) && claim.events.contains_key(&new));
    assert_eq!(claim.vm_id, run.world.machines[0].vm_id);
    assert!(!claim.was_unschedulable, "the cordon is still ours to take off");
    run.until_released(0);
    assert!(!run.is_cordoned(0));
}

#[test]
fn row_3_vm_shut_down_it_holds_no_slot_keeps_its_claim_and_waits_for_proof() {
    let mut run = two_for_one_slot();
    run.world.now(Change::ShutDown(0, true));
    run.go_on(30);
    assert!(run.is_draining(1), "the slot is free");
    assert!(run.claim(0).is_some() && run.is_cordoned(0));
    assert_eq!(run.reason(0), ReasonCode::WaitingForProof);
}

#[test]
fn row_3_not_ready_for_ten_minutes_it_holds_no_slot_keeps_its_claim_and_waits_for_proof() {
    let mut run = two_for_one_slot();
    run.world.now(Change::Down(0));
    run.world.now(Change::NotReady(0));
    run.go_on(590);
    assert!(!run.is_draining(1), "a reboot takes its time");
    run.go_on(30);
    assert!(run.is_draining(1), "the slot is free");
    assert!(run.claim(0).is_some());
    assert_eq!(run.reason(0), ReasonCode::WaitingForProof);
}

#[test]
fn row_4_probe_gone_for_good_a_neighbour_that_listed_the_event_proves_it_over() {
    let (mut run, vanishes) = drained();
    run.world.now(Change::ProbeGone(0));
    run.until(vanishes + 55);
    assert!(run.claim(0).is_some(), "the neighbours have not seen it gone for long enough");
    run.until(vanishes + 120);
    assert_eq!((run.claim(0), run.is_cordoned(0)), (None, false));
}

#[test]
fn row_4_what_a_silent_probe_showed_last_does_not_come_back_once_a_neighbour_has_proved_it_over() {
    let (mut run, vanishes) = drained();
    run.until(vanishes - 5);
    run.world.now(Change::ProbeGone(0));
    run.until(vanishes + 70);
    for _ in 0..240 {
        run.go_on(1);
        assert_eq!((run.claim(0), run.is_cordoned(0)), (None, false));
    }
}

#[test]
fn row_4_probe_gone_for_good_a_neighbour_proves_nothing_while_another_shows_the_event_still() {
    let (mut run, vanishes) = drained();
    run.world.now(Change::ProbeGone(0));
    run.world.now(Change::DocumentEmpty(1, true));
    run.until(vanishes - 10);
    assert!(run.claim(0).is_some() && run.is_cordoned(0), "the others show it");
}

#[test]
fn the_rule_a_document_that_is_empty_for_a_moment_releases_nothing() {
    let (mut run, vanishes) = drained();
    for at in [SOON + 310, SOON + 400] {
        run.until(at);
        run.world.now(Change::DocumentEmpty(0, true));
        run.until(at + 55);
        assert_eq!((run.reason(0), run.is_cordoned(0)), (ReasonCode::WaitingForProof, true));
        run.world.now(Change::DocumentEmpty(0, false));
    }
    run.until(vanishes - 1);
    assert_eq!(run.reason(0), ReasonCode::Drained);
}

#[test]
fn row_4_probe_gone_for_good_without_such_a_neighbour_there_is_an_alarm_and_a_way_out() {
    let mut world = World::new(7, super::early());
    for pool in ["a", "b", "b", "b"] {
        world.add_machine(pool, 12);
    }
    let event = Announcement::new("Reboot", &[0], SOON, 900).cancelled(SOON + 600);
    let mut run = run_with(world, [event]);
    run.until(SOON + 300);
    run.world.now(Change::ProbeGone(0));
    run.go_on(1_750);
    assert!(!run.warns(0, ReasonCode::ProofOverdue));
    run.go_on(100);
    assert!(run.warns(0, ReasonCode::ProofOverdue) && run.is_cordoned(0));
    run.world.now(Change::Uncordon(0));
    run.go_on(3_600);
    assert!(!run.is_cordoned(0), "it stays as the person has left it");
}

#[test]
fn a_probe_whose_polls_fail_for_good_is_an_alarm_as_one_that_is_gone() {
    let (mut run, _) = drained();
    run.world.now(Change::ProbeFails(0, true));
    run.go_on(1_850);
    assert!(run.warns(0, ReasonCode::ProofOverdue), "nobody can say that the event is over");
}

#[test]
fn row_5_finding_on_a_node_whose_probe_was_always_mute_is_shown_and_never_acted_on() {
    let mut world = cluster(6);
    world.now(Change::ProbeMute(0, true));
    world.now(Change::LeaderDies);
    world.now(Change::LeaderBegins);
    let mut run = run_with(world, [Announcement::new("Terminate", &[0], SOON + 100, 600)]);
    run.until(SOON + 300);
    assert_eq!((run.reason(0), run.world.stats.moved), (ReasonCode::SeenByNeighbour, 0));
    assert_eq!(run.world.node(0).claim, ClaimOnNode::None);
}

/// A Reboot of a node whose probe is mute, that is called off after ten minutes; and a rule that trusts its neighbours.
fn trusting() -> crate::run::Run {
    let policy = mechanic_plan::Policy::parse("events: [{neighboursWord: Cordon}]").unwrap();
    let mut world = super::cluster_with(6, mechanic_plan::Config { policy: policy.into(), ..super::early() });
    world.now(Change::ProbeMute(0, true));
    world.now(Change::LeaderDies);
    world.now(Change::LeaderBegins);
    let event = Announcement::new("Reboot", &[0], SOON + 100, 900).cancelled(SOON + 700);
    let mut run = run_with(world, [event]);
    run.until(SOON + 300);
    assert!(run.is_cordoned(0) && run.claim(0).is_some());
    assert_eq!(run.world.stats.moved, 0, "no pod is moved on another's word");
    run
}

#[test]
fn row_5_where_a_rule_allows_it_such_a_node_is_cordoned_until_no_neighbour_shows_the_event() {
    let mut run = trusting();
    run.until(SOON + 690);
    assert_eq!(
        (run.is_cordoned(0), run.reason(0), run.world.stats.moved),
        (true, ReasonCode::WaitingForProof, 0)
    );
    run.until(SOON + 900);
    assert_eq!((run.claim(0), run.is_cordoned(0), run.world.stats.moved), (None, false, 0));
}

#[test]
fn row_5_where_its_own_probe_comes_back_and_says_the_same_it_is_drained() {
    let mut run = trusting();
    run.world.now(Change::ProbeMute(0, false));
    run.go_on(120);
    assert_eq!((run.pods(0), run.reason(0)), (0, ReasonCode::Drained));
}

#[test]
fn row_5_no_limit_yields_to_a_neighbours_word() {
    let policy = mechanic_plan::Policy::parse("events: [{neighboursWord: Cordon}]").unwrap();
    let max_cordoned = mechanic_plan::Amount::Number(2);
    let config = mechanic_plan::Config { policy: policy.into(), max_cordoned, ..super::early() };
    let mut world = super::cluster_with(6, config);
    let mute = [0, 1, 2, 3];
    for machine in mute {
        world.now(Change::ProbeMute(machine, true));
    }
    world.now(Change::LeaderDies);
    world.now(Change::LeaderBegins);
    let mut run = run_with(world, [Announcement::new("Preempt", &mute, SOON + 100, 300)]);
    run.until(SOON + 200);
    assert_eq!(mute.iter().filter(|machine| run.is_cordoned(**machine)).count(), 2);
}

#[test]
fn row_6_terminate_vanishes_and_the_vm_lives_it_is_released_after_ten_minutes_alive_and_ready() {
    for event in [
        Announcement { impact: Impact::None, ..Announcement::new("Terminate", &[0], SOON, 300) },
        Announcement::new("Terminate", &[0], SOON, 300).cancelled(SOON + 200),
    ] {
        let ends = event.ends;
        let mut run = run_with(cluster(6), [event]);
        run.until(ends + 595);
        assert_eq!((run.reason(0), run.is_cordoned(0)), (ReasonCode::WaitingForProof, true));
        run.until(ends + 620);
        assert_eq!((run.claim(0), run.is_cordoned(0)), (None, false));
    }
}

#[test]
fn nothing_begins_on_a_document_that_a_failing_probe_has_read_long_ago() {
    let mut run = two_for_one_slot();
    run.world.now(Change::ProbeFails(1, true));
    run.go_on(400);
    // The slot is free now; what the second probe has read is over six minutes old.
    run.world.now(Change::ShutDown(0, true));
    run.go_on(60);
    assert!(!run.is_draining(1));
    assert_eq!(run.reason(1), ReasonCode::ReportTooOld);
}

#[test]
fn a_condition_that_contradicts_is_said_and_changes_nothing() {
    let mut world = cluster(6);
    world.now(Change::ConditionSays(0, ConditionSays::TheOpposite));
    world.now(Change::ConditionSays(1, ConditionSays::TheOpposite));
    let mut run = run_with(world, [Announcement::new("Reboot", &[0], SOON + 60, 900)]);
    run.until(SOON + 30);
    assert!(run.warns(1, ReasonCode::ProbeDisagrees) && run.claim(1).is_none());
    run.until(SOON + 200);
    assert_eq!(run.pods(0), 0, "the probe counts");
    assert!(run.warns(0, ReasonCode::ProbeDisagrees));
}
