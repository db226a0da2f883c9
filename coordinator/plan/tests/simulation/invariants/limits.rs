//! The limits of design §3.3, counted from what is really so.

use std::collections::BTreeMap;

use mechanic_plan::{Amount, ClaimOnNode, ClaimPhase, CordonOwner, EventType, NodeBudget, NodeWrite, Plan};

use super::{claim_on, is_worth_cordoning_for, needed_at_most, seconds_left, sent};
use crate::world::{PodState, World, begins_drain};

/// Whether pods are being evicted there, or are on their way out after an eviction.
pub(super) fn is_draining(world: &World, number: usize) -> bool {
    let machine = &world.machines[number];
    if !machine.exists || world.node(number).shut_down || is_down_for_long(world, number) {
        return false;
    }
    let on_its_way = |pod: &crate::world::PodId| {
        let pod = &world.pods[pod.0];
        pod.evicted.is_some() && pod.state == PodState::Terminating
    };
    let evicting = world.shell.drain_of(number).is_some_and(|drain| drain.evicting_since().is_some());
    let about_to = world
        .shell
        .write_to_node(number, &world.node(number).uid)
        .is_some_and(|write| begins_drain(world.node(number), write));
    let began = claim_on(world, number).is_some_and(|claim| claim.phase == ClaimPhase::Draining)
        && world.shell.drain_of(number).is_some_and(|drain| drain.evicting_since().is_some());
    evicting || about_to || began || machine.pods.iter().any(on_its_way)
}

fn is_down_for_long(world: &World, number: usize) -> bool {
    let readiness = world.node(number).readiness;
    !readiness.ready && world.clock().monotonic.since(readiness.since).as_secs() >= 600
}

/// Whether limits may yield for the node: its machine is about to be destroyed.
fn is_emergency(world: &World, number: usize) -> bool {
    world.node(number).own_events().iter().any(|event| match event.event_type() {
        EventType::Preempt => true,
        EventType::Terminate => seconds_left(world, event) <= needed_at_most(world, number),
        _ => false,
    })
}

pub(super) fn drains(world: &World) -> usize {
    (0..world.machines.len()).filter(|number| is_draining(world, *number)).count()
}

/// The budget that random policies have: one for each pool.
fn pool_budget(world: &World) -> Option<&NodeBudget> {
    world.fleet.config.policy.budgets.iter().find(|budget| budget.name == "each-pool")
}

fn nodes_of(world: &World, pool: &str) -> usize {
    world.machines.iter().filter(|machine| machine.exists && machine.pool == pool).count()
}

fn drains_of(world: &World, pool: &str) -> usize {
    let of_pool = |number: &usize| world.machines[*number].pool == pool && is_draining(world, *number);
    (0..world.machines.len()).filter(of_pool).count()
}

fn drain_limit(world: &World, pool: &str) -> Option<usize> {
    let max = pool_budget(world)?.max_concurrent_drains?;
    Some(max.of(nodes_of(world, pool)))
}

/// Whether a node of `pool` could begin to be drained.
pub(super) fn has_slot(world: &World, pool: &str) -> bool {
    drains(world) < world.fleet.config.max_concurrent_drains.of(world.fleet.nodes.len())
        && drain_limit(world, pool).is_none_or(|limit| drains_of(world, pool) < limit)
}

/// The limits that a policy has for each pool.
pub(super) fn drains_of_a_pool_begin_within_their_limit(world: &World, plan: &Plan) {
    let mut begin = BTreeMap::<&str, (usize, bool, &str)>::new();
    for (number, name, write) in sent(world, plan) {
        if begins_drain(world.node(number), write) {
            let (count, emergency, _) = begin.entry(&world.machines[number].pool).or_insert((0, false, name));
            (*count, *emergency) = (*count + 1, *emergency || is_emergency(world, number));
        }
    }
    for (pool, (count, emergency, name)) in begin {
        let Some(limit) = drain_limit(world, pool) else { continue };
        let in_emergency = world.fleet.config.emergency_concurrent_drains.of(nodes_of(world, pool));
        let (running, limit) =
            (drains_of(world, pool), if emergency { limit.max(in_emergency) } else { limit });
        if running + count > limit {
            world.broken(
                name,
                &format!("{count} drains of {pool} begin beside {running}, the limit is {limit}"),
            );
        }
    }
}

