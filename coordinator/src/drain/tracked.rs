//! One pod of the node that is being drained: what it is, what has been tried with it, and what keeps it.

use std::{sync::Arc, time::Duration};

use mechanic_plan::{Holdup, Pod, Verdict};
use tokio::time::Instant;

use super::{
    evict::{LANDS_WITHIN, Outcome},
    pod_view::Standing,
    pods::Target,
    turns::Turns,
};
use crate::fleet::{BudgetKey, BudgetNow, Budgets};

/// What is refused again and again is asked at longer and longer intervals, up to this.
const SELDOM: Duration = Duration::from_mins(1);
/// In a dry run the API server is asked so often about each pod.
const ASK_EVERY: Duration = COUNTS_FOR;
/// A refusal that nobody can see the end of counts for so long where nothing is tried meanwhile.
const COUNTS_FOR: Duration = Duration::from_mins(5);

#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) pod: Pod,
    /// UID of its controller.
    pub(super) controller: Option<String>,
    pub(super) standing: Standing,
    /// An eviction was accepted, or a last call.
    pub(super) evicted: bool,
    /// One of these is on its way.
    pub(super) in_flight: bool,
    refusal: Option<Refusal>,
    /// How often in a row.
    refusals: u32,
    /// In a dry run: when the API server was asked last, and whether it would evict.
    asked: Option<(Instant, bool)>,
    /// No eviction is sent before.
    pub(super) not_before: Option<Instant>,
    /// When its last call was sent, and why it came to nothing.
    pub(super) last_call: Option<(Instant, Option<String>)>,
    /// An eviction without an answer may land until then.
    pub(super) unknown_until: Option<Instant>,
}

#[derive(Debug)]
struct Refusal {
    verdict: Verdict,
    detail: String,
    at: Instant,
}

impl Tracked {
    pub(super) fn new(pod: Pod, controller: Option<String>, standing: Standing) -> Self {
        Self {
            pod,
            controller,
            standing,
            evicted: false,
            in_flight: false,
            refusal: None,
            refusals: 0,
            asked: None,
            not_before: None,
            last_call: None,
            unknown_until: None,
        }
    }

    /// Notes what came of its eviction, and that the next comes after `again_in`; `None` if it was not sent.
    pub(super) fn settle(&mut self, outcome: Option<&Outcome>, now: Instant, again_in: Duration) {
        self.in_flight = false;
        let again_at = now + again_in;
        match outcome {
            // The watch takes away what is gone.
            Some(Outcome::Evicted | Outcome::Gone) => {
                self.evicted = true;
                self.refusal = None;
            }
            Some(Outcome::Refused { verdict, detail, .. }) => {
                self.refusal = Some(Refusal { verdict: *verdict, detail: detail.clone(), at: now });
                // A budget says itself when it is worth asking again.
                let doublings = if *verdict == Verdict::BlockedByBudget { 0 } else { self.refusals.min(6) };
                self.refusals += 1;
                self.not_before = Some(now + again_in.max((again_in * 2_u32.pow(doublings)).min(SELDOM)));
            }
            Some(Outcome::Unknown(detail)) => {
                let (verdict, detail) = (Verdict::EvictionRefused, detail.clone());
                self.refusal = Some(Refusal { verdict, detail, at: now });
                self.not_before = Some(again_at);
                self.unknown_until = Some(again_at + LANDS_WITHIN);
            }
            Some(Outcome::NotSent(_)) | None => self.not_before = Some(again_at),
        }
    }

    /// When the API server is to be asked about it again, in a dry run.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        self.asked.map(|(at, _)| at + ASK_EVERY)
    }

    /// It is being asked.
    pub(super) fn ask(&mut self, now: Instant) {
        self.asked = Some((now, false));
    }

    /// What the API server would say to its eviction.
    pub(super) fn settle_question(&mut self, outcome: Option<&Outcome>, now: Instant) {
        self.asked = Some((now, outcome == Some(&Outcome::Evicted)));
        self.refusal = match outcome {
            Some(Outcome::Refused { verdict, detail, .. }) => {
                Some(Refusal { verdict: *verdict, detail: detail.clone(), at: now })
            }
            _ => None,
        };
    }

    /// Whether the API server said yes to the question.
    pub(super) fn would_go(&self) -> bool {
        self.asked.is_some_and(|(_, yes)| yes)
    }

    /// What is sent to the API server.
    pub(super) fn target(&self) -> Target {
        let Pod { namespace, name, uid, .. } = &self.pod;
        Target { namespace: namespace.clone(), name: name.clone(), uid: uid.clone() }
    }

    /// The budget that has a say in its eviction, if exactly one has.
    pub(super) fn budget(&self, budgets: &Budgets) -> Option<(BudgetKey, Arc<BudgetNow>)> {
        let namespace = &self.pod.namespace;
        let mut over = budgets.over(namespace, &self.pod.labels).into_iter();
        let budget = over.next().filter(|_| self.standing == Standing::Ready && over.next().is_none())?;
        Some(((namespace.clone(), budget.budget.name.clone()), budget))
    }

    /// Whether a budget lets it not go now, as far as can be seen or was said.
    pub(super) fn is_held_by_budget(&self, budgets: &Budgets) -> bool {
        let over = budgets.over(&self.pod.namespace, &self.pod.labels);
        let seen = Holdup::of(self.standing == Standing::Ready, over.iter().map(|now| &now.budget)).is_some();
        let was_said =
            self.refusal.as_ref().is_some_and(|refusal| refusal.verdict == Verdict::BlockedByBudget);
        self.standing != Standing::Pending && (seen || was_said)
    }

    /// What keeps a pod that would be evicted, and what would help. `tries` says that evictions are being sent.
    pub(super) fn kept_by(
        &self,
        budgets: &[Arc<BudgetNow>],
        turns: &Turns,
        tries: bool,
        now: Instant,
    ) -> Option<(Verdict, String)> {
        if self.evicted {
            return None;
        }
        let asked = budgets.iter().filter(|_| self.standing != Standing::Pending).map(|now| &now.budget);
        if let Some(holdup) = Holdup::of(self.standing == Standing::Ready, asked) {
            return Some((holdup.verdict(), holdup.to_string()));
        }
        let refusal = self.refusal.as_ref()?;
        let counts = match (budgets, refusal.verdict) {
            // Its budget is seen to be open: it said no before, or is about to be seen closed.
            ([budget], Verdict::BlockedByBudget) => {
                let key = (self.pod.namespace.clone(), budget.budget.name.clone());
                turns.next(&key, budget, now).is_some()
            }
            _ => tries || now < refusal.at + COUNTS_FOR,
        };
        counts.then(|| (refusal.verdict, refusal.detail.clone()))
    }

    /// When what is known of it changes by time alone, while nothing is tried.
    pub(super) fn next_certainty(&self, now: Instant) -> Option<Instant> {
        let forgets = self.refusal.as_ref().map(|refusal| refusal.at + COUNTS_FOR);
        [self.unknown_until, forgets, self.ask_at()].into_iter().flatten().filter(|at| *at > now).min()
    }
}
