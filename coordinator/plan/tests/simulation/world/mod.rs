//! A world in virtual time that the real plan is run against: Azure's events, machines, Nodes, probes, pods
//! with budgets, people, and the shell of a coordinator that may die.

mod azure;
mod changes;
mod drains;
mod machines;
mod pods;
mod probes;
mod random;
mod shell;
mod workloads;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use mechanic_plan::{Config, Fleet, Monotonic, Now, Plan, plan};

use self::{azure::Azure, shell::Shell};
pub(crate) use self::{
    azure::{Announcement, Impact, rfc_1123},
    changes::Change,
    drains::Eviction,
    machines::{ConditionSays, Machine},
    pods::{Pod, PodId, PodState},
    probes::silent_for,
    random::Random,
    shell::begins_drain,
    workloads::{Budget, Workload},
};

/// When every simulation begins: clocks have been running for long.
pub(crate) const START: u64 = 100_000;

/// What may go wrong between coordinator and API server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) slow_writes: bool,
    pub(crate) lost_writes: bool,
}

/// What a run comes to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    /// Pods that could have been moved and were ended without their grace.
    pub(crate) killed: u64,
    /// Evictions by mechanic.
    pub(crate) moved: u64,
    /// Those of a pod whose predecessor was evicted within the hour.
    pub(crate) moved_again: u64,
    pub(crate) pending_seconds: u64,
    pub(crate) longest_pending: u64,
    pub(crate) released: u64,
    /// Nodes looked at by the plan.
    pub(crate) node_steps: u64,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) time: u64,
    pub(crate) random: Random,
    /// What the coordinator knows; of the Nodes themselves that is what is so.
    pub(crate) fleet: Fleet,
    pub(crate) machines: Vec<Machine>,
    /// Machines by the names of their Nodes.
    pub(crate) numbers: BTreeMap<String, usize>,
    /// Placement groups: a pool and a part of it.
    groups: Vec<(String, usize)>,
    changed_groups: BTreeSet<usize>,
    pub(crate) azure: Azure,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) pods: Vec<Pod>,
    pending: Vec<PodId>,
    pub(crate) autoscaler_takes: Option<u64>,
    autoscaler_busy_until: u64,
    pub(crate) shell: Shell,
    /// Since when a coordinator leads; `None` while none does.
    pub(crate) leading_from: Option<u64>,
    pub(crate) faults: Faults,
    pub(crate) stats: Stats,
    agenda: BTreeMap<u64, Vec<Change>>,
    uids: u64,
}

/// What the coordinator did in one second.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    pub(crate) evictions: Vec<Eviction>,
}

pub(crate) fn wall(time: u64) -> Timestamp {
    let seconds = i64::try_from(time).unwrap_or_default();
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + seconds)
}

pub(crate) fn monotonic(time: u64) -> Monotonic {
    Monotonic(Duration::from_secs(time))
}

impl World {
    pub(crate) fn new(seed: u64, config: Config) -> Self {
        let fleet = Fleet {
            config,
            epoch: 1,
            leading_since: monotonic(START - 3_600),
            leader_pod_uid: String::new(),
            nodes: BTreeMap::new(),
        };
        Self {
            seed,
            time: START,
            random: Random::new(seed),
            fleet,
            machines: Vec::new(),
            numbers: BTreeMap::new(),
            groups: Vec::new(),
            changed_groups: BTreeSet::new(),
            azure: Azure::default(),
            workloads: Vec::new(),
            pods: Vec::new(),
            pending: Vec::new(),
            autoscaler_takes: None,
            autoscaler_busy_until: 0,
            shell: Shell::default(),
            leading_from: Some(START - 3_600),
            faults: Faults::default(),
            stats: Stats::default(),
            agenda: BTreeMap::new(),
            uids: 0,
        }
    }

    /// Puts a change on the agenda; what lies in the past happens next.
    pub(crate) fn at(&mut self, time: u64, change: Change) {
        self.agenda.entry(time.max(self.time + 1)).or_default().push(change);
    }

    /// Makes a change now.
    pub(crate) fn now(&mut self, change: Change) {
        self.apply_change(change);
    }

    /// The world goes on by one second, or to the next in which anything can happen; not beyond `until`.
    pub(crate) fn advance(&mut self, until: u64) {
        let jumps = self.is_quiet();
        if jumps {
            let next = self.agenda.keys().next().map_or(until, |next| next - 1);
            self.time = self.time.max(next.min(until.saturating_sub(1)));
        }
        self.time += 1;
        while let Some(entry) = self.agenda.first_entry().filter(|entry| *entry.key() <= self.time) {
            for change in entry.remove() {
                self.apply_change(change);
            }
        }
        if !self.pending.is_empty() {
            self.schedule_pods();
            self.autoscale();
        }
        self.probes_speak(jumps);
    }

    /// What the coordinator decides, if one leads.
    pub(crate) fn decide(&mut self) -> Option<Plan> {
        self.leading_from?;
        self.stats.node_steps += self.fleet.nodes.len() as u64;
        Some(plan(&self.fleet, self.clock()))
    }

    pub(crate) fn clock(&self) -> Now {
        Now { wall: wall(self.time), monotonic: monotonic(self.time) }
    }

    /// It is carried out.
    pub(crate) fn act(&mut self, plan: &Plan) -> Deeds {
        let evictions = self.drain(plan);
        self.send_writes(plan);
        self.land_writes();
        Deeds { evictions }
    }

    /// Whether nothing can happen before the next change on the agenda.
    fn is_quiet(&self) -> bool {
        self.pending.is_empty()
            && self.shell.is_idle()
            && self.changed_groups.is_empty()
            && self.leading_from.is_some_and(|since| self.time - since > 60)
            && self.azure.listed.values().all(Vec::is_empty)
            && self.fleet.nodes.values().all(|node| node.claim == mechanic_plan::ClaimOnNode::None)
    }

    /// Ends the test with what was broken, and how to see it again.
    #[track_caller]
    pub(crate) fn broken(&self, node: &str, what: &str) -> ! {
        panic!("{node} at {} s, MECHANIC_SEED={}: {what}", self.time - START, self.seed)
    }
}
