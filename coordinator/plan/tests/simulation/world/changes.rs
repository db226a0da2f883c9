//! What happens in the world, when its time has come.

use mechanic_plan::{ClaimOnNode, Config, CordonOwner};

use super::{World, machines::ConditionSays, pods::PodId};

#[derive(Clone, Debug)]
pub(crate) enum Change {
    // Azure's side.
    Announced(String),
    Begins(String),
    Vanishes(String),
    /// `NotBefore` is another one from now on, as its text.
    NotBefore(String, String),
    Down(usize),
    Up {
        machine: usize,
        another: bool,
    },
    // Kubernetes' side.
    SeenDown(usize),
    PodsGivenUp(usize),
    NodeDeleted(usize),
    /// The Node of a machine that still runs registers anew, with another UID.
    NodeRecreated(usize),
    ShutDown(usize, bool),
    NotReady(usize),
    Ready(usize),
    MachineAdded(String),
    PodReady(PodId, u32),
    PodGone(PodId),
    ConditionSays(usize, ConditionSays),
    // Probes.
    ProbeMute(usize, bool),
    ProbeFails(usize, bool),
    ProbeGarbled(usize, bool),
    /// The metadata service forgets what is announced, or knows it again.
    DocumentEmpty(usize, bool),
    ProbeRestarts(usize),
    ProbeGone(usize),
    // People.
    Cordon(usize),
    /// The same by server-side apply.
    CordonApplied(usize),
    Uncordon(usize),
    OptOut(usize, bool),
    Settings(Box<Config>),
    /// Somebody's label, or a claim that nobody can read.
    Foreign(usize, ClaimOnNode),
    // The coordinators.
    LeaderDies,
    LeaderBegins,
}

impl World {
    pub(super) fn apply_change(&mut self, change: Change) {
        let time = self.time;
        match change {
            Change::Announced(id) => self.event_is_announced(&id),
            Change::Begins(id) => self.event_begins(&id),
            Change::Vanishes(id) => self.event_vanishes(&id),
            Change::NotBefore(id, text) => self.event_changes(&id, |event| event.not_before = text),
            Change::Down(number) => self.machine_goes_down(number),
            Change::Up { machine, another } => self.machine_comes_up(machine, another),
            Change::SeenDown(number) => {
                if !self.machines[number].up {
                    self.set_ready(number, false);
                }
            }
            Change::PodsGivenUp(number) => self.give_up_pods_of(number),
            Change::NodeDeleted(number) => self.delete_node(number),
            Change::NodeRecreated(number) => {
                self.delete_node(number);
                self.machines[number].probe.stop(time);
                self.machines[number].probe.start(time + 3, time);
                self.create_node(number);
            }
            Change::ShutDown(number, down) => {
                if down {
                    self.machine_goes_down(number);
                } else if self.machines[number].exists {
                    self.machine_comes_up(number, false);
                }
                if self.machines[number].exists {
                    self.change_node(number, |node| (node.shut_down, node.leaving) = (down, down));
                }
            }
            Change::NotReady(number) => self.set_ready(number, false),
            Change::Ready(number) => {
                if self.machines[number].up {
                    self.set_ready(number, true);
                }
            }
            Change::MachineAdded(pool) => {
                let capacity = self.machines[0].capacity;
                self.add_machine(&pool, capacity);
            }
            Change::PodReady(id, restarts) => self.pod_is_ready(id, restarts),
            Change::PodGone(id) => {
                // On a machine that is down nobody ends it.
                if self.pods[id.0].machine.is_none_or(|number| self.machines[number].up) {
                    self.pod_is_gone(id);
                }
            }
            Change::ConditionSays(number, says) => {
                self.machines[number].condition = says;
                self.set_condition(number);
            }
            Change::ProbeMute(number, mute) => {
                let probe = &mut self.machines[number].probe;
                probe.mute = mute;
                if !mute {
                    probe.reconnect(time);
                }
            }
            Change::ProbeFails(number, failing) => {
                let probe = &mut self.machines[number].probe;
                probe.failing = failing;
                probe.turn(time);
                self.report_soon(number);
            }
            Change::ProbeGarbled(number, garbled) => {
                let probe = &mut self.machines[number].probe;
                probe.garbled = garbled;
                probe.turn(time);
                self.report_soon(number);
            }
            Change::DocumentEmpty(number, empty) => {
                self.machines[number].probe.set_empty(empty, time);
                self.report_soon(number);
            }
            Change::ProbeRestarts(number) => {
                if self.machines[number].up {
                    self.machines[number].probe.stop(time);
                    self.machines[number].probe.start(time + 3, time);
                }
            }
            Change::ProbeGone(number) => self.machines[number].probe.stop(time),
            Change::Cordon(number) => self.somebody_cordons(number),
            Change::CordonApplied(number) => self.somebody_applies_a_cordon(number),
            Change::Uncordon(number) => self.somebody_uncordons(number),
            Change::OptOut(number, out) => self.change_if_there(number, |node| node.opted_out = out),
            Change::Settings(config) => self.fleet.config = *config,
            Change::Foreign(number, claim) => {
                self.machines[number].foreign = true;
                self.change_if_there(number, |node| node.claim = claim);
            }
            Change::LeaderDies => self.leader_dies(),
            Change::LeaderBegins => self.leader_begins(),
        }
    }

    fn change_if_there(&mut self, number: usize, change: impl FnOnce(&mut mechanic_plan::Node)) {
        if self.machines[number].exists {
            self.change_node(number, change);
        }
    }

    fn somebody_cordons(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        // Who cordons a node that is cordoned changes nothing, and nobody can see it.
        if machine.exists && machine.cordoned_by.is_none() {
            machine.cordoned_by = Some(CordonOwner::Somebody);
            self.change_node(number, |node| node.unschedulable = true);
        }
    }

    /// Who applies it becomes an owner even where that changes nothing.
    fn somebody_applies_a_cordon(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        match machine.cordoned_by {
            _ if !machine.exists => {}
            None => self.somebody_cordons(number),
            Some(CordonOwner::Mechanic) => {
                machine.cordoned_by = Some(CordonOwner::Both);
                self.change_node(number, |_| {});
            }
            Some(CordonOwner::Somebody | CordonOwner::Both) => {}
        }
    }

    fn somebody_uncordons(&mut self, number: usize) {
        if !self.machines[number].exists || self.machines[number].cordoned_by.is_none() {
            return;
        }
        if let ClaimOnNode::Readable(claim) = &self.node(number).claim {
            let vetoed: Vec<String> = claim.events.keys().cloned().collect();
            self.machines[number].vetoed.extend(vetoed);
        }
        self.machines[number].cordoned_by = None;
        self.change_node(number, |node| node.unschedulable = false);
    }
}
