//! What PodDisruptionBudgets say of a pod: that it may go, that it must wait, or that it never may as things stand.

use std::fmt;

use crate::pods::Verdict;

/// A `PodDisruptionBudget`, as the API server decides by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// `metadata.name`.
    pub name: String,
    /// What its `spec` demands.
    pub rule: BudgetRule,
    /// `unhealthyPodEvictionPolicy: AlwaysAllow`: it has no say about pods that aren't Ready.
    pub always_allows_unready: bool,
    /// Its controller has counted it as it stands now.
    pub is_counted: bool,
    /// Why its controller can't count it.
    pub trouble: Option<String>,
    /// `status.expectedPods`.
    pub expected: usize,
    /// `status.desiredHealthy`.
    pub desired: usize,
    /// `status.currentHealthy`.
    pub healthy: usize,
    /// `status.disruptionsAllowed`.
    pub allowed: usize,
    /// Since when it has allowed none, as its controller wrote it.
    pub closed_since: Option<String>,
}

/// One of the two ways to write a budget; the value as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetRule {
    /// `maxUnavailable`.
    MaxUnavailable(String),
    /// `minAvailable`.
    MinAvailable(String),
}

impl BudgetRule {
    /// How many replicas more than `pods` would let one go; `None` where none would, or that depends on a share.
    fn replicas_wanted(&self, pods: usize) -> Option<usize> {
        match self {
            Self::MaxUnavailable(_) => None,
            Self::MinAvailable(value) => {
                value.parse::<usize>().ok().map(|least| (least + 1).saturating_sub(pods))
            }
        }
    }
}

impl fmt::Display for BudgetRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxUnavailable(value) => write!(f, "maxUnavailable: {value}"),
            Self::MinAvailable(value) => write!(f, "minAvailable: {value}"),
        }
    }
}

impl Budget {
    /// Pods that it lets go at once while all are healthy.
    #[must_use]
    pub fn allows_at_once(&self) -> usize {
        self.expected.saturating_sub(self.desired)
    }

    /// Whether it would let a pod go now, as the API server's `eviction.go` decides.
    #[must_use]
    pub fn lets_go(&self, is_ready: bool) -> bool {
        let is_no_loss = self.always_allows_unready || (self.desired > 0 && self.healthy >= self.desired);
        (!is_ready && is_no_loss) || (self.is_counted && self.allowed > 0)
    }
}

/// Why budgets let a pod not go now, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holdup {
    /// Slow: pods that count are on their way.
    TooFewReady {
        /// The budget.
        budget: String,
        /// Pods that are Ready.
        ready: usize,
        /// Pods that there should be.
        expected: usize,
        /// Pods that are to be Ready still, before one may go.
        missing: usize,
        /// Since when.
        since: Option<String>,
        /// The pod itself isn't Ready: it would go if its budget had no say about such pods.
        unready: bool,
    },
    /// Until its controller has looked at the budget as it stands.
    NotCounted {
        /// The budget.
        budget: String,
    },
    /// Never, while the budget's controller counts none of the pods that it selects.
    NoneIsCounted {
        /// The budget.
        budget: String,
        /// Its rule.
        rule: BudgetRule,
    },
    /// Never, while the budget allows no pod at all to be missing.
    NoneMayBeMissing {
        /// The budget.
        budget: String,
        /// Its rule.
        rule: BudgetRule,
        /// Pods that there are.
        pods: usize,
        /// The pod itself isn't Ready: it would go if its budget had no say about such pods.
        unready: bool,
    },
    /// Never, while the controller can't count the pods.
    CantBeCounted {
        /// The budget.
        budget: String,
        /// What the controller says.
        trouble: String,
    },
    /// Never, while more than one budget selects the pod: the API server evicts no such pod.
    SeveralBudgets(Vec<String>),
}

