//! Whose turn it is behind a PodDisruptionBudget: budgets are watched, not tried.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::fleet::{BudgetKey, BudgetNow};

/// A budget that nothing is heard of is tried all the same so often: its watch may lag or be cut.
const BLIND: Duration = Duration::from_mins(1);

/// The evictions of one drain behind each budget.
#[derive(Debug, Default)]
pub(super) struct Turns {
    by_budget: HashMap<BudgetKey, Turn>,
}

#[derive(Debug, Default)]
struct Turn {
    /// The state of the budget that the rest is about.
    version: String,
    /// Evictions that it has let go since, or all that it may, where it has said no.
    spent: usize,
    in_flight: usize,
    /// When it is tried though it seems to allow nothing.
    blind_at: Option<Instant>,
}

impl Turns {
    /// Takes a turn behind `budget`, if there is one; [`Turns::accepted`], [`Turns::refused`] or
    /// [`Turns::unsettled`] gives it back.
    pub(super) fn take(&mut self, key: &BudgetKey, budget: &BudgetNow, now: Instant) -> bool {
        let turn = self.by_budget.entry(key.clone()).or_default();
        let taken = turn.has_room(budget, now);
        if turn.version != budget.version {
            turn.version.clone_from(&budget.version);
            turn.spent = 0;
        }
        turn.in_flight += usize::from(taken);
        taken
    }

    /// When the next turn behind `budget` comes if nothing is heard of it; `None` if there is one now.
    pub(super) fn next(&self, key: &BudgetKey, budget: &BudgetNow, now: Instant) -> Option<Instant> {
        let turn = self.by_budget.get(key).filter(|turn| !turn.has_room(budget, now))?;
        turn.blind_at
    }

    /// The budget let a pod go: its status will say so, a little later.
    pub(super) fn accepted(&mut self, key: &BudgetKey, now: Instant) {
        self.settle(key, now, |turn| turn.spent = turn.spent.saturating_add(1));
    }

    /// The budget said no, whatever its status seemed to say.
    pub(super) fn refused(&mut self, key: &BudgetKey, now: Instant) {
        self.settle(key, now, |turn| turn.spent = usize::MAX);
    }

    /// Nobody knows what the budget had to say.
    pub(super) fn unsettled(&mut self, key: &BudgetKey, now: Instant) {
        self.settle(key, now, |_| {});
    }

    fn settle(&mut self, key: &BudgetKey, now: Instant, note: impl FnOnce(&mut Turn)) {
        if let Some(turn) = self.by_budget.get_mut(key) {
            turn.in_flight = turn.in_flight.saturating_sub(1);
            turn.blind_at = Some(now + BLIND);
            note(turn);
        }
    }
}

impl Turn {
    fn has_room(&self, budget: &BudgetNow, now: Instant) -> bool {
        let spent = if self.version == budget.version { self.spent } else { 0 };
        let is_due_blindly = self.blind_at.is_none_or(|at| at <= now);
        self.in_flight < budget.budget.allowed.saturating_sub(spent).max(usize::from(is_due_blindly))
    }
}

#[cfg(test)]
mod tests {
    use mechanic_plan::{Budget, BudgetRule};

    use super::*;

    fn budget(version: &str, allowed: usize) -> BudgetNow {
        let budget = Budget {
            name: "cart".into(),
            rule: BudgetRule::MaxUnavailable("2".into()),
            always_allows_unready: false,
            is_counted: true,
            trouble: None,
            expected: 9,
            desired: 7,
            healthy: 7 + allowed,
            allowed,
            closed_since: None,
        };
        BudgetNow { budget, version: version.into() }
    }

    fn key() -> BudgetKey {
        ("shop".into(), "cart".into())
    }

    #[test]
    fn as_many_go_at_once_as_the_budget_allows() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let mut take = |budget: &BudgetNow| turns.take(&key(), budget, now);
        assert_eq!(
            [take(&budget("1", 2)), take(&budget("1", 2)), take(&budget("1", 2))],
            [true, true, false]
        );
    }

    #[test]
    fn what_went_counts_until_the_budget_is_seen_to_have_changed() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        assert!(turns.take(&key(), &budget("1", 1), now));
        turns.accepted(&key(), now);
        assert!(!turns.take(&key(), &budget("1", 1), now), "its status is behind");
        assert!(!turns.take(&key(), &budget("2", 0), now));
        assert!(turns.take(&key(), &budget("3", 1), now));
    }

    #[test]
    fn a_closed_budget_is_tried_once_and_then_once_a_minute() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let closed = budget("1", 0);
        assert!(turns.take(&key(), &closed, now));
        assert!(!turns.take(&key(), &closed, now), "one is on its way");
        turns.refused(&key(), now);
        assert!(!turns.take(&key(), &closed, now + BLIND / 2));
        assert_eq!(turns.next(&key(), &closed, now), Some(now + BLIND));
        assert_eq!(turns.next(&key(), &budget("2", 1), now), None, "it has opened");
        assert!(turns.take(&key(), &closed, now + BLIND));
        turns.refused(&key(), now + BLIND);
        assert!(turns.take(&key(), &budget("2", 1), now + BLIND), "at once when it opens");
    }

    #[test]
    fn a_no_counts_more_than_what_the_status_says() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        assert!(turns.take(&key(), &budget("1", 3), now));
        turns.refused(&key(), now);
        assert!(!turns.take(&key(), &budget("1", 3), now));
        assert!(turns.take(&key(), &budget("2", 3), now));
    }

    #[test]
    fn an_answer_that_never_came_gives_the_turn_back() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        assert!(turns.take(&key(), &budget("1", 1), now));
        turns.unsettled(&key(), now);
        assert!(turns.take(&key(), &budget("1", 1), now));
    }
}
