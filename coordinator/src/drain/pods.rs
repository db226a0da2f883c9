//! The pods of the node that is being drained, and what has been tried with each.

mod kept;
mod last_call;
mod report;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use mechanic_plan::{Departure, Monotonic, PodPolicy, Surroundings, Verdict, classify, first_wave};
use tokio::time::Instant;

pub(super) use kept::{DrainWaits, Kept, StillThere};
pub(super) use report::ALL_THE_SAME;

use super::{
    answer::{Outcome, RETRY},
    pod_view,
    tracked::Tracked,
    turns::Turns,
};
use crate::fleet::{BudgetKey, Budgets};

/// The pods; one that was replaced under its name is another pod.
pub(super) struct Pods {
    surroundings: Surroundings,
    budgets: Arc<Budgets>,
    turns: Turns,
    /// By the UID of a pod whose eviction is on its way: the budget behind which it is.
    taken: HashMap<String, BudgetKey>,
    by_uid: BTreeMap<String, Tracked>,
    /// UIDs of the controllers of pods that were evicted.
    evicted_of: HashSet<String>,
    /// What the watch's list under way has shown so far.
    listing: HashSet<String>,
    /// The budgets over them, as of the last report.
    behind: HashSet<BudgetKey>,
    /// Since when none of those that must leave can.
    blocked_since: Option<Monotonic>,
    /// What was told of the drain as a whole.
    waits_told: Vec<Verdict>,
}

/// A pod that is to be evicted now.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) asks_to_stay: bool,
}

fn no_sooner(outcome: Option<&Outcome>) -> Duration {
    if matches!(outcome, Some(Outcome::Refused { .. })) { RETRY } else { Duration::ZERO }
}

impl Pods {
    pub(super) fn new(leader_pod_uid: String, budgets: Arc<Budgets>) -> Self {
        let (departure, policy, now) = (Departure::UNKNOWN, PodPolicy::default(), Timestamp::UNIX_EPOCH);
        Self {
            surroundings: Surroundings { leader_pod_uid, departure, policy, now },
            budgets,
            turns: Turns::default(),
            taken: HashMap::new(),
            by_uid: BTreeMap::new(),
            evicted_of: HashSet::new(),
            listing: HashSet::new(),
            behind: HashSet::new(),
            blocked_since: None,
            waits_told: Vec::new(),
        }
    }

    /// What the pods leave for.
    pub(super) fn departure(&self) -> Departure {
        self.surroundings.departure
    }

    /// What the pods are to leave for now, by which rules.
    pub(super) fn leave_for(&mut self, departure: Departure, policy: PodPolicy, now: Timestamp) {
        let surroundings = &mut self.surroundings;
        (surroundings.departure, surroundings.policy, surroundings.now) = (departure, policy, now);
        for tracked in self.by_uid.values_mut() {
            tracked.pod.held_by_budget =
                departure.last_call.is_some() && tracked.is_held_by_budget(&self.budgets, Instant::now());
        }
    }

    /// Takes in a pod as the API server shows it.
    pub(super) fn apply(&mut self, pod: &ApiPod) {
        let (standing, tolerates_cordon) = (pod_view::standing(pod), pod_view::tolerates_cordon(pod));
        let controller = pod_view::controller(pod).map(|owner| owner.uid.clone());
        let ending = pod_view::ending(pod);
        let Some(mut pod) = pod_view::read(pod) else { return };
        if let Some(tracked) = self.by_uid.get_mut(&pod.uid) {
            pod.came_back = tracked.pod.came_back;
            pod.held_by_budget = tracked.pod.held_by_budget;
            (tracked.pod, tracked.standing, tracked.ending) = (pod, standing, ending);
        } else {
            let is_anew = controller.as_ref().is_some_and(|controller| self.evicted_of.contains(controller));
            pod.came_back = tolerates_cordon && is_anew;
            let uid = pod.uid.clone();
            let mut tracked = Tracked::new(pod, controller, standing);
            tracked.ending = ending;
            self.by_uid.insert(uid, tracked);
        }
    }

    /// Forgets a pod that is gone.
    pub(super) fn delete(&mut self, pod: &ApiPod) {
        if let Some(uid) = &pod.metadata.uid {
            self.by_uid.remove(uid);
        }
    }

    /// The watch begins a list.
    pub(super) fn begin_list(&mut self) {
        self.listing.clear();
    }

    /// Takes in a pod of the watch's list.
    pub(super) fn apply_listed(&mut self, pod: &ApiPod) {
        self.listing.extend(pod.metadata.uid.clone());
        self.apply(pod);
    }

    /// The watch's list is whole: what it didn't show is gone, though no deletion was seen.
    pub(super) fn end_list(&mut self) {
        let listing = std::mem::take(&mut self.listing);
        self.by_uid.retain(|uid, _| listing.contains(uid));
    }

    /// Takes in a whole list: what it doesn't show is gone.
    pub(super) fn replace(&mut self, listed: &[ApiPod]) {
        self.by_uid.retain(|uid, _| listed.iter().any(|pod| pod.metadata.uid.as_ref() == Some(uid)));
        for pod in listed {
            self.apply(pod);
        }
    }

