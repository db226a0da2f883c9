//! When everything is over.

use mechanic_plan::{ClaimOnNode, CordonOwner};

use crate::world::World;

/// Whatever was mechanic's is off again, and whatever wasn't is as it was.
pub(crate) fn everything_is_given_back(world: &World) {
    for (number, machine) in world.machines.iter().enumerate().filter(|(_, machine)| machine.exists) {
        let node = world.node(number);
        if machine.foreign {
            continue;
        }
        if node.claim != ClaimOnNode::None {
            world.broken(&machine.node, &format!("it is still held: {:?}", node.claim));
        }
        if machine.cordoned_by == Some(CordonOwner::Mechanic) {
            world.broken(&machine.node, "mechanic's cordon is left behind");
        }
        if node.unschedulable != machine.cordoned_by.is_some() {
            world.broken(&machine.node, "it is schedulable where it wasn't, or the other way round");
        }
    }
}