impl Holdup {
    /// What keeps a pod that is Ready or not, where `budgets` select it; `None` where it may go.
    #[must_use]
    pub fn of<'a>(is_ready: bool, budgets: impl IntoIterator<Item = &'a Budget>) -> Option<Self> {
        let budgets: Vec<&Budget> = budgets.into_iter().collect();
        let budget = match budgets[..] {
            [] => return None,
            [budget] => budget,
            _ => {
                let mut names: Vec<String> = budgets.iter().map(|budget| budget.name.clone()).collect();
                names.sort();
                return Some(Self::SeveralBudgets(names));
            }
        };
        let name = || budget.name.clone();
        if budget.lets_go(is_ready) {
            return None;
        }
        Some(if let Some(trouble) = &budget.trouble {
            Self::CantBeCounted { budget: name(), trouble: trouble.clone() }
        } else if !budget.is_counted {
            Self::NotCounted { budget: name() }
        } else if budget.expected == 0 {
            Self::NoneIsCounted { budget: name(), rule: budget.rule.clone() }
        } else if budget.allows_at_once() == 0 {
            let (rule, pods) = (budget.rule.clone(), budget.expected);
            Self::NoneMayBeMissing { budget: name(), rule, pods, unready: !is_ready }
        } else {
            Self::TooFewReady {
                budget: name(),
                ready: budget.healthy,
                expected: budget.expected,
                missing: (budget.desired + usize::from(is_ready)).saturating_sub(budget.healthy),
                since: budget.closed_since.clone(),
                unready: !is_ready,
            }
        })
    }

    /// What it makes of a pod that would be evicted.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::TooFewReady { .. } | Self::NotCounted { .. } => Verdict::BlockedByBudget,
            Self::NoneIsCounted { .. }
            | Self::NoneMayBeMissing { .. }
            | Self::CantBeCounted { .. }
            | Self::SeveralBudgets(_) => Verdict::BlockedForGood,
        }
    }
}