pub(super) fn drains_begin_within_their_limits(world: &World, plan: &Plan) {
    let begin = sent(world, plan).filter(|(number, _, write)| begins_drain(world.node(*number), write));
    let (emergencies, usual): (Vec<_>, Vec<_>) = begin.partition(|(number, ..)| is_emergency(world, *number));
    let Some((_, name, _)) = emergencies.first().or(usual.first()) else { return };
    let running = drains(world);
    let nodes = world.fleet.nodes.len();
    let config = &world.fleet.config;
    let limit = config.max_concurrent_drains.of(nodes);
    let emergency_limit = limit.max(config.emergency_concurrent_drains.of(nodes));
    if !usual.is_empty() && running + usual.len() > limit {
        world.broken(name, &format!("{} drains begin beside {running}, the limit is {limit}", usual.len()));
    }
    let begin = emergencies.len() + usual.len();
    if running + begin > emergency_limit {
        world.broken(
            name,
            &format!("{begin} drains begin beside {running}, at most {emergency_limit} may run"),
        );
    }
}

/// Nodes of each pool that mechanic holds cordoned, or is about to.
pub(super) fn cordoned(world: &World) -> BTreeMap<&str, usize> {
    let mut cordoned = BTreeMap::<&str, usize>::new();
    for (number, machine) in world.machines.iter().enumerate().filter(|(_, machine)| machine.exists) {
        let about_to = matches!(
            world.shell.write_to_node(number, &world.node(number).uid),
            Some(NodeWrite::Hold { cordon: true, .. })
        );
        let ours = matches!(machine.cordoned_by, Some(CordonOwner::Mechanic | CordonOwner::Both)) || about_to;
        *cordoned.entry(&machine.pool).or_default() += usize::from(ours);
    }
    cordoned
}

pub(super) fn cordon_limit(world: &World, pool: &str) -> usize {
    let nodes = nodes_of(world, pool);
    let of = |max: Amount| max.of_rounded_up(nodes);
    let budget = pool_budget(world).and_then(|budget| budget.max_cordoned).map_or(usize::MAX, of);
    budget.min(of(world.fleet.config.max_cordoned))
}

pub(super) fn cordons_are_made_within_their_limit(world: &World, plan: &Plan) {
    let mut new = BTreeMap::<&str, (usize, &str)>::new();
    for (number, name, write) in sent(world, plan) {
        if matches!(write, NodeWrite::Hold { cordon: true, .. }) && !is_emergency(world, number) {
            let (count, first) = new.entry(&world.machines[number].pool).or_insert((0, name));
            (*count, *first) = (*count + 1, name);
        }
    }
    if new.is_empty() {
        return;
    }
    let before = cordoned(world);
    for (pool, (count, name)) in new {
        let (before, limit) = (before[pool], cordon_limit(world, pool));
        if before + count > limit {
            world.broken(
                name,
                &format!("{count} nodes of {pool} are cordoned beside {before}, the limit is {limit}"),
            );
        }
    }
}

/// Nodes out of use that the limit counts for any candidate.
pub(super) fn out_of_use(world: &World) -> usize {
    let counts = |node: &&std::sync::Arc<mechanic_plan::Node>| {
        let readiness = node.readiness;
        let not_ready_for =
            if readiness.ready { 0 } else { world.clock().monotonic.since(readiness.since).as_secs() };
        let held = matches!(&node.claim, ClaimOnNode::Readable(_));
        let finding = node.own_events().iter().any(is_worth_cordoning_for);
        let is_down = not_ready_for >= 60 || (!readiness.ready && readiness.was_before);
        (is_down || node.unschedulable || held) && !finding && !node.leaving && not_ready_for < 3_600
    };
    world.fleet.nodes.values().filter(counts).count()
}

pub(super) fn no_drain_begins_with_too_many_nodes_out_of_use(world: &World, plan: &Plan) {
    let mut begin = sent(world, plan).filter(|(number, _, write)| {
        begins_drain(world.node(*number), write) && !is_emergency(world, *number)
    });
    let Some((_, name, _)) = begin.next() else { return };
    let (out, nodes) = (out_of_use(world), world.fleet.nodes.len());
    let limit = world.fleet.config.max_unavailable_nodes.of(nodes);
    // The candidate is one of them.
    if out + 1 > limit {
        world.broken(name, &format!("a drain begins with {out} other nodes out of use, {limit} may be"));
    }
}
