//! What is told of the pods: to the plan, and by it to people.

use std::collections::HashSet;

use mechanic_plan::{BudgetOverPod, DrainProgress, DrainStage, Pod, PodReport, Surroundings, Verdict};
use tokio::time::Instant;

use super::{Pods, Tracked};
use crate::{clock, fleet::BudgetKey};

const WOULD_GO: &str = "in a dry run; the API server would evict it now";

pub(in crate::drain) const ALL_THE_SAME: &str =
    "though it asks not to be moved: its machine goes away, or policy says so";

impl Pods {
    /// Whether one of them is behind that budget.
    pub(in crate::drain) fn is_behind(&self, budget: &BudgetKey) -> bool {
        self.behind.contains(budget)
    }

    /// How the drain goes; the node's own pods are no part of it.
    pub(in crate::drain) fn progress(&mut self, listed: bool, stage: DrainStage) -> DrainProgress {
        let now = Instant::now();
        let mut progress = DrainProgress {
            listed,
            pods: self.reports(stage == DrainStage::Evicting, now),
            stage,
            evicted: self.evicted(now),
            terminating: self.terminating(),
            blocked_since: self.blocked_since,
        };
        self.blocked_since =
            progress.is_blocked().then(|| self.blocked_since.unwrap_or_else(clock::monotonic));
        progress.blocked_since = self.blocked_since;
        progress
    }

    fn reports(&mut self, tries: bool, now: Instant) -> Vec<PodReport> {
        let judge = self.judge();
        let Surroundings { policy, departure, .. } = &self.surroundings;
        let mut behind = HashSet::new();
        let report = |tracked: &Tracked| {
            let Pod { namespace, name, grace, .. } = tracked.pod.clone();
            let budgets = self.budgets.over(&namespace, &tracked.pod.labels);
            behind.extend(budgets.iter().map(|now| (namespace.clone(), now.budget.name.clone())));
            let (verdict, detail) = match judge(tracked) {
                Verdict::Evict => {
                    // What was asked in a dry run says nothing once evictions are sent.
                    let asked = match (!tries && tracked.would_go(), tracked.pod.asks_to_stay) {
                        (true, _) => WOULD_GO,
                        (false, true) => ALL_THE_SAME,
                        (false, false) => "",
                    };
                    let kept_by = tracked.kept_by(&budgets, &self.turns, tries, now);
                    kept_by.unwrap_or((Verdict::Evict, asked.to_owned()))
                }
                Verdict::LastCall => {
                    (Verdict::LastCall, tracked.last_call.refused.clone().unwrap_or_default())
                }
                Verdict::Terminating => (Verdict::Terminating, tracked.ending.clone().unwrap_or_default()),
                verdict => {
                    (verdict, policy.kept_by(&tracked.pod, departure.worst, verdict).unwrap_or_default())
                }
            };
            let budget = match budgets.as_slice() {
                [now] => Some(BudgetOverPod {
                    name: now.budget.name.clone(),
                    allows_at_once: now.budget.allows_at_once(),
                }),
                _ => None,
            };
            PodReport { namespace, name, verdict, detail, grace, budget }
        };
        let reports: Vec<PodReport> = self.by_uid.values().map(report).collect();
        for (tracked, report) in self.by_uid.values_mut().zip(&reports) {
            tracked.kept.note(report.verdict, &report.detail, now);
        }
        self.behind = behind;
        reports.into_iter().filter(|report| !report.verdict.is_part_of_node()).collect()
    }
}
