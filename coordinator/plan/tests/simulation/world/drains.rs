//! Drains: what the coordinator's task for one node does, second by second.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mechanic_plan::{
    Budget, BudgetOverPod, Controller, Departure, DrainOrder, DrainProgress, DrainStage, EventType, Holdup,
    Monotonic, Plan, Pod, PodPhase, PodReport, Surroundings, Verdict, Wave, classify, first_wave,
};

use super::{World, pods::Answer, pods::PodId, pods::PodState};

/// A refused eviction is tried again after so long.
const RETRY: u64 = 5;
/// The scheduler may still bind a pod for so long after the cordon.
const SETTLE: u64 = 5;

#[derive(Debug)]
pub(crate) struct Drain {
    order: DrainOrder,
    departure: Departure,
    lists_at: u64,
    evicting_since: Option<u64>,
    /// When the first clean list was made.
    clean_since: Option<u64>,
    retry_at: BTreeMap<PodId, u64>,
    /// Evicted by this task.
    evicted: BTreeSet<PodId>,
    blocked_since: Option<Monotonic>,
}

/// An eviction that was accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eviction {
    pub(crate) machine: usize,
    pub(crate) pod: PodId,
    /// It was deleted, though its budget held it.
    pub(crate) last_call: bool,
}

impl Drain {
    fn new(lists_at: u64) -> Self {
        Self {
            order: DrainOrder::Stop,
            departure: Departure::UNKNOWN,
            lists_at,
            evicting_since: None,
            clean_since: None,
            retry_at: BTreeMap::new(),
            evicted: BTreeSet::new(),
            blocked_since: None,
        }
    }

    /// Since when it evicts without a break.
    pub(crate) fn evicting_since(&self) -> Option<u64> {
        self.evicting_since
    }
}

impl World {
    /// One second of all drains.
    pub(super) fn drain(&mut self, plan: &Plan) -> Vec<Eviction> {
        let mut evictions = Vec::new();
        for (name, decision) in plan {
            let number = self.numbers[name];
            let clean = self
                .node(number)
                .drain
                .as_ref()
                .is_some_and(|drain| matches!(drain.stage, DrainStage::Clean { .. }));
            if !self.shell.drains.contains_key(&number) {
                if decision.drain == DrainOrder::Stop || clean {
                    continue;
                }
                let slow = if self.faults.slow_writes { self.random.below(3) } else { 0 };
                self.shell.drains.insert(number, Drain::new(self.time + 1 + slow));
            }
            let Some(mut drain) = self.shell.drains.remove(&number) else { continue };
            drain.order = decision.drain;
            if let DrainOrder::Look(departure) | DrainOrder::Run(departure) = decision.drain {
                drain.departure = departure;
            }
            evictions.extend(self.send_evictions(number, &mut drain));
            let progress = self.progress(number, &mut drain);
            let ended = progress.stage.has_ended();
            if self.node(number).drain.as_ref() != Some(&progress) {
                self.note(number, |node| node.drain = Some(progress));
            }
            if !ended {
                self.shell.drains.insert(number, drain);
            }
        }
        evictions
    }

    fn send_evictions(&mut self, number: usize, drain: &mut Drain) -> Vec<Eviction> {
        let run = matches!(drain.order, DrainOrder::Run(_));
        drain.evicting_since = run.then(|| drain.evicting_since.unwrap_or(self.time));
        let mut evictions = Vec::new();
        if !run || self.time < drain.lists_at {
            return evictions;
        }
        let leaving = self.first_wave(number, drain);
        for id in self.machines[number].pods.clone() {
            let waits = drain.retry_at.get(&id).is_some_and(|at| *at > self.time);
            let verdict = classify(&self.pod_as_seen(id), &self.surroundings(number, drain), leaving);
            if drain.evicted.contains(&id) {
                continue;
            }
            if verdict == Verdict::LastCall {
                self.delete(id);
                drain.evicted.insert(id);
                evictions.push(Eviction { machine: number, pod: id, last_call: true });
                continue;
            }
            if waits || verdict != Verdict::Evict {
                continue;
            }
            match self.evict(id) {
                Answer::Accepted => {
                    drain.evicted.insert(id);
                    evictions.push(Eviction { machine: number, pod: id, last_call: false });
                }
                Answer::HeldByBudget => {
                    drain.retry_at.insert(id, self.time + RETRY);
                }
            }
        }
        evictions
    }

