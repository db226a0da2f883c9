//! One pod of the node that is being drained: what it is, what has been tried with it, and what keeps it.

use std::{sync::Arc, time::Duration};

use mechanic_plan::{Holdup, Pod, Verdict};
use tokio::time::Instant;

use super::{
    answer::{LANDS_WITHIN, Outcome},
    pod_view::Standing,
    pods::{Kept, Target},
    turns::Turns,
};
use crate::fleet::{BudgetKey, BudgetNow, Budgets};

/// What is refused again and again is asked at longer and longer intervals, up to this.
const SELDOM: Duration = Duration::from_mins(1);
/// In a dry run the API server is asked so often about each pod.
const ASK_EVERY: Duration = COUNTS_FOR;
/// What a budget has said holds until its status can be seen.
const WAS_JUST_SAID: Duration = Duration::from_secs(10);
/// A refusal that nobody can see the end of counts for so long where nothing is tried meanwhile.
const COUNTS_FOR: Duration = Duration::from_mins(5);

#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) pod: Pod,
    /// UID of its controller.
    pub(super) controller: Option<String>,
    pub(super) standing: Standing,
    /// By when it was to be gone, and what may keep it, once it is terminating.
    pub(super) ending: Option<String>,
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
    pub(super) last_call: LastCallTried,
    /// An eviction without an answer may land until then.
    pub(super) unknown_until: Option<Instant>,
    pub(super) kept: Kept,
}

#[derive(Debug)]
struct Refusal {
    verdict: Verdict,
    detail: String,
    at: Instant,
    /// Of the budget that said so, as it was seen then.
    budget_version: Option<String>,
}

/// What came of last calls for a pod.
#[derive(Debug, Default)]
pub(super) struct LastCallTried {
    /// When the last was sent.
    pub(super) at: Option<Instant>,
    pub(super) times: u32,
    /// Why it came to nothing.
    pub(super) refused: Option<String>,
}

impl Tracked {
    pub(super) fn new(pod: Pod, controller: Option<String>, standing: Standing) -> Self {
        Self {
            pod,
            controller,
            standing,
            ending: None,
            evicted: false,
            in_flight: false,
            refusal: None,
            refusals: 0,
            asked: None,
            not_before: None,
            last_call: LastCallTried::default(),
            unknown_until: None,
            kept: Kept::default(),
        }
    }

    /// Notes what came of its eviction, and that the next comes after `again_in`; `None` if it was not sent. `took_turn` says
    /// that it went behind a budget, which says itself when it is worth asking again.
    pub(super) fn settle(
        &mut self,
        outcome: Option<&Outcome>,
        now: Instant,
        again_in: Duration,
        took_turn: bool,
        budgets: &Budgets,
    ) {
        self.in_flight = false;
        let budget_version = self.only_budget(budgets).map(|budget| budget.version.clone());
        let seldom = |refusals: u32| again_in.max((again_in * 2_u32.pow(refusals.min(6))).min(SELDOM));
        match outcome {
            Some(Outcome::Evicted) => {
                self.evicted = true;
                self.refusal = None;
            }
            Some(Outcome::Refused { verdict, detail, .. }) => {
                let (verdict, detail) = (*verdict, detail.clone());
                self.refusal = Some(Refusal { verdict, detail, at: now, budget_version });
                let is_watched = took_turn && verdict == Verdict::BlockedByBudget;
                self.not_before = Some(now + if is_watched { again_in } else { seldom(self.refusals) });
                self.refusals += 1;
            }
            Some(Outcome::Unknown(detail)) => {
                let (verdict, detail) = (Verdict::EvictionRefused, detail.clone());
                self.refusal = Some(Refusal { verdict, detail, at: now, budget_version });
                self.not_before = Some(now + seldom(self.refusals));
                self.unknown_until = Some(now + LANDS_WITHIN);
                self.refusals += 1;
            }
            // The watch takes away what is gone; an overload says nothing of the pod.
            Some(Outcome::Gone | Outcome::Overloaded { .. } | Outcome::NotSent(_)) | None => {
                self.not_before = Some(now + again_in);
            }
        }
    }

    /// When its eviction may be sent, turns behind a budget apart; `None` is at once.
    pub(super) fn due_at(&self, budgets: &Budgets) -> Option<Instant> {
        let budget = self.only_budget(budgets).filter(|_| self.standing == Standing::NotReady);
        let refused = self.refusal.as_ref().filter(|refusal| refusal.verdict == Verdict::BlockedByBudget);
        // No turns are kept for a pod that isn't Ready: it goes as soon as the others are enough.
        let (Some(budget), Some(refused)) = (budget, refused) else { return self.not_before };
        if !budget.budget.lets_go(false) {
            return Some(refused.at + SELDOM);
        }
        let is_unchanged = refused.budget_version.as_ref() == Some(&budget.version);
        self.not_before.filter(|_| is_unchanged)
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
                let (verdict, detail) = (*verdict, detail.clone());
                Some(Refusal { verdict, detail, at: now, budget_version: None })
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
        let Pod { namespace, name, uid, asks_to_stay, .. } = &self.pod;
        Target {
            namespace: namespace.clone(),
            name: name.clone(),
            uid: uid.clone(),
            asks_to_stay: *asks_to_stay,
        }
    }

    /// The budget behind which it takes a turn, if exactly one has a say in its eviction.
    pub(super) fn budget(&self, budgets: &Budgets) -> Option<(BudgetKey, Arc<BudgetNow>)> {
        let budget = self.only_budget(budgets).filter(|_| self.standing == Standing::Ready)?;
        Some(((self.pod.namespace.clone(), budget.budget.name.clone()), budget))
    }

    /// The budget that selects it, if exactly one does.
    fn only_budget(&self, budgets: &Budgets) -> Option<Arc<BudgetNow>> {
        let mut over = budgets.over(&self.pod.namespace, &self.pod.labels).into_iter();
        over.next().filter(|_| over.next().is_none())
    }

    /// Whether a budget lets it not go now, as far as can be seen or has just been said.
    pub(super) fn is_held_by_budget(&self, budgets: &Budgets, now: Instant) -> bool {
        let over = budgets.over(&self.pod.namespace, &self.pod.labels);
        let seen = Holdup::of(self.standing == Standing::Ready, over.iter().map(|now| &now.budget)).is_some();
        let was_said = self.refusal.as_ref().is_some_and(|refusal| {
            refusal.verdict == Verdict::BlockedByBudget && now < refusal.at + WAS_JUST_SAID
        });
        self.standing != Standing::Ignored && (seen || was_said)
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
        let asked = budgets.iter().filter(|_| self.standing != Standing::Ignored).map(|now| &now.budget);
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
