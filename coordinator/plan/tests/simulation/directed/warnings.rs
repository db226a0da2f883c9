//! What is said beforehand, and what is not said wrongly.

use mechanic_plan::{Amount, Config, ReasonCode};

use super::{SOON, cluster_with, one_drain_at_once, run_with};
use crate::world::{Announcement, Budget, Workload};

#[test]
fn a_deadline_at_risk_is_said_while_there_is_time() {
    let mut world = cluster_with(6, one_drain_at_once());
    world.add_workload(Workload::new("a", 6).with_budget(Budget::MaxUnavailable(0)));
    let blocks = Announcement::new("Reboot", &[0], SOON, 880);
    let mut run = run_with(world, [blocks, Announcement::new("Reboot", &[1], SOON, 900)]);
    run.until(SOON + 800);
    assert!(!run.warns(1, ReasonCode::DeadlineAtRisk));
    run.until(SOON + 850);
    assert!(run.warns(1, ReasonCode::DeadlineAtRisk), "50 s are left, a minute is needed");
    assert!(run.warns(0, ReasonCode::DeadlineAtRisk), "its own budget holds it");
}

#[test]
fn a_notice_that_was_long_enough_is_not_called_too_short_because_mechanic_waited() {
    // One node of the pool at a time: the second is claimed in the last seconds, when the first is back.
    let config = Config { max_cordoned: Amount::Number(1), ..super::early() };
    let first = Announcement::new("Reboot", &[0], SOON, 890).cancelled(SOON + 825);
    let mut run = run_with(cluster_with(6, config), [first, Announcement::new("Reboot", &[1], SOON, 900)]);
    run.until(SOON + 899);
    assert!(run.claim(1).is_some(), "it is claimed at last");
    assert!(!run.warns(1, ReasonCode::NoticeTooShort), "the notice was 15 minutes");
    run.until(SOON + 902);
    assert!(!run.warns(1, ReasonCode::NoticeTooShort), "the notice was 15 minutes");
}
