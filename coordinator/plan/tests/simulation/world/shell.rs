//! The coordinator's shell: carries out what the plan says, as far as the world lets it.

use std::collections::BTreeMap;

use mechanic_plan::{Claim, ClaimOnNode, ClaimPhase, CordonOwner, Node, NodeWrite, Plan};

use super::{World, drains::Drain};

/// A write on its way.
#[derive(Debug)]
struct Flight {
    lands_at: u64,
    /// The UID and version that it names.
    uid: String,
    version: String,
    write: NodeWrite,
    lost: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Shell {
    writes: BTreeMap<usize, Flight>,
    pub(super) drains: BTreeMap<usize, Drain>,
}

impl Shell {
    pub(super) fn forget(&mut self, number: usize) {
        self.drains.remove(&number);
    }

    /// The write on its way to a Node of that number, whichever it was then.
    pub(crate) fn write_to(&self, number: usize) -> Option<&NodeWrite> {
        self.writes.get(&number).map(|flight| &flight.write)
    }

    /// The same, if it can still land on the Node of that UID.
    pub(crate) fn write_to_node(&self, number: usize, uid: &str) -> Option<&NodeWrite> {
        self.writes.get(&number).filter(|flight| flight.uid == uid).map(|flight| &flight.write)
    }

    pub(crate) fn drain_of(&self, number: usize) -> Option<&Drain> {
        self.drains.get(&number)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.writes.is_empty() && self.drains.is_empty()
    }
}

/// Whether the write begins a drain.
pub(crate) fn begins_drain(node: &Node, write: &NodeWrite) -> bool {
    let draining = |claim: &Claim| claim.phase == ClaimPhase::Draining;
    let already = matches!(&node.claim, ClaimOnNode::Readable(claim) if draining(claim));
    !already && matches!(write, NodeWrite::Hold { claim, .. } if draining(claim))
}

impl World {
    /// Sends the writes that the plan asks for.
    pub(super) fn send_writes(&mut self, plan: &Plan) {
        for (name, decision) in plan {
            let Some(write) = &decision.write else { continue };
            let number = self.numbers[name];
            if self.shell.writes.contains_key(&number) {
                continue;
            }
            let node = self.node(number);
            let (uid, version) = (node.uid.clone(), node.resource_version.clone());
            let pending = write.pending(node).or(node.pending);
            self.note(number, |node| node.pending = pending);
            let takes = if self.faults.slow_writes { self.random.below(4) } else { 0 };
            let lost = self.faults.lost_writes && self.random.one_in(6);
            let flight = Flight { lands_at: self.time + takes, uid, version, write: write.clone(), lost };
            self.shell.writes.insert(number, flight);
        }
    }

    /// Lets the writes land whose time has come, by compare-and-swap.
    pub(super) fn land_writes(&mut self) {
        let due = |_: &usize, flight: &mut Flight| flight.lands_at <= self.time;
        let landing: Vec<_> = self.shell.writes.extract_if(.., due).collect();
        for (number, flight) in landing {
            if !self.machines[number].exists {
                continue;
            }
            let node = self.node(number);
            let fits = node.uid == flight.uid && node.resource_version == flight.version;
            self.note(number, |node| node.pending = None);
            if fits && !flight.lost {
                self.apply(number, flight.write);
            }
        }
    }

    fn apply(&mut self, number: usize, write: NodeWrite) {
        let machine = &mut self.machines[number];
        match write {
            NodeWrite::Hold { claim, cordon } => {
                if cordon {
                    machine.cordoned_by.get_or_insert(CordonOwner::Mechanic);
                }
                // As it is read back.
                let claim = claim.to_annotation().and_then(|annotation| Claim::parse(&annotation));
                let Ok(claim) = claim else { return };
                self.change_node(number, |node| {
                    node.claim = ClaimOnNode::Readable(claim);
                    node.unschedulable |= cordon;
                });
            }
            NodeWrite::Release { uncordon } => {
                // What somebody applied beside mechanic's is theirs alone from now on.
                let left = machine.cordoned_by.map(|_| CordonOwner::Somebody);
                machine.cordoned_by = if uncordon { None } else { left };
                machine.vetoed.clear();
                self.stats.released += 1;
                self.change_node(number, |node| {
                    node.claim = ClaimOnNode::None;
                    node.unschedulable &= !uncordon;
                });
            }
        }
    }

    /// The leader is gone, and all that it remembered. What it had sent may still land.
    pub(super) fn leader_dies(&mut self) {
        self.leading_from = None;
        self.shell.drains.clear();
    }

    /// Another one leads.
    pub(super) fn leader_begins(&mut self) {
        self.leading_from = Some(self.time);
        self.shell.writes.clear();
        self.fleet.epoch += 1;
        let now = super::monotonic(self.time);
        self.fleet.leading_since = now;
        for number in 0..self.machines.len() {
            self.note(number, |node| {
                node.probe = None;
                node.drain = None;
                node.pending = None;
                (node.readiness.since, node.readiness.was_before) = (now, true);
                if let Some(condition) = &mut node.vm_event_condition {
                    condition.since = now;
                }
            });
        }
        self.disconnect_probes();
    }
}
