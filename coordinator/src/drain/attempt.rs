//! One eviction of one pod: sent, answered, noted.

use std::time::Duration;

use mechanic_plan::{ReasonCode, Verdict};
use tokio::time::Instant;

use super::{
    answer::{Outcome, RETRY, RETRY_UNKNOWN},
    clean_lists::BETWEEN_LISTS,
    pods::{ALL_THE_SAME, Target},
    task::{Drain, Shared, lock},
};

impl Drain {
    /// Evicts one pod, and notes what came of it.
    pub(super) async fn evict(&self, target: Target, pods: Shared) {
        let Target { namespace, name, uid, asks_to_stay } = &target;
        let still_wanted = || self.is_to_run() && lock(&pods).is_wanted(uid, Verdict::Evict);
        let (node, epoch) = (self.target.node_name.as_str(), self.target.epoch);
        let urgent = lock(&pods).departure().urgent;
        let outcome = self.evictions.evict(node, &target, urgent, still_wanted).await;
        if let Some(outcome) = &outcome {
            self.metrics.evicted(outcome.result());
        }
        let (event, pod) = (self.event(), format!("{namespace}/{name}"));
        let again_in = match &outcome {
            Some(Outcome::Evicted) => {
                tracing::info!(node, event, epoch, pod, "evicted");
                Duration::ZERO
            }
            Some(Outcome::Refused { detail, again_in, .. }) => {
                tracing::info!(node, event, epoch, pod, detail, "eviction refused");
                // Pods of one budget don't come back in step.
                again_in.mul_f64(rand::random_range(0.8..1.2))
            }
            Some(Outcome::Unknown(detail)) => {
                tracing::warn!(node, event, epoch, pod, detail, "no answer to an eviction");
                // The watch may lag: whether it was accepted is asked before it is sent again.
                if let Ok(listed) = self.list().await {
                    lock(&pods).replace(&listed);
                }
                RETRY_UNKNOWN
            }
            Some(Outcome::Overloaded { again_in }) => {
                tracing::warn!(node, event, epoch, "the API server sheds load; all evictions wait");
                *again_in
            }
            Some(Outcome::NotSent(why)) => {
                tracing::warn!(node, event, epoch, why, "eviction not sent");
                BETWEEN_LISTS
            }
            Some(Outcome::Gone) => RETRY,
            None => BETWEEN_LISTS,
        };
        lock(&pods).settle(uid, outcome.as_ref(), Instant::now(), again_in);
        if outcome == Some(Outcome::Evicted) {
            let says = if *asks_to_stay {
                Some(format!("evicted from node {node}, {ALL_THE_SAME}"))
            } else {
                // Whoever reads what kept it may wonder how that ended.
                lock(&pods).is_told_of(uid).then(|| format!("evicted from node {node} at last"))
            };
            if let Some(says) = says {
                self.tell(&target, ReasonCode::Evict, false, says).await;
            }
        }
    }

    /// Asks about the eviction of one pod, in a dry run.
    pub(super) async fn ask(&self, target: Target, pods: Shared) {
        let outcome = self.evictions.ask(&target).await;
        lock(&pods).settle_question(&target.uid, outcome.as_ref(), Instant::now());
    }
}
