//! Each kind of event, and their oddities.

use mechanic_plan::{ClaimPhase, Phase, ReasonCode};

use super::{SOON, cluster, cluster_with, one_drain_at_once, run_with};
use crate::world::{Announcement, Change, Workload, rfc_1123};

const LIVE_MIGRATION: &str =
    "Virtual machine is being paused because of a memory-preserving Live Migration operation.";

#[test]
fn reboot_redeploy_terminate_and_long_freezes_are_drained_before_they_begin() {
    let freeze = |duration, text| Announcement::new("Freeze", &[0], SOON, 900).lasting(duration, text);
    for event in [
        Announcement::new("Reboot", &[0], SOON, 900),
        Announcement::new("Redeploy", &[0], SOON, 600),
        Announcement::new("Terminate", &[0], SOON, 300),
        freeze(Some(5), LIVE_MIGRATION),
        freeze(Some(30), "Host server is undergoing maintenance."),
        freeze(None, ""),
    ] {
        let not_before = event.not_before;
        let mut run = run_with(cluster(6), [event.clone()]);
        run.until(not_before - 1);
        assert_eq!((run.pods(0), run.reason(0)), (0, ReasonCode::Drained), "{event:?}");
        assert_eq!(run.world.stats.moved, 4, "only its own pods are moved: {event:?}");
    }
}

#[test]
fn j16_an_empty_node_is_drained() {
    let mut world = cluster(3);
    let machine = world.add_machine("b", 12);
    let mut run = run_with(world, [Announcement::new("Reboot", &[machine], SOON, 900)]);
    run.until(SOON + 60);
    assert_eq!((run.pods(machine), run.reason(machine)), (0, ReasonCode::Drained));
}

#[test]
fn a_short_freeze_is_tolerated_and_moves_nothing() {
    let event = Announcement::new("Freeze", &[0], SOON, 900)
        .lasting(Some(9), "Host server is undergoing maintenance.");
    let mut run = run_with(cluster(6), [event]);
    run.until(SOON + 5);
    assert_eq!(run.reason(0), ReasonCode::Tolerated);
    run.until(SOON + 3_000);
    assert_eq!((run.world.stats.moved, run.world.stats.released), (0, 0), "it isn't even cordoned");
}

#[test]
fn a_preempt_gets_its_pods_moved_within_its_half_minute() {
    let mut run = run_with(cluster(6), [Announcement::new("Preempt", &[0], SOON, 30)]);
    run.until(SOON + 4);
    assert_eq!(run.world.stats.moved, 4, "every pod is evicted within seconds");
}

#[test]
fn a_persons_own_event_that_begins_after_seconds_comes_with_too_short_a_notice() {
    let event = Announcement::new("Reboot", &[0], SOON, 900).approved_after(4);
    let mut run = run_with(cluster(6), [event]);
    run.until_seen("the warning", |_, plan| {
        plan.get("a-0000").is_some_and(|decision| {
            decision.warnings.iter().any(|warning| warning.to_string().contains("asked for by User"))
        })
    });
    assert!(run.warns(0, ReasonCode::NoticeTooShort));
}

#[test]
fn reboot_and_redeploy_that_have_started_at_first_sight_are_evicted_at_once() {
    for event_type in ["Reboot", "Redeploy"] {
        let mut event = Announcement::new(event_type, &[0], SOON, 900).started_at_first_sight();
        // The machine itself holds out, so that there is something to move.
        event.impact = crate::world::Impact::None;
        let mut run = run_with(cluster(6), [event]);
        run.until(SOON + 5);
        assert_eq!(run.world.stats.moved, 4, "{event_type}");
        assert!(run.is_cordoned(0) && run.warns(0, ReasonCode::NoticeTooShort), "{event_type}");
    }
}

#[test]
fn a_freeze_that_has_started_is_cordoned_and_not_drained() {
    let event = Announcement::new("Freeze", &[0], SOON, 900).lasting(None, "").started_at_first_sight();
    let mut run = run_with(cluster(6), [event]);
    run.until(SOON + 60);
    assert_eq!((run.reason(0), run.world.stats.moved), (ReasonCode::CordonedOnly, 0));
    assert!(run.is_cordoned(0));
}

#[test]
fn a_freeze_that_starts_in_mid_drain_stops_it_at_the_next_pod() {
    let mut world = cluster(6);
    let held = world.add_workload(Workload::new("a", 6).with_budget(crate::world::Budget::MaxUnavailable(0)));
    let event = Announcement::new("Freeze", &[0], SOON, 900).lasting(None, "");
    let mut run = run_with(world, [event]);
    run.until(SOON + 900);
    assert!(run.is_draining(0), "a budget holds its last pod");
    run.world.workloads[held].budget = None;
    let moved = run.world.stats.moved;
    run.go_on(100);
    assert_eq!((run.world.stats.moved, run.reason(0)), (moved, ReasonCode::CordonedOnly));
}

