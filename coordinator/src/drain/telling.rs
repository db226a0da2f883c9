//! What is told on the pods themselves.

use std::hash::{DefaultHasher, Hash, Hasher};

use futures::{FutureExt as _, future::BoxFuture};
use mechanic_plan::{ReasonCode, Verdict};
use tokio::time::Instant;

use super::{
    pods::{StillThere, Target},
    task::{Drain, Shared, lock},
};
use crate::events::{Subject, Telling};

impl Drain {
    /// Tells why pods are still there, where that is news and the node is claimed.
    pub(super) fn tell_still_there(&self, pods: &Shared, now: Instant) -> Option<BoxFuture<'_, ()>> {
        self.departure()?;
        let claimed_at = self.instructions.borrow().claimed_at.clone()?;
        let still_there = lock(pods).take_still_there(now);
        (!still_there.is_empty()).then(|| self.tell_all(still_there, claimed_at).boxed())
    }

    /// Once for each pod and reason under one claim, whichever leader tells it.
    async fn tell_all(&self, pods: Vec<StillThere>, claimed_at: String) {
        for StillThere { target, verdict, detail } in pods {
            let code = verdict.code();
            let node_name = &self.target.node_name;
            let mut note =
                format!("node {node_name} is to be drained, and this pod is still there: {verdict}");
            if !detail.is_empty() {
                note += ": ";
                note += &detail;
            }
            let mut key = DefaultHasher::new();
            (&target.uid, code, &self.target.node_uid, &claimed_at).hash(&mut key);
            let warning = matches!(
                verdict,
                Verdict::BlockedByBudget
                    | Verdict::BlockedForGood
                    | Verdict::EvictionRefused
                    | Verdict::Terminating
            );
            let telling = Telling { code, note, warning, key: Some(key.finish()), place: String::new() };
            self.publish(&target, telling).await;
        }
    }

    pub(super) async fn tell(&self, target: &Target, code: ReasonCode, warning: bool, note: String) {
        self.publish(target, Telling { code, note, warning, key: None, place: String::new() }).await;
    }

    async fn publish(&self, Target { namespace, name, uid, .. }: &Target, telling: Telling) {
        self.events.publish(Subject::Pod { namespace, name, uid }, telling).await;
    }
}
