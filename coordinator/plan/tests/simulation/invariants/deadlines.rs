//! Whatever could be moved in time, within limits and budgets, was.

use std::collections::BTreeMap;

use mechanic_plan::{Plan, PodReport, ReasonCode, Verdict};

use super::{is_worth_moving_for, needed_at_most};
use crate::world::{PodState, World};

/// From a notice to the first eviction: claim, list, slot, and a write each.
const BEGINNING: u64 = 20;

/// When each node last had an excuse, and when each pod's budget last held it.
#[derive(Default)]
pub(crate) struct Deadlines {
    excused: BTreeMap<usize, (ReasonCode, u64)>,
    held_by_budget: BTreeMap<String, u64>,
    /// In a run with faults nothing is said of time.
    pub(crate) off: bool,
    judged: std::collections::BTreeSet<String>,
}

impl Deadlines {
    pub(super) fn watch(&mut self, world: &World, plan: &Plan) {
        if self.off {
            return;
        }
        for (number, machine) in world.machines.iter().enumerate() {
            if !machine.exists {
                self.excused.insert(number, (ReasonCode::WaitingForProbe, world.time));
            }
        }
        for (name, decision) in plan {
            let code = decision.reason.code();
            let excuse = matches!(
                code,
                ReasonCode::WaitingForSlot
                    | ReasonCode::TooManyUnavailable
                    | ReasonCode::CordonDeferred
                    | ReasonCode::NowhereToGo
                    | ReasonCode::Paused
                    | ReasonCode::OptedOut
                    | ReasonCode::Vetoed
                    | ReasonCode::ReportTooOld
                    | ReasonCode::WaitingForProbe
                    | ReasonCode::LabelWithoutClaim
                    | ReasonCode::ClaimUnreadable
                    | ReasonCode::MachineNotUnique
                    | ReasonCode::StoppingDrain
                    | ReasonCode::SeenByNeighbour
            );
            let number = world.numbers[name];
            if excuse || !world.node(number).is_ready() {
                self.excused.insert(number, (code, world.time));
            }
            let pods = world.node(number).drain.iter().flat_map(|drain| &drain.pods);
            let held =
                |pod: &&PodReport| matches!(pod.verdict, Verdict::BlockedByBudget | Verdict::BlockedForGood);
            for pod in pods.filter(held) {
                self.held_by_budget.insert(pod.name.clone(), world.time);
            }
        }
    }

    /// Judges each event in the second in which it begins, before its machines feel it.
    pub(super) fn drains_that_could_be_done_in_time_are(&mut self, world: &World) {
        if self.off {
            return;
        }
        for (id, began) in &world.azure.started {
            if *began != world.time || !self.judged.insert(id.clone()) {
                continue;
            }
            let event = &world.azure.events[id];
            let mut scheduled = event.event.clone();
            scheduled.status = "Scheduled".into();
            if !is_worth_moving_for(&scheduled) {
                continue;
            }
            for number in &event.machines {
                let needed = needed_at_most(world, *number) + BEGINNING;
                let notice = world.time - event.announced;
                let excused = self.excused.get(number).is_some_and(|(_, at)| at + needed >= world.time)
                    || world.machines[*number].vetoed.contains(id);
                if world.machines[*number].exists && notice >= needed && !excused {
                    self.nothing_is_left(world, *number, id, needed);
                }
            }
        }
    }

    fn nothing_is_left(&self, world: &World, number: usize, id: &str, needed: u64) {
        for pod in &world.machines[number].pods {
            let seen = world.pod_as_seen(*pod);
            let workload = &world.workloads[world.pods[pod.0].workload];
            let keeps_disks = world.azure.events[id].event.event_type().keeps_disks();
            let may_stay = workload.empty_dir || workload.asks_to_stay || !workload.is_managed;
            let stays = may_stay && keeps_disks;
            // One that came later couldn't be moved in time, and nobody had reason to keep it away before the lead time.
            let came_late = world.pods[pod.0].placed + needed > world.time;
            let held = self.held_by_budget.get(&seen.name);
            let held = held.is_some_and(|at| at + workload.grace + 10 >= world.time);
            let running = !matches!(world.pods[pod.0].state, PodState::Down | PodState::Gone);
            if running && !stays && !held && !came_late {
                let last = self.excused.get(&number);
                world.broken(
                    &world.machines[number].node,
                    &format!(
                        "{} is still there as {id} begins, and nothing kept it (last excuse: {last:?}): {:?} of {workload:?}",
                        seen.name, world.pods[pod.0]
                    ),
                );
            }
        }
    }
}