#[test]
fn an_unknown_type_is_cordoned_never_drained_and_given_back() {
    let mut run = run_with(cluster(6), [Announcement::new("Rehydrate", &[0], SOON, 900)]);
    run.until(SOON + 800);
    assert_eq!((run.reason(0), run.world.stats.moved), (ReasonCode::CordonedOnly, 0));
    run.until_released(0);
    assert!(!run.is_cordoned(0));
}

#[test]
fn an_unknown_status_is_only_shown() {
    let mut event = Announcement::new("Reboot", &[0], SOON, 900);
    event.event.status = "Postponed".into();
    let mut run = run_with(cluster(6), [event]);
    run.until(SOON + 100);
    assert_eq!(run.reason(0), ReasonCode::ShownOnly);
    assert!(!run.is_cordoned(0));
}

#[test]
fn a_time_that_nobody_can_read_is_acted_on_at_once() {
    for text in ["", "soon", "Sun, 31 Nov 2026 14:45:10 GMT"] {
        let mut event = Announcement::new("Reboot", &[0], SOON, 7_200);
        event.event.not_before = text.into();
        let mut run = run_with(cluster(6), [event]);
        run.until(SOON + 60);
        assert_eq!(run.pods(0), 0, "{text:?}");
    }
}

#[test]
fn degraded_hardware_days_ahead_is_shown_until_the_lead_time() {
    let days = 5 * 86_400;
    let mut run = run_with(cluster(6), [Announcement::new("Redeploy", &[0], SOON, days)]);
    run.until(SOON + 3_600);
    assert_eq!((run.reason(0), run.world.stats.moved), (ReasonCode::WaitingForLeadTime, 0));
    assert!(!run.is_cordoned(0));
}

#[test]
fn edge_36_an_event_is_acted_on_earlier_than_the_lead_time_where_its_pods_need_longer() {
    let mut world = cluster(4);
    let slow = Workload { grace: 3_000, stubborn: true, ..Workload::new("a", 1) };
    let slow = world.add_workload(slow);
    let number = world.pods[world.workloads[slow].pods[0].0].machine.unwrap();
    let mut run = run_with(world, [Announcement::new("Reboot", &[number], SOON, 4_000)]);
    run.until(SOON + 3_990);
    assert_eq!(run.pods(number), 0, "latest safe start is 3030 s before, not 30 minutes");
}

#[test]
fn a_deadline_that_moves_nearer_is_acted_on() {
    let mut world = cluster(6);
    let id = world.announce(Announcement::new("Redeploy", &[0], SOON, 7_200));
    world.at(SOON + 600, Change::NotBefore(id, rfc_1123(SOON + 900)));
    let mut run = run_with(world, []);
    run.until(SOON + 599);
    assert!(!run.is_cordoned(0));
    run.until(SOON + 700);
    assert_eq!(run.pods(0), 0);
}

#[test]
fn an_event_over_eight_machines_is_drained_two_by_two_in_time() {
    let machines = [0, 1, 2, 3, 4, 5, 6, 7];
    let mut run = run_with(cluster(20), [Announcement::new("Reboot", &machines, SOON, 900)]);
    run.until(SOON + 899);
    assert!(machines.iter().all(|machine| run.pods(*machine) == 0));
}

#[test]
fn overlapping_events_hold_a_node_until_the_last_is_over() {
    let short = Announcement::new("Freeze", &[0], SOON, 900).lasting(None, "");
    let long = Announcement::new("Reboot", &[0], SOON + 300, 900);
    let last = long.ends;
    let mut run = run_with(cluster(6), [short, long]);
    run.until(last);
    assert_eq!(run.world.stats.released, 0);
    run.until_released(0);
}

#[test]
fn u7_edge_22_a_second_event_on_a_drained_node_is_taken_into_the_claim_and_drained_for_what_it_costs() {
    let mut world = cluster(6);
    let with_data = Workload { empty_dir: true, ..Workload::new("a", 6) };
    world.add_workload(with_data);
    let freeze = Announcement::new("Freeze", &[0], SOON, 900).lasting(None, "");
    let redeploy = Announcement::new("Redeploy", &[0], SOON + 300, 600);
    let mut run = run_with(world, [freeze, redeploy]);
    run.until(SOON + 299);
    assert_eq!((run.reason(0), run.pods(0)), (ReasonCode::DrainedExcept, 1));
    run.until(SOON + 400);
    // The Redeploy would lose the emptyDir anyway.
    assert_eq!((run.claim(0).unwrap().events.len(), run.pods(0)), (2, 0));
    assert_eq!(run.claim(0).unwrap().phase, ClaimPhase::Drained);
}