    /// The pods whose eviction is to be sent now, marked as on their way: first those behind budgets, which go a few at a
    /// time, and of the others those that may take longest to stop.
    pub(super) fn take_targets(&mut self, now: Instant) -> Vec<Target> {
        let judge = self.judge();
        let due = self.by_uid.values_mut().filter(|tracked| {
            judge(tracked) == Verdict::Evict
                && !tracked.in_flight
                && !tracked.evicted
                && tracked.due_at(&self.budgets).is_none_or(|at| at <= now)
        });
        let mut due: Vec<_> = due.map(|tracked| (tracked.budget(&self.budgets), tracked)).collect();
        due.sort_by_cached_key(|(budget, Tracked { pod, .. })| {
            (budget.is_none(), Reverse(pod.grace), pod.namespace.clone(), pod.name.clone())
        });
        let mut targets = Vec::new();
        for (budget, tracked) in due {
            if let Some((key, budget)) = budget {
                if !self.turns.take(&key, &budget, now) {
                    continue;
                }
                self.taken.insert(tracked.pod.uid.clone(), key);
            }
            tracked.in_flight = true;
            targets.push(tracked.target());
        }
        targets
    }

    /// The pods about whose evictions the API server is to be asked now, in a dry run.
    pub(super) fn take_questions(&mut self, now: Instant) -> Vec<Target> {
        let judge = self.judge();
        let due = self.by_uid.values_mut().filter(|tracked| {
            judge(tracked) == Verdict::Evict && tracked.ask_at().is_none_or(|at| at <= now)
        });
        let question = |tracked: &mut Tracked| {
            tracked.ask(now);
            tracked.target()
        };
        due.map(question).collect()
    }

    /// Notes what the API server would say to an eviction.
    pub(super) fn settle_question(&mut self, uid: &str, outcome: Option<&Outcome>, now: Instant) {
        if let Some(tracked) = self.by_uid.get_mut(uid) {
            tracked.settle_question(outcome, now);
        }
    }

    /// When the next eviction may be tried that can't be now, unless its budget opens before.
    pub(super) fn next_try(&self, now: Instant) -> Option<Instant> {
        let judge = self.judge();
        let waiting = self
            .by_uid
            .values()
            .filter(|tracked| !tracked.in_flight && !tracked.evicted)
            .filter(|tracked| judge(tracked) == Verdict::Evict);
        let next = |tracked: &Tracked| {
            let budget = tracked.budget(&self.budgets);
            let turn = budget.and_then(|(key, budget)| self.turns.next(&key, &budget, now));
            tracked.due_at(&self.budgets).max(turn)
        };
        // What is due by now has been taken, or waits for something that is heard of.
        waiting.filter_map(next).filter(|at| *at > now).min()
    }

    /// Notes what came of an eviction, and that the pod's next comes after `again_in`; `None` if it was not sent.
    pub(super) fn settle(&mut self, uid: &str, outcome: Option<&Outcome>, now: Instant, again_in: Duration) {
        let taken = self.taken.remove(uid);
        let took_turn = taken.is_some();
        match (taken, outcome) {
            (Some(key), Some(Outcome::Evicted)) => self.turns.accepted(&key, now),
            (Some(key), Some(Outcome::Refused { verdict: Verdict::BlockedByBudget, .. })) => {
                self.turns.refused(&key, now);
            }
            (Some(key), _) => self.turns.unsettled(&key, now),
            (None, _) => {}
        }
        if let Some(tracked) = self.by_uid.get_mut(uid) {
            // Where no turn was taken, nobody hears of what said no.
            let again_in = if took_turn { again_in } else { again_in.max(no_sooner(outcome)) };
            tracked.settle(outcome, now, again_in, took_turn, &self.budgets);
            if outcome == Some(&Outcome::Evicted) {
                self.evicted_of.extend(tracked.controller.clone());
            }
        }
    }

    /// Whether that is still to be done with the pod, as the watch shows it now.
    pub(super) fn is_wanted(&self, uid: &str, what: Verdict) -> bool {
        let judge = self.judge();
        self.by_uid.get(uid).is_some_and(|tracked| judge(tracked) == what)
    }

    /// What is done with each pod, as things stand.
    fn judge(&self) -> impl Fn(&Tracked) -> Verdict + use<> {
        let surroundings = self.surroundings.clone();
        let leaving = first_wave(self.by_uid.values().map(|tracked| &tracked.pod), &surroundings);
        move |tracked| classify(&tracked.pod, &surroundings, leaving)
    }

    fn count(&self, counts: impl Fn(Verdict) -> bool) -> usize {
        let judge = self.judge();
        self.by_uid.values().filter(|tracked| counts(judge(tracked))).count()
    }

    /// Pods that must leave and haven't.
    pub(super) fn must_leave(&self) -> usize {
        self.count(Verdict::must_leave)
    }

    /// Pods that this drain has evicted and that are still there, or may have.
    pub(super) fn evicted(&self, now: Instant) -> usize {
        let evicted = |tracked: &&Tracked| {
            tracked.evicted || tracked.in_flight || tracked.unknown_until.is_some_and(|until| until > now)
        };
        self.by_uid.values().filter(evicted).count()
    }

    /// Pods that are terminating, whoever asked for it: an earlier leader may have.
    pub(super) fn terminating(&self) -> usize {
        self.count(|verdict| verdict == Verdict::Terminating)
    }

    /// When what is known of a pod changes by time alone, while nothing is tried: an eviction without an answer can no
    /// longer land, a refusal counts no longer, a question is due again.
    pub(super) fn next_certainty(&self, now: Instant) -> Option<Instant> {
        self.by_uid.values().filter_map(|tracked| tracked.next_certainty(now)).min()
    }
}
