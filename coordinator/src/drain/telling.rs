//! What is told of pods that are still there: on the pods themselves, and once for each reason on their node.

use std::hash::{DefaultHasher, Hash, Hasher};

use futures::{FutureExt as _, future::BoxFuture};
use mechanic_plan::{ReasonCode, Verdict};
use tokio::time::Instant;

use super::{
    pods::{DrainWaits, StillThere, Target},
    task::{Drain, DrainTarget, Shared, lock},
};
use crate::{
    events::{Subject, Telling},
    story::place_within_drain,
};

impl Drain {
    /// Tells why pods are still there, where that is news and the node is claimed.
    pub(super) fn tell_still_there(&self, pods: &Shared, now: Instant) -> Option<BoxFuture<'_, ()>> {
        self.departure()?;
        let claimed_at = self.instructions.borrow().claimed_at.clone()?;
        let (still_there, waits) = {
            let mut pods = lock(pods);
            let still_there = pods.take_still_there(now);
            if still_there.is_empty() {
                return None;
            }
            let waits = pods.take_waits(&still_there);
            (still_there, waits)
        };
        let tell = async move {
            self.tell_on_node(waits, &claimed_at).await;
            self.tell_on_pods(still_there, &claimed_at).await;
        };
        Some(tell.boxed())
    }

    /// Once for each reason under one claim, whichever leader tells it.
    async fn tell_on_node(&self, waits: Vec<DrainWaits>, claimed_at: &str) {
        let DrainTarget { node_name: name, node_uid: uid, .. } = &self.target;
        for DrainWaits { pod, others, verdict, detail } in waits {
            let more = match others {
                0 => String::new(),
                1 => " and another pod".to_owned(),
                others => format!(" and {others} other pods"),
            };
            let note = with_detail(format!("the drain waits for {pod}{more}: {verdict}"), &detail);
            let mut key = DefaultHasher::new();
            (uid, verdict.code(), claimed_at).hash(&mut key);
            let telling = Telling { place: place_within_drain(claimed_at), ..telling(verdict, note, &key) };
            self.events.publish(Subject::Node { name, uid }, telling).await;
        }
    }

    /// Once for each pod and reason under one claim, whichever leader tells it.
    async fn tell_on_pods(&self, pods: Vec<StillThere>, claimed_at: &str) {
        let DrainTarget { node_name, node_uid, .. } = &self.target;
        for StillThere { target, verdict, detail } in pods {
            let says = format!("node {node_name} is to be drained, and this pod is still there: {verdict}");
            let mut key = DefaultHasher::new();
            (&target.uid, verdict.code(), node_uid, claimed_at).hash(&mut key);
            self.publish(&target, telling(verdict, with_detail(says, &detail), &key)).await;
        }
    }

    pub(super) async fn tell(&self, target: &Target, code: ReasonCode, warning: bool, note: String) {
        self.publish(target, Telling { code, note, warning, key: None, place: String::new() }).await;
    }

    async fn publish(&self, Target { namespace, name, uid, .. }: &Target, telling: Telling) {
        self.events.publish(Subject::Pod { namespace, name, uid }, telling).await;
    }
}

fn telling(verdict: Verdict, note: String, key: &DefaultHasher) -> Telling {
    let warning = matches!(
        verdict,
        Verdict::BlockedByBudget | Verdict::BlockedForGood | Verdict::EvictionRefused | Verdict::Terminating
    );
    Telling { code: verdict.code(), note, warning, key: Some(key.finish()), place: String::new() }
}

fn with_detail(mut note: String, detail: &str) -> String {
    if !detail.is_empty() {
        note += ": ";
        note += detail;
    }
    note
}
