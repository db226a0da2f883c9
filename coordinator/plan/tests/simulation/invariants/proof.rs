//! Nothing is released on less proof than design §3.5 asks for; judged by what probes really have polled.

use mechanic_plan::{ClaimedEvent, EventType, NodeWrite, Plan};

use super::{claim_on, sent};
use crate::world::{World, silent_for};

/// A report may be so old.
const HEARD_WITHIN: u64 = 30;

pub(super) fn nothing_is_released_on_less_proof(world: &World, plan: &Plan) {
    for (number, name, write) in sent(world, plan) {
        let NodeWrite::Release { .. } = write else { continue };
        let Some(claim) = claim_on(world, number) else { continue };
        if !world.node(number).readiness.ready {
            world.broken(name, "it is released while it isn't Ready");
        }
        for (id, event) in &claim.events {
            if let Err(lacks) = proof(world, number, id, event) {
                world.broken(name, &format!("it is released on too little proof that {id} is over: {lacks}"));
            }
        }
    }
}

fn proof(world: &World, number: usize, id: &str, event: &ClaimedEvent) -> Result<(), String> {
    let Some(vanished) = world.azure.vanished.get(id) else { return Err("it is still listed".into()) };
    let machine = &world.machines[number];
    let node = world.node(number);
    let config = &world.fleet.config;
    let same_machine = claim_on(world, number).is_some_and(|claim| claim.vm_id == machine.vm_id);
    let same_boot = event.boot_id == format!("boot-{number}-{}", machine.boot);
    let mut hold = config.release_hold;
    if event.event_type() == EventType::Terminate && same_machine {
        hold = hold.max(config.release_hold_after_terminate);
        let ready_for = world.clock().monotonic.since(node.readiness.since);
        if ready_for < hold {
            return Err(format!("a Terminate, and the Node has been Ready for {} s", ready_for.as_secs()));
        }
    } else if !world.azure.started.contains_key(id) && same_machine && same_boot {
        hold = hold.max(config.release_hold_never_started);
    }
    let hold = hold.as_secs();
    let own = seen_gone(world, number, *vanished, hold);
    let silent =
        node.probe.as_ref().is_none_or(|probe| silent_for(probe, world.clock().monotonic) >= HEARD_WITHIN);
    if !silent || own.is_ok() {
        return own;
    }
    let listed = |other: &usize| {
        let probe = world.node(*other).probe.as_ref();
        probe.is_some_and(|probe| probe.listed.iter().any(|listed| listed.event_id == *id))
    };
    let mut others = (0..world.machines.len())
        .filter(|other| *other != number && world.machines[*other].exists)
        .filter(listed);
    if others.any(|other| seen_gone(world, other, *vanished, hold).is_ok()) {
        return Ok(());
    }
    Err("its own probe is silent, and no neighbour's that had listed the event has seen it gone for long enough"
        .to_owned())
}

/// Whether the machine's probe has polled for so long without the event.
fn seen_gone(world: &World, number: usize, vanished: u64, hold: u64) -> Result<(), String> {
    let probe = &world.machines[number].probe;
    // One that starts in a moment has polled nothing; what the one before it has, still counts.
    let (since, until) = match probe.valid_since.filter(|since| *since <= world.time) {
        Some(since) => (since, world.time),
        None => probe.last_row,
    };
    if world.time - until > HEARD_WITHIN {
        return Err(format!("no valid poll for {} s", world.time - until));
    }
    let (empty_from, empty_until) = probe.last_empty;
    // What vanished while the documents were empty anyway was gone before, to all who saw them.
    let gone = if (empty_from..=empty_until).contains(&vanished) { empty_from } else { vanished };
    let seen_for = until.saturating_sub(since.max(gone));
    if seen_for < hold.max(2) {
        return Err(format!("valid polls have shown it gone for {seen_for} s, {hold} s are needed"));
    }
    let after_boot = world.fleet.config.release_hold_after_boot.as_secs();
    let continuous = until.saturating_sub(probe.continuous_since);
    if probe.continuous_since <= world.time && continuous < after_boot {
        return Err(format!("the service began anew {continuous} s ago, {after_boot} s are needed"));
    }
    Ok(())
}
