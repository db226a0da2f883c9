//! No pod is moved, and nothing begins, without a cause that counts.

use mechanic_plan::{ClaimOnNode, ClaimPhase, EventPolicy, EventType, NodeWrite, Plan};

use super::{claim_on, is_worth_cordoning_for, is_worth_moving_for, needed_at_most, seconds_left, sent};
use crate::world::{Eviction, World, begins_drain};

pub(super) fn nothing_begins_where_somebody_forbids_it(world: &World, plan: &Plan) {
    for (number, name, write) in sent(world, plan) {
        let node = world.node(number);
        let cordons = matches!(write, NodeWrite::Hold { cordon: true, .. });
        let claims = node.claim == ClaimOnNode::None;
        if !(cordons || claims || begins_drain(node, write)) {
            continue;
        }
        if world.fleet.config.paused {
            world.broken(name, "something begins while mechanic is paused");
        }
        if node.opted_out {
            world.broken(name, "something begins on a node that is opted out");
        }
        if on_a_neighbours_word(world, write) {
            continue;
        }
        let proved = node.probe.as_ref().map(|probe| world.clock().monotonic.since(probe.proved_last));
        if proved.is_none_or(|age| age.as_secs() >= 300) {
            world.broken(name, "something begins on a report that is too old");
        }
    }
}

/// A cordon for what another machine's probe shows, where the policy allows that.
fn on_a_neighbours_word(world: &World, write: &NodeWrite) -> bool {
    let NodeWrite::Hold { claim, cordon: true } = write else { return false };
    let shown = |event_id: &String| {
        let documents = world.fleet.nodes.values().filter_map(|node| node.probe.as_ref()?.document.as_ref());
        documents.into_iter().any(|document| document.lists(event_id))
    };
    let allowed = world.fleet.config.policy.events != EventPolicy::default();
    allowed && claim.vm_id.is_empty() && claim.phase == ClaimPhase::Cordoned && claim.events.keys().all(shown)
}

pub(super) fn nothing_begins_before_its_time(world: &World, plan: &Plan) {
    for (number, name, write) in sent(world, plan) {
        let node = world.node(number);
        if node.claim != ClaimOnNode::None || on_a_neighbours_word(world, write) {
            continue;
        }
        let lead_time = world.fleet.config.lead_time.as_secs().max(needed_at_most(world, number));
        let due = |event: &mechanic_plan::ScheduledEvent| {
            is_worth_cordoning_for(event) && seconds_left(world, event) <= lead_time
        };
        if !node.own_events().iter().any(due) {
            world.broken(name, "it is claimed, and no event that counts is due");
        }
    }
}

pub(super) fn evictions_have_a_cause(world: &World, eviction: &Eviction) {
    let machine = &world.machines[eviction.machine];
    let node = world.node(eviction.machine);
    let broken = |what: &str| world.broken(&machine.node, &format!("a pod is evicted, and {what}"));
    if world.fleet.config.paused || node.opted_out {
        broken("mechanic is paused, or the node is opted out");
    }
    let Some(claim) = claim_on(world, eviction.machine) else { broken("the node isn't claimed") };
    if claim.phase == ClaimPhase::Cordoned || claim.epoch != world.fleet.epoch {
        broken("the claim doesn't say that this leader drains it");
    }
    let Some(probe) = &node.probe else { broken("its own probe has never said anything") };
    if probe.vm.as_ref().and_then(|vm| vm.reference.as_ref()) != node.vm.as_ref() {
        broken("the probe speaks of another machine");
    }
    let causes: Vec<_> = node
        .own_events()
        .iter()
        .filter(|event| is_worth_moving_for(event) && claim.events.contains_key(&event.event_id))
        .collect();
    if causes.is_empty() {
        broken("no event is announced that pods are moved for");
    }
    if causes.iter().all(|event| machine.vetoed.contains(&event.event_id)) {
        broken("somebody has vetoed every event");
    }
    // What failed polls leave known is as old as the last that was valid.
    let unheard = world.clock().monotonic.since(probe.proved_last).as_secs();
    let is_over =
        |id: &str| world.azure.vanished.get(id).is_some_and(|vanished| world.time - vanished > unheard + 1);
    if causes.iter().all(|event| is_over(&event.event_id)) {
        broken("its events had vanished when a poll was last valid");
    }
}

pub(super) fn pods_that_may_stay_are_left_alone(world: &World, eviction: &Eviction) {
    let node = world.node(eviction.machine);
    let worst = node.own_events().iter().filter(|event| is_worth_moving_for(event));
    let keeps_disks = worst
        .map(mechanic_plan::ScheduledEvent::event_type)
        .all(|event_type| matches!(event_type, EventType::Freeze | EventType::Reboot));
    let workload = &world.workloads[world.pods[eviction.pod.0].workload];
    if keeps_disks && (workload.empty_dir || workload.asks_to_stay || !workload.is_managed) {
        world.broken(
            &world.machines[eviction.machine].node,
            "a pod is evicted that outlives the event where it is, and would lose something",
        );
    }
}

pub(super) fn budgets_are_overridden_at_the_last_moment_only(world: &World, eviction: &Eviction) {
    let config = &world.fleet.config;
    let grace = world.workloads[world.pods[eviction.pod.0].workload].grace.max(1);
    let ends_it = |event: &mechanic_plan::ScheduledEvent| {
        event.event_type().destroys()
            && config.last_call.contains(&event.event_type())
            && seconds_left(world, event) <= grace
    };
    if eviction.last_call && !world.node(eviction.machine).own_events().iter().any(ends_it) {
        world.broken(
            &world.machines[eviction.machine].node,
            "a pod is deleted that its budget holds, and its machine isn't about to be destroyed",
        );
    }
}
