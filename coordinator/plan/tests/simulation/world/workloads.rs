//! Workloads with their budgets, and an autoscaler that makes room for them.

use mechanic_plan::Wave;

use super::{Change, World, pods::PodId, pods::PodState};

/// A PodDisruptionBudget, in the two ways that it can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Budget {
    MaxUnavailable(usize),
    MinAvailable(usize),
}

#[derive(Clone, Debug)]
// Each says something of its own, and all combinations occur.
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) pool: String,
    pub(crate) replicas: usize,
    pub(crate) budget: Option<Budget>,
    /// `terminationGracePeriodSeconds`.
    pub(crate) grace: u64,
    /// Each pod uses all of it.
    pub(crate) stubborn: bool,
    /// From placed to Ready.
    pub(crate) start: u64,
    /// A Deployment does, a StatefulSet waits until the old pod is gone.
    pub(crate) replaces_at_once: bool,
    pub(crate) is_managed: bool,
    pub(crate) empty_dir: bool,
    pub(crate) asks_to_stay: bool,
    pub(crate) wave: Wave,
    pub(crate) pods: Vec<PodId>,
}

impl Workload {
    pub(crate) fn new(pool: &str, replicas: usize) -> Self {
        Self {
            name: String::new(),
            pool: pool.to_owned(),
            replicas,
            budget: None,
            grace: 30,
            stubborn: false,
            start: 10,
            replaces_at_once: true,
            is_managed: true,
            empty_dir: false,
            asks_to_stay: false,
            wave: Wave::Ordinary,
            pods: Vec::new(),
        }
    }

    pub(crate) fn with_budget(self, budget: Budget) -> Self {
        Self { budget: Some(budget), ..self }
    }
}

impl World {
    /// Adds a workload whose pods have been running for long where there is room.
    pub(crate) fn add_workload(&mut self, mut workload: Workload) -> usize {
        let number = self.workloads.len();
        workload.name = format!("workload-{number}");
        let replicas = workload.replicas;
        self.workloads.push(workload);
        for _ in 0..replicas {
            self.create_pod(number, None);
        }
        self.schedule_pods();
        for id in self.workloads[number].pods.clone() {
            let pod = &mut self.pods[id.0];
            if pod.state == PodState::Starting {
                pod.state = PodState::Ready;
            }
        }
        number
    }

    /// Orders a machine for pods that nothing else has room for.
    pub(super) fn autoscale(&mut self) {
        let Some(takes) = self.autoscaler_takes else { return };
        if self.time < self.autoscaler_busy_until {
            return;
        }
        let waits = |id: &&PodId| matches!(self.pods[id.0].state, PodState::Pending { since } if self.time - since >= 30);
        if let Some(id) = self.pending.iter().find(waits) {
            let pool = self.workloads[self.pods[id.0].workload].pool.clone();
            self.autoscaler_busy_until = self.time + takes;
            self.at(self.time + takes, Change::MachineAdded(pool));
        }
    }
}
