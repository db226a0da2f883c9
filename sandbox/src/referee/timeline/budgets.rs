//! What PodDisruptionBudgets had to say of a pod.

use jiff::Timestamp;
use kube::core::{Selector, SelectorExt as _};

use super::Timeline;
use crate::referee::history::PodSeen;
use crate::referee::promises::TAKES_EFFECT;

impl Timeline<'_> {
    /// A budget didn't let the pod go at that moment, or a little before: news takes its time.
    pub(in crate::referee) fn is_held_by_budget(&self, pod: &PodSeen, at: Timestamp) -> bool {
        let over = self.budgets.values().filter(|states| {
            states.last().is_some_and(|(_, budget)| {
                let selector = Selector::try_from(budget.selector.clone());
                budget.namespace == pod.namespace
                    && selector.is_ok_and(|selector| selector.matches(&pod.labels))
            })
        });
        let over: Vec<_> = over.collect();
        let closed = over.iter().any(|states| {
            let ends = states.iter().skip(1).map(|(from, _)| *from).chain([Timestamp::MAX]);
            let mut present = states
                .iter()
                .zip(ends)
                .filter(|((from, _), until)| *from <= at && *until >= at - TAKES_EFFECT);
            present.any(|((_, budget), _)| budget.healthy <= budget.desired)
        });
        // Of two budgets over one pod, neither can let it go.
        closed || over.len() > 1
    }
}