    /// How the drain goes; it ends where it is done, or was told to and nothing is under way any more.
    fn progress(&self, number: usize, drain: &mut Drain) -> DrainProgress {
        let listed = self.time >= drain.lists_at;
        let ids = &self.machines[number].pods;
        let leaving = self.first_wave(number, drain);
        let report = |id: &PodId| self.report(number, *id, drain, leaving);
        let pods: Vec<PodReport> = if listed { ids.iter().map(report).collect() } else { Vec::new() };
        let evicted = ids.iter().filter(|id| drain.evicted.contains(id)).count();
        let terminating = pods.iter().filter(|pod| pod.verdict == Verdict::Terminating).count();
        let quiet = listed && !pods.iter().any(|pod| pod.verdict.must_leave());
        let told_to_end = matches!(drain.order, DrainOrder::Settle | DrainOrder::Stop);
        let stage = match drain.evicting_since {
            None if told_to_end && listed && evicted + terminating == 0 => DrainStage::Stopped,
            None => DrainStage::Looking,
            Some(since) if quiet => {
                let first = *drain.clean_since.get_or_insert(self.time);
                let twice = self.time > first && self.time >= since + SETTLE;
                let no_time = matches!(drain.order, DrainOrder::Run(to) if to.worst == EventType::Preempt);
                if twice || no_time {
                    DrainStage::Clean { worst: drain.departure.worst }
                } else {
                    DrainStage::Evicting
                }
            }
            Some(_) => DrainStage::Evicting,
        };
        if !quiet || drain.evicting_since.is_none() {
            drain.clean_since = None;
        }
        let mut progress =
            DrainProgress { listed, pods, stage, evicted, terminating, blocked_since: drain.blocked_since };
        let now = super::monotonic(self.time);
        drain.blocked_since = progress.is_blocked().then(|| drain.blocked_since.unwrap_or(now));
        progress.blocked_since = drain.blocked_since;
        progress
    }

    /// The first wave that isn't gone yet.
    fn first_wave(&self, number: usize, drain: &Drain) -> Wave {
        let pods: Vec<Pod> = self.machines[number].pods.iter().map(|id| self.pod_as_seen(*id)).collect();
        first_wave(&pods, &self.surroundings(number, drain))
    }

    fn surroundings(&self, number: usize, drain: &Drain) -> Surroundings {
        let (departure, policy) = (drain.departure, self.fleet.config.policy.pods.on(self.node(number)));
        let leader_pod_uid = self.fleet.leader_pod_uid.clone();
        Surroundings { leader_pod_uid, departure, policy, now: self.clock().wall }
    }

    fn report(&self, number: usize, id: PodId, drain: &Drain, leaving: Wave) -> PodReport {
        let pod = self.pod_as_seen(id);
        let budget = self.budget_over(id);
        let is_ready = self.pods[id.0].state == PodState::Ready;
        let holdup = Holdup::of(is_ready, &budget).filter(|_| !drain.evicted.contains(&id));
        let (verdict, detail) = match (classify(&pod, &self.surroundings(number, drain), leaving), holdup) {
            (Verdict::Evict, Some(holdup)) => (holdup.verdict(), holdup.to_string()),
            (verdict, _) => (verdict, String::new()),
        };
        let budget =
            budget.map(|budget| BudgetOverPod { allows_at_once: budget.allows_at_once(), name: budget.name });
        PodReport { namespace: pod.namespace, name: pod.name, verdict, detail, grace: pod.grace, budget }
    }

    /// The budget over a pod, as its controller counts it.
    fn budget_over(&self, id: PodId) -> Option<Budget> {
        let workload = &self.workloads[self.pods[id.0].workload];
        let budget = workload.budget?;
        let is_ready = |id: &&PodId| self.pods[id.0].state == PodState::Ready;
        let healthy = workload.pods.iter().filter(is_ready).count();
        let desired = budget.desired(workload.replicas);
        Some(Budget {
            name: workload.name.clone(),
            rule: budget.rule(),
            always_allows_unready: false,
            is_counted: true,
            trouble: None,
            expected: workload.replicas,
            desired,
            healthy,
            allowed: healthy.saturating_sub(desired),
            closed_since: None,
        })
    }

    /// The pod as the API server shows it.
    pub(crate) fn pod_as_seen(&self, id: PodId) -> Pod {
        let pod = &self.pods[id.0];
        let workload = &self.workloads[pod.workload];
        let controller = Controller { api_version: "apps/v1".into(), kind: "ReplicaSet".into() };
        Pod {
            namespace: "default".into(),
            name: format!("{}-{}", workload.name, id.0),
            uid: format!("{}", id.0),
            labels: BTreeMap::new(),
            phase: PodPhase::Active,
            controller: workload.is_managed.then_some(controller),
            mirror: false,
            empty_dir: workload.empty_dir,
            asks_to_stay: workload.asks_to_stay,
            came_back: false,
            held_by_budget: Holdup::of(pod.state == PodState::Ready, &self.budget_over(id)).is_some(),
            wave: workload.wave,
            terminating: pod.state == PodState::Terminating,
            grace: Duration::from_secs(workload.grace),
        }
    }
}
