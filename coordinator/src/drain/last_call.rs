//! The last call of one pod, told before and after.

use std::time::Duration;

use mechanic_plan::{ReasonCode, Verdict};
use tokio::time::Instant;

use super::{
    answer::Outcome,
    pods::Target,
    task::{Drain, Shared, lock},
};
use crate::clock;

/// So long the Event before it may take: the pod has no time to lose.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

impl Drain {
    /// Deletes a pod that its budget holds, with the time that is left, and says so on the pod.
    pub(super) async fn call(&self, (target, times): (Target, u32), pods: Shared) {
        let node = self.target.node_name.as_str();
        let pod = format!("{}/{}", target.namespace, target.name);
        let grace = || lock(&pods).last_grace(clock::now().wall).unwrap_or_default().as_secs();
        let before = format!(
            "node {node} is about to be destroyed and a PodDisruptionBudget doesn't let this pod go: it is deleted, \
             with {} s to stop, before it would be lost with none",
            grace()
        );
        if times == 1 {
            let told = self.tell(&target, ReasonCode::LastCall, true, before);
            // Whether or not it could be told.
            let _ = tokio::time::timeout(TOLD_WITHIN, told).await;
        }
        let still_wanted = || {
            let pods = lock(&pods);
            let is_wanted = self.is_to_run() && pods.is_wanted(&target.uid, Verdict::LastCall);
            pods.last_grace(clock::now().wall).filter(|_| is_wanted)
        };
        let outcome = self.evictions.delete(node, &target, still_wanted).await;
        let is_news = lock(&pods).settle_last_call(&target.uid, outcome.as_ref(), Instant::now());
        let (failed, after) = match &outcome {
            Some(Outcome::Evicted) => {
                (false, format!("deleted from node {node}; it has {} s to stop", grace()))
            }
            Some(Outcome::Refused { detail, .. }) => {
                (true, format!("not deleted from node {node}: {detail}"))
            }
            Some(Outcome::Unknown(detail)) => {
                (true, format!("nobody knows whether it is deleted from node {node}: {detail}"))
            }
            Some(Outcome::Overloaded { .. }) => {
                (true, format!("not deleted from node {node} yet: the API server is overloaded"))
            }
            Some(Outcome::NotSent(why)) => (true, format!("not deleted from node {node}: {why}")),
            Some(Outcome::Gone) => (false, format!("it was gone from node {node} by itself")),
            None => (false, format!("not deleted from node {node}: there is no need any more")),
        };
        if is_news {
            let (event, epoch) = (self.event(), self.target.epoch);
            tracing::info!(node, event, epoch, pod, failed, "last call: {after}");
            self.tell(&target, ReasonCode::LastCallAnswered, failed, after).await;
        }
    }
}
