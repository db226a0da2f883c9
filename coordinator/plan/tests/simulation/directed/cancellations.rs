//! Events that vanish before, in and after the drain.

use mechanic_plan::ReasonCode;

use super::{SOON, cluster, cluster_with, one_drain_at_once, run_with};
use crate::world::{Announcement, Budget, Workload};

/// The default hold of an event that never started.
const NEVER_STARTED: u64 = 60;

#[test]
fn cancelled_before_it_was_due_it_costs_nothing() {
    let event = Announcement::new("Redeploy", &[0], SOON, 86_400).cancelled(SOON + 600);
    let mut run = run_with(cluster(6), [event]);
    run.until(SOON + 900);
    assert_eq!((run.reason(0), run.world.stats.moved), (ReasonCode::NothingAnnounced, 0));
}

#[test]
fn cancelled_while_it_waits_for_a_slot_it_is_given_back_undrained() {
    let mut world = cluster_with(6, one_drain_at_once());
    world.add_workload(Workload::new("a", 6).with_budget(Budget::MaxUnavailable(0)));
    let first = Announcement::new("Reboot", &[0], SOON, 800);
    let second = Announcement::new("Reboot", &[1], SOON, 900).cancelled(SOON + 300);
    let mut run = run_with(world, [first, second]);
    run.until(SOON + 299);
    assert_eq!(run.reason(1), ReasonCode::WaitingForSlot);
    let pods = run.pods(1);
    run.until(SOON + 301);
    let took = run.until_released(1);
    assert!((NEVER_STARTED - 5..NEVER_STARTED + 10).contains(&took), "{took} s");
    assert!(run.pods(1) >= pods && !run.is_cordoned(1));
}

#[test]
fn w4_cancelled_in_the_drain_it_stops_at_the_next_pod_and_gives_back_slot_and_node() {
    let mut world = cluster_with(6, one_drain_at_once());
    world.add_workload(Workload::new("a", 6).with_budget(Budget::MaxUnavailable(0)));
    let first = Announcement::new("Reboot", &[0], SOON, 900).cancelled(SOON + 300);
    let second = Announcement::new("Reboot", &[1], SOON + 200, 900);
    let mut run = run_with(world, [first, second]);
    run.until(SOON + 299);
    assert!(run.is_draining(0), "a budget holds it");
    assert_eq!(run.reason(1), ReasonCode::WaitingForSlot);
    run.until(SOON + 310);
    assert!(run.is_draining(1), "the slot has gone to the next");
    run.until_released(0);
    assert!(!run.is_cordoned(0));
}

#[test]
fn cancelled_after_the_drain_it_is_given_back() {
    let event = Announcement::new("Reboot", &[0], SOON, 900).cancelled(SOON + 300);
    let mut run = run_with(cluster(6), [event]);
    run.until(SOON + 299);
    assert_eq!(run.reason(0), ReasonCode::Drained);
    run.until(SOON + 301);
    let took = run.until_released(0);
    assert!((NEVER_STARTED - 5..NEVER_STARTED + 10).contains(&took), "{took} s");
    assert!(!run.is_cordoned(0));
}