#[test]
fn the_leader_stays_on_a_drained_node_while_it_leads_and_leaves_it_under_the_next() {
    let mut run = run_with(cluster(6), [Announcement::new("Reboot", &[0], SOON, 900)]);
    let leader = run.world.machines[0].pods[0].0.to_string();
    run.world.fleet.leader_pod_uid.clone_from(&leader);
    run.until(SOON + 200);
    assert_eq!((run.reason(0), run.pods(0)), (ReasonCode::DrainedExcept, 1));
    run.go_on(60);
    assert_eq!(run.claim(0).unwrap().leader_left, leader, "it was looked at again for nothing");
    run.world.fleet.leader_pod_uid = "of another".into();
    run.go_on(60);
    assert_eq!((run.reason(0), run.pods(0)), (ReasonCode::Drained, 0));
    assert_eq!(run.claim(0).unwrap().leader_left, "");
}

#[test]
fn a_costlier_event_in_whatever_second_of_a_drain_takes_what_stayed_for_the_first() {
    for second in 1..60 {
        let mut world = cluster(6);
        world.add_workload(Workload { empty_dir: true, ..Workload::new("a", 6) });
        let redeploy = Announcement::new("Redeploy", &[0], SOON + second, 900);
        let mut run = run_with(world, [Announcement::new("Reboot", &[0], SOON, 900), redeploy]);
        run.until(SOON + 300);
        assert_eq!(run.pods(0), 0, "a Redeploy {second} s after a Reboot");
    }
}

#[test]
fn a_node_is_not_given_back_for_less_than_ten_minutes() {
    for (notice, held) in [(1_500, true), (2_700, false)] {
        // With a lead time of five minutes the second is due some time after the first is over.
        let config = mechanic_plan::Config { lead_time: std::time::Duration::from_mins(5), ..super::early() };
        let first = Announcement::new("Reboot", &[0], SOON, 300);
        let second = Announcement::new("Reboot", &[0], SOON, notice);
        let mut run = run_with(cluster_with(6, config), [first, second]);
        run.until(SOON + 1_190);
        assert_eq!(run.is_cordoned(0), held, "the second begins {notice} s after the announcement");
        assert_eq!(run.reason(0), ReasonCode::WaitingForLeadTime);
        run.until(SOON + notice - 10);
        assert_eq!(run.pods(0), 0);
    }
}

#[test]
fn who_is_kept_for_the_next_event_after_a_drain_that_stopped_keeps_no_slot() {
    let config =
        mechanic_plan::Config { lead_time: std::time::Duration::from_mins(5), ..one_drain_at_once() };
    let mut world = cluster_with(6, config);
    world.add_workload(Workload::new("a", 6).with_budget(crate::world::Budget::MaxUnavailable(0)));
    let called_off = Announcement::new("Reboot", &[0], SOON, 300).cancelled(SOON + 60);
    let next = Announcement::new("Reboot", &[0], SOON, 900);
    let other = Announcement::new("Reboot", &[1], SOON + 120, 300);
    let mut run = run_with(world, [called_off, next, other]);
    run.until(SOON + 50);
    assert!(run.is_draining(0));
    run.until(SOON + 250);
    assert!(run.is_cordoned(0) && !run.is_draining(0) && run.is_draining(1));
    assert_eq!(run.reason(0), ReasonCode::WaitingForLeadTime);
}

#[test]
fn earlier_deadlines_are_drained_first() {
    let events = [(0, 1_500), (1, 700), (2, 1_100)]
        .map(|(machine, notice)| Announcement::new("Reboot", &[machine], SOON, notice));
    let mut run = run_with(cluster_with(6, one_drain_at_once()), events);
    let mut order = Vec::new();
    while run.world.time < SOON + 650 {
        run.go_on(1);
        for machine in 0..3 {
            if run.is_draining(machine) && !order.contains(&machine) {
                order.push(machine);
            }
        }
    }
    assert_eq!(order, [1, 2, 0]);
}

#[test]
fn a_claim_of_very_many_events_can_still_be_written() {
    let events = (0..80).map(|_| Announcement::new("Reboot", &[0], SOON, 900));
    let mut run = run_with(cluster(6), events);
    run.until(SOON + 600);
    assert_eq!(run.plan["a-0000"].phase, Phase::Drained);
}
