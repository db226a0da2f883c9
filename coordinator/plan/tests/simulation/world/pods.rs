//! Pods: a scheduler, machines that run them, and the eviction API.

use mechanic_plan::BudgetRule;

use super::{Change, World, workloads::Budget};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PodId(pub(crate) usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodState {
    /// No node has been found for it since then.
    Pending {
        since: u64,
    },
    Starting,
    Ready,
    /// Its machine is down.
    Down,
    Terminating,
    Gone,
}

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) workload: usize,
    pub(crate) machine: Option<usize>,
    /// Since when it is there.
    pub(crate) placed: u64,
    pub(crate) state: PodState,
    /// Mechanic has evicted it.
    pub(crate) evicted: Option<u64>,
    /// When mechanic evicted the pod that it replaces.
    pub(crate) moved: Option<u64>,
    /// Counts its restarts, so that what was to happen before doesn't happen after.
    pub(crate) restarts: u32,
}

/// The API server's answer to an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    /// The pod's PodDisruptionBudget.
    HeldByBudget,
}

impl World {
    /// A new pod of a workload, to be placed.
    pub(super) fn create_pod(&mut self, workload: usize, moved: Option<u64>) -> PodId {
        let id = PodId(self.pods.len());
        let state = PodState::Pending { since: self.time };
        self.pods.push(Pod {
            workload,
            machine: None,
            placed: self.time,
            state,
            evicted: None,
            moved,
            restarts: 0,
        });
        self.workloads[workload].pods.push(id);
        self.pending.push(id);
        id
    }

    /// Places pods: the machine of their pool with the most room.
    pub(super) fn schedule_pods(&mut self) {
        for id in std::mem::take(&mut self.pending) {
            let PodState::Pending { since } = self.pods[id.0].state else { continue };
            let workload = &self.workloads[self.pods[id.0].workload];
            let takes = |number: &usize| {
                let machine = &self.machines[*number];
                let fits = machine.pool == workload.pool && machine.pods.len() < machine.capacity;
                let open =
                    |node: &mechanic_plan::Node| node.readiness.ready && !node.unschedulable && !node.leaving;
                fits && machine.exists && open(self.node(*number))
            };
            let room = |number: &usize| self.machines[*number].capacity - self.machines[*number].pods.len();
            let free = (0..self.machines.len()).filter(takes).max_by_key(room);
            match free {
                Some(number) => {
                    self.stats.pending_seconds += self.time - since;
                    self.stats.longest_pending = self.stats.longest_pending.max(self.time - since);
                    self.place_pod(id, number);
                }
                None => self.pending.push(id),
            }
        }
    }

    /// What the run has come to, pods that are still pending included.
    #[allow(dead_code, reason = "the bench of the defaults shares this world, and only it counts")]
    pub(crate) fn stats_at_end(&self) -> super::Stats {
        let mut stats = self.stats;
        for id in &self.pending {
            if let PodState::Pending { since } = self.pods[id.0].state {
                stats.pending_seconds += self.time - since;
                stats.longest_pending = stats.longest_pending.max(self.time - since);
            }
        }
        stats
    }

    pub(super) fn place_pod(&mut self, id: PodId, number: usize) {
        self.machines[number].pods.push(id);
        (self.pods[id.0].machine, self.pods[id.0].placed) = (Some(number), self.time);
        self.start_pod(id);
    }

    fn start_pod(&mut self, id: PodId) {
        let pod = &mut self.pods[id.0];
        pod.state = PodState::Starting;
        pod.restarts += 1;
        let (restarts, starts_in) = (pod.restarts, self.workloads[pod.workload].start);
        self.at(self.time + starts_in, Change::PodReady(id, restarts));
    }

    pub(super) fn pod_is_ready(&mut self, id: PodId, restarts: u32) {
        let pod = &mut self.pods[id.0];
        if pod.state == PodState::Starting && pod.restarts == restarts {
            pod.state = PodState::Ready;
        }
    }

