//! A drain that can't go on keeps no slot busy.

use std::time::Duration;

use mechanic_plan::{Config, ReasonCode};

use super::{SOON, one_drain_at_once, run_with};
use crate::{
    run::Run,
    world::{Announcement, Budget, Workload, World},
};

/// A node whose pods a budget keeps.
const BLOCKED: usize = 0;
/// One of another pool, whose pods may go; announced a little later.
const FREE: usize = 3;

fn run(config: Config, budget: Budget, events: [Announcement; 2]) -> Run {
    let mut world = World::new(7, config);
    for pool in ["a", "b"] {
        for _ in 0..3 {
            world.add_machine(pool, 12);
        }
    }
    world.add_workload(Workload::new("a", 3).with_budget(budget));
    world.add_workload(Workload::new("b", 6));
    run_with(world, events)
}

fn reboots() -> [Announcement; 2] {
    [(BLOCKED, SOON, 1_800), (FREE, SOON + 1, 1_800)]
        .map(|(machine, announced, notice)| Announcement::new("Reboot", &[machine], announced, notice))
}

fn setting_aside_after(seconds: u64) -> Config {
    Config { set_aside_after: Duration::from_secs(seconds), ..one_drain_at_once() }
}

#[test]
fn edge_29_after_the_limit_another_node_gets_the_slot_and_the_reason_names_pod_and_remedy() {
    let mut run = run(setting_aside_after(120), Budget::MaxUnavailable(0), reboots());
    run.until(SOON + 100);
    assert!(run.is_draining(BLOCKED), "until the limit it holds the slot");
    assert_eq!((run.pods(BLOCKED), run.reason(FREE)), (1, ReasonCode::WaitingForSlot));
    run.until(SOON + 300);
    assert_eq!((run.reason(BLOCKED), run.is_cordoned(BLOCKED)), (ReasonCode::DrainBlocked, true));
    let sentence = run.plan[&run.world.machines[BLOCKED].node].reason.to_string();
    assert!(sentence.contains("default/workload-0-"), "{sentence}");
    assert!(sentence.contains("`maxUnavailable: 0`; 1 would let it go"), "{sentence}");
    assert_eq!(run.pods(FREE), 0);
}

#[test]
fn a_node_that_was_set_aside_goes_on_as_soon_as_its_budget_opens() {
    let mut run = run(setting_aside_after(60), Budget::MinAvailable(3), reboots());
    run.until(SOON + 500);
    assert_eq!((run.pods(BLOCKED), run.reason(BLOCKED)), (1, ReasonCode::DrainBlocked));
    run.world.workloads[0].budget = Some(Budget::MinAvailable(2));
    run.go_on(60);
    assert_eq!(run.pods(BLOCKED), 0);
}

#[test]
fn who_is_known_to_be_blocked_before_its_turn_takes_none() {
    let lead_time = Duration::from_mins(10);
    let config = Config { lead_time, ..setting_aside_after(60) };
    let mut run = run(config, Budget::MaxUnavailable(0), reboots());
    run.until(SOON + 1_500);
    assert_eq!((run.reason(BLOCKED), run.is_cordoned(BLOCKED)), (ReasonCode::DrainBlocked, true));
    assert_eq!(run.claim(BLOCKED).unwrap().steps, 1, "cordoned, and no drain was begun");
    assert_eq!(run.pods(FREE), 0);
}
