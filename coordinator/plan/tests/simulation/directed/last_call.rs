//! What budgets hold to the end, where the machine is about to be destroyed.

use std::time::Duration;

use mechanic_plan::{Config, EventType, ReasonCode};

use super::{SOON, early, run_with};
use crate::{
    run::Run,
    world::{Announcement, Budget, Workload, World},
};

/// Grace of the pods of all workloads here, in seconds.
const GRACE: u64 = 30;
const NOTICE: u64 = 600;
/// From a decision to what comes of it: the claim is written first.
const ACTS_WITHIN: u64 = 4;

/// One machine with a pod that no eviction can move, and one with room for it.
fn run(event_type: &str, notice: u64, last_call: &[EventType]) -> Run {
    let config = Config {
        last_call: last_call.iter().copied().collect(),
        set_aside_after: Duration::from_mins(1),
        ..early()
    };
    let mut world = World::new(7, config);
    for _ in 0..2 {
        world.add_machine("a", 12);
    }
    world.add_workload(Workload::new("a", 2).with_budget(Budget::MaxUnavailable(0)));
    run_with(world, [Announcement::new(event_type, &[0], SOON, notice)])
}

impl Run {
    /// The machine's pod was deleted, and may take its time.
    fn is_called(&self, machine: usize) -> bool {
        let pods = &self.world.machines[machine].pods;
        pods.iter().all(|id| self.world.pods[id.0].evicted.is_some())
    }
}

#[test]
fn it_comes_when_the_grace_no_longer_fits_though_the_node_was_set_aside() {
    let mut run = run("Terminate", NOTICE, &[EventType::Terminate]);
    run.until(SOON + NOTICE - GRACE - 1);
    assert_eq!((run.is_called(0), run.reason(0)), (false, ReasonCode::DrainBlocked));
    run.until(SOON + NOTICE - GRACE + ACTS_WITHIN);
    assert!(run.is_called(0));
}

#[test]
fn it_comes_at_once_before_a_preempt() {
    let mut run = run("Preempt", GRACE, &[EventType::Preempt]);
    run.until(SOON + 2 * ACTS_WITHIN);
    assert!(run.is_called(0));
}

#[test]
fn nobody_is_called_where_that_is_not_allowed_or_the_machine_comes_back() {
    for (event_type, allowed) in [
        ("Terminate", &[] as &[EventType]),
        ("Terminate", &[EventType::Preempt]),
        ("Redeploy", &[EventType::Preempt, EventType::Terminate]),
    ] {
        let mut run = run(event_type, NOTICE, allowed);
        run.until(SOON + NOTICE - 1);
        assert!(!run.is_called(0), "{event_type} {allowed:?}");
    }
}
