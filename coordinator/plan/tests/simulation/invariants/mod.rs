//! What must hold whatever happens. Each check judges by what is really so in the world, not by the plan's code.

mod claims;
mod deadlines;
mod end;
mod evictions;
mod limits;
mod proof;
mod reasons;

use mechanic_plan::{Claim, ClaimOnNode, EventStatus, EventType, NodeWrite, Plan, ScheduledEvent};

pub(crate) use end::everything_is_given_back;

use crate::world::{Deeds, World};

/// All of them, with what they remember from one second to the next.
#[derive(Default)]
pub(crate) struct Invariants {
    reasons: reasons::Reasons,
    deadlines: deadlines::Deadlines,
}

impl Invariants {
    /// Before anything is carried out.
    pub(crate) fn check_decisions(&mut self, world: &World, plan: &Plan) {
        limits::drains_begin_within_their_limits(world, plan);
        limits::drains_of_a_pool_begin_within_their_limit(world, plan);
        limits::cordons_are_made_within_their_limit(world, plan);
        limits::no_drain_begins_with_too_many_nodes_out_of_use(world, plan);
        evictions::nothing_begins_where_somebody_forbids_it(world, plan);
        evictions::nothing_begins_before_its_time(world, plan);
        claims::nothing_foreign_is_touched(world, plan);
        claims::claims_survive_their_encoding(world, plan);
        proof::nothing_is_released_on_less_proof(world, plan);
        reasons::every_event_and_claim_has_a_reason(world, plan);
        self.reasons.whoever_waits_waits_for_something(world, plan);
        self.deadlines.watch(world, plan);
    }

    /// After it was.
    pub(crate) fn check_deeds(world: &World, deeds: &Deeds) {
        for eviction in &deeds.evictions {
            evictions::evictions_have_a_cause(world, eviction);
            evictions::pods_that_may_stay_are_left_alone(world, eviction);
            evictions::budgets_are_overridden_at_the_last_moment_only(world, eviction);
        }
    }

    /// When an event has just begun.
    pub(crate) fn check_deadlines(&mut self, world: &World) {
        self.deadlines.drains_that_could_be_done_in_time_are(world);
    }
}

/// The writes that the plan sends now: none is on its way to those Nodes.
fn sent<'a>(world: &'a World, plan: &'a Plan) -> impl Iterator<Item = (usize, &'a str, &'a NodeWrite)> {
    plan.iter().filter_map(|(name, decision)| {
        let number = world.numbers[name];
        let write = decision.write.as_ref().filter(|_| world.shell.write_to(number).is_none())?;
        Some((number, name.as_str(), write))
    })
}

fn claim_on(world: &World, number: usize) -> Option<&Claim> {
    match &world.node(number).claim {
        ClaimOnNode::Readable(claim) => Some(claim),
        _ => None,
    }
}

/// Whether pods are moved for the event, by design §3.3 alone.
fn is_worth_moving_for(event: &ScheduledEvent) -> bool {
    let of_machine = event.resource_type.is_empty() || event.resource_type == "VirtualMachine";
    let short = event.duration.is_some_and(|duration| duration.as_secs() <= 10);
    let live_migration = event.description.to_lowercase().contains("live migration");
    of_machine
        && match (event.event_type.as_str(), event.status()) {
            ("Freeze", EventStatus::Scheduled) => live_migration || !short,
            (
                "Reboot" | "Redeploy" | "Terminate" | "Preempt",
                EventStatus::Scheduled | EventStatus::Started,
            ) => true,
            _ => false,
        }
}

/// Whether a node is cordoned for the event.
fn is_worth_cordoning_for(event: &ScheduledEvent) -> bool {
    let tolerated = event.event_type() == EventType::Freeze
        && !is_worth_moving_for(&ScheduledEvent { status: "Scheduled".into(), ..event.clone() });
    let of_machine = event.resource_type.is_empty() || event.resource_type == "VirtualMachine";
    of_machine && event.status() != EventStatus::Unknown && !tolerated
}

/// An upper bound of what the machine's pods need to leave, in seconds.
fn needed_at_most(world: &World, number: usize) -> u64 {
    let pods = world.machines[number].pods.iter().map(|id| &world.pods[id.0]);
    let workloads: Vec<_> = pods.map(|pod| &world.workloads[pod.workload]).collect();
    let longest = workloads.iter().map(|workload| workload.grace).max().unwrap_or(30).max(30);
    let behind_budgets = workloads.iter().filter(|workload| workload.budget.is_some()).count();
    longest + 30 + (longest + 30) * behind_budgets as u64
}

fn seconds_left(world: &World, event: &ScheduledEvent) -> u64 {
    if event.status() == EventStatus::Started {
        return 0;
    }
    let now = world.clock().wall;
    let left = event.not_before().map_or(0, |not_before| not_before.duration_since(now).as_secs());
    u64::try_from(left).unwrap_or(0)
}

impl Invariants {
    pub(crate) fn ignore_deadlines(&mut self) {
        self.deadlines.off = true;
    }
}