    /// The eviction API, as a PodDisruptionBudget has it decide.
    pub(super) fn evict(&mut self, id: PodId) -> Answer {
        let pod = &self.pods[id.0];
        let workload = &self.workloads[pod.workload];
        let healthy = workload.pods.iter().filter(|id| self.pods[id.0].state == PodState::Ready).count();
        let allowed = match workload.budget.map(|budget| budget.desired(workload.replicas)) {
            None => true,
            Some(desired) if pod.state == PodState::Ready => healthy > desired,
            // A pod that isn't healthy goes only if the others are enough.
            Some(desired) => healthy >= desired,
        };
        if !allowed {
            return Answer::HeldByBudget;
        }
        self.delete(id);
        Answer::Accepted
    }

    /// The pod goes, whatever budgets say.
    pub(super) fn delete(&mut self, id: PodId) {
        self.stats.moved += 1;
        let again = self.pods[id.0].moved.is_some_and(|moved| self.time - moved < 3_600);
        self.stats.moved_again += u64::from(again);
        self.pods[id.0].evicted = Some(self.time);
        self.terminate_pod(id, Some(self.time));
    }

    /// Asks a pod to end; its controller replaces it.
    fn terminate_pod(&mut self, id: PodId, moved: Option<u64>) {
        let pod = &mut self.pods[id.0];
        let (workload, down) = (pod.workload, pod.state == PodState::Down);
        pod.state = PodState::Terminating;
        pod.restarts += 1;
        let grace = self.workloads[workload].grace;
        let takes = if self.workloads[workload].stubborn { grace } else { self.random.below(grace + 1) };
        if !down {
            self.at(self.time + takes, Change::PodGone(id));
        }
        if self.workloads[workload].replaces_at_once {
            self.create_pod(workload, moved);
        }
    }

    pub(super) fn pod_is_gone(&mut self, id: PodId) {
        let pod = &mut self.pods[id.0];
        let was = std::mem::replace(&mut pod.state, PodState::Gone);
        if was == PodState::Gone {
            return;
        }
        let (workload, moved) = (pod.workload, pod.evicted);
        if let Some(number) = pod.machine.take() {
            self.machines[number].pods.retain(|other| *other != id);
        }
        let terminating = was == PodState::Terminating;
        let workload_of = &mut self.workloads[workload];
        workload_of.pods.retain(|other| *other != id);
        if workload_of.is_managed && !(terminating && workload_of.replaces_at_once) {
            self.create_pod(workload, moved);
        }
    }

    /// The machine has gone down under its pods.
    pub(super) fn kill_pods_of(&mut self, number: usize) {
        for id in self.machines[number].pods.clone() {
            let pod = &mut self.pods[id.0];
            let workload = &self.workloads[pod.workload];
            match pod.state {
                PodState::Starting | PodState::Ready => {
                    self.stats.killed += u64::from(workload.is_managed && !workload.empty_dir);
                    pod.state = PodState::Down;
                }
                PodState::Terminating => self.stats.killed += 1,
                PodState::Pending { .. } | PodState::Down | PodState::Gone => {}
            }
            pod.restarts += 1;
        }
    }

    /// The machine is back: what ran there starts again, what was to end has ended.
    pub(super) fn restart_pods_of(&mut self, number: usize) {
        for id in self.machines[number].pods.clone() {
            match self.pods[id.0].state {
                PodState::Down => self.start_pod(id),
                PodState::Terminating => self.pod_is_gone(id),
                _ => {}
            }
        }
    }

    /// The node has been unreachable for five minutes: its pods are replaced, though nobody can end them.
    pub(super) fn give_up_pods_of(&mut self, number: usize) {
        let machine = &self.machines[number];
        if machine.up || self.time - machine.down_since < 300 {
            return;
        }
        for id in machine.pods.clone() {
            if self.pods[id.0].state == PodState::Down && self.workloads[self.pods[id.0].workload].is_managed
            {
                self.terminate_pod(id, None);
            }
        }
    }
}

impl Budget {
    /// How many pods must stay healthy.
    pub(super) fn desired(self, replicas: usize) -> usize {
        match self {
            Self::MaxUnavailable(number) => replicas.saturating_sub(number),
            Self::MinAvailable(number) => number,
        }
    }

    /// The same as it is written.
    pub(super) fn rule(self) -> BudgetRule {
        match self {
            Self::MaxUnavailable(number) => BudgetRule::MaxUnavailable(number.to_string()),
            Self::MinAvailable(number) => BudgetRule::MinAvailable(number.to_string()),
        }
    }
}
