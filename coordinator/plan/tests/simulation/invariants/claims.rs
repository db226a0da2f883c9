//! What is written on Nodes.

use mechanic_plan::{Claim, ClaimOnNode, CordonOwner, MAX_CLAIM_BYTES, NodeWrite, Plan};

use super::sent;
use crate::world::World;

pub(super) fn nothing_foreign_is_touched(world: &World, plan: &Plan) {
    for (number, name, write) in sent(world, plan) {
        let machine = &world.machines[number];
        let node = world.node(number);
        if machine.foreign {
            world.broken(name, "it is written on, though somebody else holds it");
        }
        if !node.covered {
            world.broken(name, "it is written on, though no probe can run there");
        }
        match (&node.claim, write) {
            (ClaimOnNode::Readable(claim), _)
                if claim.node_uid != node.uid || claim.epoch > world.fleet.epoch =>
            {
                world.broken(name, "the claim there is not this leader's to change");
            }
            (claim, NodeWrite::Release { .. }) if !matches!(claim, ClaimOnNode::Readable(_)) => {
                world.broken(name, "it is released without a claim");
            }
            (_, NodeWrite::Release { uncordon: true })
                if machine.cordoned_by != Some(CordonOwner::Mechanic) =>
            {
                world.broken(name, "somebody else's cordon is taken off");
            }
            (_, NodeWrite::Release { uncordon: false })
                if machine.cordoned_by == Some(CordonOwner::Mechanic) =>
            {
                world.broken(name, "mechanic's own cordon is left behind");
            }
            (_, NodeWrite::Hold { cordon: true, claim })
                if claim.events.keys().all(|id| machine.vetoed.contains(id)) =>
            {
                world.broken(name, "it is cordoned again after a veto, and no other event has come");
            }
            _ => {}
        }
    }
}

pub(super) fn claims_survive_their_encoding(world: &World, plan: &Plan) {
    for (_, name, write) in sent(world, plan) {
        let NodeWrite::Hold { claim, .. } = write else { continue };
        match claim.to_annotation() {
            Err(error) => world.broken(name, &format!("its claim can't be written: {error}")),
            Ok(annotation) if annotation.len() > MAX_CLAIM_BYTES => {
                world.broken(name, "its claim is too large");
            }
            Ok(annotation) => {
                if Claim::parse(&annotation).as_ref() != Ok(claim) {
                    world.broken(name, "its claim doesn't survive its encoding");
                }
            }
        }
    }
}