impl fmt::Display for Holdup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewReady { budget, ready, expected, missing, since, unready } => {
                write!(
                    f,
                    "{ready} of the {expected} pods of PodDisruptionBudget {budget} are Ready, {missing} more must be"
                )?;
                if let Some(since) = since {
                    write!(f, ", since {since}")?;
                }
                if *unready {
                    write!(
                        f,
                        "; this one isn't, and `unhealthyPodEvictionPolicy: AlwaysAllow` would let it go"
                    )?;
                }
                Ok(())
            }
            Self::NotCounted { budget } => {
                write!(
                    f,
                    "until the disruption controller has counted the pods of PodDisruptionBudget {budget}"
                )
            }
            Self::NoneIsCounted { budget, rule } => write!(
                f,
                "never, while PodDisruptionBudget {budget} with `{rule}` counts none of the pods that it selects: no controller manages them; a number as `minAvailable`, or a selector that leaves this one out, would let it go"
            ),
            Self::NoneMayBeMissing { budget, rule, pods, unready } => {
                write!(f, "never, while PodDisruptionBudget {budget} has `{rule}`")?;
                match (rule, rule.replicas_wanted(*pods)) {
                    (BudgetRule::MaxUnavailable(_), _) => write!(f, "; 1 would let it go"),
                    (BudgetRule::MinAvailable(_), Some(1)) => write!(
                        f,
                        " for {pods} pods; one replica more, or `maxUnavailable: 1` in its place, would let it go"
                    ),
                    (BudgetRule::MinAvailable(_), Some(more)) => write!(
                        f,
                        " for {pods} pods; {more} replicas more, or `maxUnavailable: 1` in its place, would let it go"
                    ),
                    (BudgetRule::MinAvailable(_), None) => {
                        write!(f, " for {pods} pods; `maxUnavailable: 1` in its place would let it go")
                    }
                }?;
                if *unready {
                    write!(
                        f,
                        "; this one isn't Ready, and `unhealthyPodEvictionPolicy: AlwaysAllow` would too"
                    )?;
                }
                Ok(())
            }
            Self::CantBeCounted { budget, trouble } => write!(
                f,
                "never, until what keeps the disruption controller from counting the pods of PodDisruptionBudget {budget} is mended: {trouble}"
            ),
            Self::SeveralBudgets(names) => write!(
                f,
                "never, while more than one PodDisruptionBudget selects it ({}): the API server evicts no such pod; a selector that leaves it to one of them would let it go",
                names.join(", ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(rule: BudgetRule, (expected, desired, healthy): (usize, usize, usize)) -> Budget {
        Budget {
            name: "cart".into(),
            rule,
            always_allows_unready: false,
            is_counted: true,
            trouble: None,
            expected,
            desired,
            healthy,
            allowed: healthy.saturating_sub(desired),
            closed_since: Some("2026-11-23T12:00:00Z".into()),
        }
    }

    fn max(value: &str) -> BudgetRule {
        BudgetRule::MaxUnavailable(value.into())
    }

    fn min(value: &str) -> BudgetRule {
        BudgetRule::MinAvailable(value.into())
    }

    fn says(is_ready: bool, budgets: &[Budget]) -> Option<(Verdict, String)> {
        Holdup::of(is_ready, budgets).map(|holdup| (holdup.verdict(), holdup.to_string()))
    }

    #[test]
    fn slow_says_how_many_are_missing_and_since_when() {
        assert_eq!(says(true, &[]), None);
        assert_eq!(says(true, &[budget(max("1"), (5, 4, 5))]), None);
        let (verdict, sentence) = says(true, &[budget(max("1"), (5, 4, 3))]).unwrap();
        assert_eq!(verdict, Verdict::BlockedByBudget);
        assert_eq!(
            sentence,
            "3 of the 5 pods of PodDisruptionBudget cart are Ready, 2 more must be, since 2026-11-23T12:00:00Z"
        );
    }

    #[test]
    fn never_is_known_from_the_budget_alone_and_says_what_frees_the_pod() {
        for (budget, part) in [
            (budget(max("0"), (5, 5, 5)), "`maxUnavailable: 0`; 1 would"),
            (budget(max("0%"), (5, 5, 4)), "`maxUnavailable: 0%`"),
            (budget(min("3"), (3, 3, 3)), "`minAvailable: 3` for 3 pods; one replica more"),
            (
                budget(min("100%"), (3, 3, 3)),
                "`minAvailable: 100%` for 3 pods; `maxUnavailable: 1` in its place",
            ),
            (budget(min("1"), (1, 1, 1)), "`minAvailable: 1` for 1 pods; one replica more"),
            (budget(min("4"), (3, 4, 3)), "`minAvailable: 4` for 3 pods; 2 replicas more"),
            (budget(max("1"), (0, 0, 0)), "counts none of the pods"),
        ] {
            let (verdict, sentence) = says(true, std::slice::from_ref(&budget)).unwrap();
            assert_eq!(verdict, Verdict::BlockedForGood, "{sentence}");
            assert!(sentence.starts_with("never") && sentence.contains(part), "{sentence}");
        }
        let crashing = budget(min("1"), (1, 1, 0));
        let (_, sentence) = says(false, &[crashing]).unwrap();
        assert!(sentence.contains("AlwaysAllow"), "{sentence}");
        let uncountable = Budget { trouble: Some("no controller".into()), ..budget(max("1"), (0, 0, 0)) };
        assert_eq!(says(true, &[uncountable]).unwrap().0, Verdict::BlockedForGood);
        let two = [Budget { name: "web".into(), ..budget(max("1"), (5, 4, 5)) }, budget(max("1"), (5, 4, 5))];
        let (verdict, sentence) = says(false, &two).unwrap();
        assert_eq!(verdict, Verdict::BlockedForGood);
        assert!(sentence.contains("(cart, web)"), "{sentence}");
    }

    #[test]
    fn a_budget_that_was_changed_is_waited_for_until_it_is_counted() {
        let stale = Budget { is_counted: false, ..budget(max("1"), (5, 4, 5)) };
        let (verdict, sentence) = says(true, &[stale]).unwrap();
        assert_eq!(verdict, Verdict::BlockedByBudget);
        assert!(sentence.starts_with("until"), "{sentence}");
    }

    #[test]
    fn a_pod_that_is_not_ready_goes_where_the_others_are_enough_or_the_budget_has_no_say() {
        assert_eq!(says(false, &[budget(max("1"), (5, 4, 4))]), None, "it is no loss");
        let (verdict, sentence) = says(false, &[budget(max("1"), (5, 4, 2))]).unwrap();
        assert_eq!(verdict, Verdict::BlockedByBudget);
        assert!(sentence.contains("2 more") && sentence.contains("AlwaysAllow"), "{sentence}");
        let lenient = Budget { always_allows_unready: true, ..budget(max("0"), (5, 5, 2)) };
        assert_eq!(says(false, &[lenient]), None);
    }
}
