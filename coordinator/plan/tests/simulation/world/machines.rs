//! Machines and their Nodes: what is really so, beside what the coordinator knows.

use std::{collections::BTreeSet, sync::Arc};

use mechanic_plan::{ClaimOnNode, CordonOwner, Node, Readiness, VmReference};

use super::{World, monotonic, pods::PodId, probes::ProbeOnMachine};

/// Machines of one placement group see each other's events.
const GROUP: usize = 100;

/// A machine and the Node that stands for it.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) node: String,
    pub(crate) pool: String,
    /// Its placement group.
    pub(crate) group: usize,
    pub(crate) vm: String,
    pub(crate) vm_id: String,
    pub(crate) boot: u32,
    pub(crate) up: bool,
    pub(crate) down_since: u64,
    /// Whether the Node is there.
    pub(crate) exists: bool,
    pub(crate) probe: ProbeOnMachine,
    pub(crate) cordoned_by: Option<CordonOwner>,
    /// Events that somebody has vetoed by making the Node schedulable.
    pub(crate) vetoed: BTreeSet<String>,
    /// Pods that it takes.
    pub(crate) capacity: usize,
    pub(crate) pods: Vec<PodId>,
    /// What stands on the Node is not mechanic's.
    pub(crate) foreign: bool,
    pub(crate) condition: ConditionSays,
}

/// What node-problem-detector says in `VMEventScheduled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConditionSays {
    Nothing,
    TheTruth,
    TheOpposite,
}

pub(crate) fn reference(vm: &str) -> Option<VmReference> {
    VmReference::parse(&format!(
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{vm}"
    ))
}

impl World {
    /// Adds a machine to `pool`, with its Node.
    pub(crate) fn add_machine(&mut self, pool: &str, capacity: usize) -> usize {
        let number = self.machines.len();
        let node = format!("{pool}-{number:04}");
        let in_pool = self.machines.iter().filter(|machine| machine.pool == pool).count();
        let group = (pool.to_owned(), in_pool / GROUP);
        let group = self.groups.iter().position(|known| *known == group).unwrap_or_else(|| {
            self.groups.push(group);
            self.groups.len() - 1
        });
        self.machines.push(Machine {
            node: node.clone(),
            pool: pool.to_owned(),
            group,
            vm: format!("vm-{number}"),
            vm_id: format!("id-{number}-0"),
            boot: 0,
            up: true,
            down_since: 0,
            exists: true,
            probe: ProbeOnMachine::new(self.time),
            cordoned_by: None,
            vetoed: BTreeSet::new(),
            capacity,
            pods: Vec::new(),
            foreign: false,
            condition: ConditionSays::Nothing,
        });
        self.numbers.insert(node, number);
        self.create_node(number);
        number
    }

    /// Creates the Node of a machine, with a UID of its own.
    pub(super) fn create_node(&mut self, number: usize) {
        self.uids += 1;
        let machine = &mut self.machines[number];
        machine.exists = true;
        machine.foreign = false;
        machine.cordoned_by = None;
        machine.vetoed.clear();
        machine.probe.connects_at = self.time;
        let node = Node {
            uid: format!("uid-{}", self.uids),
            resource_version: "1".into(),
            vm: reference(&machine.vm),
            covered: true,
            pool: machine.pool.clone(),
            labels: Arc::default(),
            opted_out: false,
            unschedulable: false,
            cordon_owner: None,
            leaving: false,
            shut_down: false,
            readiness: Readiness { ready: machine.up, since: monotonic(self.time), was_before: false },
            vm_event_condition: None,
            claim: ClaimOnNode::None,
            probe: None,
            drain: None,
            pending: None,
        };
        self.fleet.nodes.insert(machine.node.clone(), Arc::new(node));
    }

    /// The Node is deleted, and with it every pod on it.
    pub(super) fn delete_node(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        machine.exists = false;
        machine.cordoned_by = None;
        self.fleet.nodes.remove(&machine.node);
        self.shell.forget(number);
        for pod in std::mem::take(&mut machine.pods) {
            self.pod_is_gone(pod);
        }
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.fleet.nodes[&self.machines[number].node]
    }

    /// The Node as the API server has it; every change of it is a new version.
    pub(super) fn change_node(&mut self, number: usize, change: impl FnOnce(&mut Node)) {
        let Some(node) = self.fleet.nodes.get_mut(&self.machines[number].node) else { return };
        let node = Arc::make_mut(node);
        change(node);
        node.cordon_owner = self.machines[number].cordoned_by;
        let version: u64 = node.resource_version.parse().unwrap_or_default();
        node.resource_version = (version + 1).to_string();
        let draining = matches!(&node.claim, ClaimOnNode::Readable(claim)
            if claim.phase == mechanic_plan::ClaimPhase::Draining);
        // As the coordinator's fleet does: what a past drain found doesn't answer for the next one.
        if !draining && node.drain.as_ref().is_some_and(|drain| drain.stage.has_ended()) {
            node.drain = None;
        }
    }

    /// What the coordinator remembers of the Node.
    pub(super) fn note(&mut self, number: usize, note: impl FnOnce(&mut Node)) {
        if let Some(node) = self.fleet.nodes.get_mut(&self.machines[number].node) {
            note(Arc::make_mut(node));
        }
    }

    pub(super) fn set_ready(&mut self, number: usize, ready: bool) {
        let now = monotonic(self.time);
        if self.machines[number].exists && self.node(number).readiness.ready != ready {
            self.change_node(number, |node| {
                node.readiness = Readiness { ready, since: now, was_before: false }
            });
        }
    }

    /// Every process on the machine ends at once.
    pub(super) fn machine_goes_down(&mut self, number: usize) {
        if !self.machines[number].up {
            return;
        }
        let time = self.time;
        let machine = &mut self.machines[number];
        machine.up = false;
        machine.down_since = time;
        machine.probe.stop(time);
        self.kill_pods_of(number);
        let unseen = self.random.between(5, 40);
        self.at(time + unseen, super::Change::SeenDown(number));
        self.at(time + unseen + 300, super::Change::PodsGivenUp(number));
    }

    /// The machine boots; `another` one where Azure has put a new one in its place.
    pub(super) fn machine_comes_up(&mut self, number: usize, another: bool) {
        let time = self.time;
        let starts_in = self.random.between(2, 10);
        let machine = &mut self.machines[number];
        machine.up = true;
        machine.boot += 1;
        if another {
            machine.vm_id = format!("{}+", machine.vm_id);
        }
        machine.probe.start(time + starts_in, time);
        if !machine.exists {
            self.create_node(number);
        }
        self.set_ready(number, true);
        self.restart_pods_of(number);
    }
}

impl World {
    /// What the Node of a machine says that it stands for.
    pub(crate) fn reference_of(&self, number: usize) -> Option<VmReference> {
        self.node(number).vm.clone()
    }

    /// The Node says that it stands for another machine.
    pub(crate) fn name_machine(&mut self, number: usize, reference: Option<VmReference>) {
        self.change_node(number, |node| node.vm = reference);
    }
}
