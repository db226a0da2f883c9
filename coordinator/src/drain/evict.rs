//! One eviction, and what the API server's answer means.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::{core::v1::Pod, policy::v1::Eviction},
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, Preconditions},
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    core::{ObjectMeta, Status},
};
use mechanic_plan::Verdict;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use super::pods::Target;
use crate::gate::{Gate, Intent, WriteError};

/// Evictions that may be on their way at once, over all nodes, ten in all: the most that a leader which has lost its
/// Lease can still have applied late.
const IN_FLIGHT: usize = 7;
/// So many of them only where there is no time left: what is slow elsewhere, such as a webhook, must not hold those up.
const IN_FLIGHT_URGENT: usize = 3;

/// After another no.
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// After a budget's no: what it allows is watched, and may have changed since.
const RETRY_BUDGET: Duration = Duration::from_secs(1);
/// Where an API server that sheds load doesn't say itself for how long.
const RETRY_OVERLOAD: Duration = Duration::from_secs(1);
const LONGEST_SLOWDOWN: Duration = Duration::from_secs(30);
/// After an answer that didn't come, the watch is given this long to show what happened.
pub(super) const RETRY_UNKNOWN: Duration = Duration::from_secs(2);
/// An eviction without an answer may land so late: a stalled API server has applied them after 17 s.
pub(super) const LANDS_WITHIN: Duration = Duration::from_secs(30);

/// Sends evictions.
#[derive(Clone)]
pub(crate) struct Evictions {
    client: Client,
    gate: Gate,
    in_flight: Arc<Semaphore>,
    in_flight_urgent: Arc<Semaphore>,
    slowdown: Arc<Mutex<Slowdown>>,
}

/// What came of one eviction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Accepted: the pod is on its way out.
    Evicted,
    /// The pod we meant is gone.
    Gone,
    /// No; why, and when to ask again.
    Refused { verdict: Verdict, detail: String, again_in: Duration },
    /// The API server sheds load; nothing was said of the pod. All evictions wait.
    Overloaded { again_in: Duration },
    /// No answer came: it may have been accepted, or may yet be.
    Unknown(String),
    /// This process doesn't lead, or was told not to; nothing was sent.
    NotSent(String),
}

impl Evictions {
    /// `client` must not retry by itself: it would hide what a PodDisruptionBudget says.
    pub(crate) fn new(client: Client, gate: Gate) -> Self {
        Self {
            client,
            gate,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            in_flight_urgent: Arc::new(Semaphore::new(IN_FLIGHT_URGENT)),
            slowdown: Arc::default(),
        }
    }

    /// Waits for a place among the evictions on their way, and for as long as the API server wants to be left alone.
    async fn room(&self, urgent: bool) -> Option<SemaphorePermit<'_>> {
        // Neither is ever closed.
        let room = if urgent {
            tokio::select! {
                room = self.in_flight.acquire() => room.ok()?,
                room = self.in_flight_urgent.acquire() => room.ok()?,
            }
        } else {
            self.in_flight.acquire().await.ok()?
        };
        while let Some(until) = self.wait_until() {
            tokio::time::sleep_until(until).await;
        }
        Some(room)
    }

    fn wait_until(&self) -> Option<Instant> {
        self.slowdown().until.filter(|until| *until > Instant::now())
    }

    fn slowdown(&self) -> MutexGuard<'_, Slowdown> {
        self.slowdown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the answer is, and what it means for all others.
    fn settle<T>(&self, written: Result<T, WriteError>) -> Outcome {
        let outcome = answer(written);
        self.slowdown().heed(&outcome, Instant::now());
        outcome
    }

    /// Waits for room, asks `still_wanted` once more, and evicts the pod of that UID from `node`.
    pub(super) async fn evict(
        &self,
        node: &str,
        target: &Target,
        urgent: bool,
        still_wanted: impl FnOnce() -> bool,
    ) -> Option<Outcome> {
        let _room = self.room(urgent).await?;
        if !still_wanted() {
            return None;
        }
        Some(self.send(Intent::Evict(node), target).await)
    }

    /// Asks what the API server would say to that eviction, in a dry run; nothing changes, budgets included.
    pub(super) async fn ask(&self, target: &Target) -> Option<Outcome> {
        let _room = self.room(false).await?;
        Some(self.send(Intent::Ask, target).await)
    }

    /// Waits for room, asks `still_wanted` once more, and deletes the pod of that UID: it gets so much time to stop.
    pub(super) async fn delete(
        &self,
        node: &str,
        Target { namespace, name, uid, .. }: &Target,
        still_wanted: impl FnOnce() -> Option<Duration>,
    ) -> Option<Outcome> {
        let _room = self.room(true).await?;
        let grace = still_wanted()?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let parameters = DeleteParams {
            grace_period_seconds: Some(u32::try_from(grace.as_secs()).unwrap_or(u32::MAX)),
            preconditions: Some(kube::api::Preconditions { uid: Some(uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        Some(self.settle(self.gate.write(Intent::Evict(node), pods.delete(name, &parameters)).await))
    }

    async fn send(&self, intent: Intent<'_>, Target { namespace, name, uid, .. }: &Target) -> Outcome {
        // kube's own evict() sends deleteOptions under a name that the API server ignores.
        let eviction = Eviction {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            delete_options: Some(delete_options(uid)),
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let parameters = PostParams { dry_run: intent == Intent::Ask, ..PostParams::default() };
        let request = pods.create_subresource::<Eviction, Status>("eviction", name, &parameters, &eviction);
        self.settle(self.gate.write(intent, request).await)
    }
}

fn answer<T>(written: Result<T, WriteError>) -> Outcome {
    match written {
        Ok(_) => Outcome::Evicted,
        Err(error @ (WriteError::NotLeading(_) | WriteError::HeldBack(_))) => {
            Outcome::NotSent(error.to_string())
        }
        Err(WriteError::Refused(status)) => outcome(&status),
        Err(WriteError::Unknown(detail)) => Outcome::Unknown(detail),
    }
}

fn delete_options(uid: &str) -> DeleteOptions {
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    DeleteOptions { preconditions: Some(preconditions), ..DeleteOptions::default() }
}

/// Reads a refusal. A 429 alone says nothing: budgets, webhooks and an overloaded server all use it.
fn outcome(status: &Status) -> Outcome {
    let details = status.details.as_ref();
    let kind = details.map_or("", |details| details.kind.as_str());
    let caused_by = |reason: &str| {
        details.into_iter().flat_map(|details| &details.causes).any(|cause| cause.reason == reason)
    };
    let says = &status.message;
    let refused = |verdict, detail: String, again_in| Outcome::Refused { verdict, detail, again_in };
    let asked_to_wait = details.map_or(0, |details| details.retry_after_seconds);
    let after =
        |least: Duration| least.max(Duration::from_secs(asked_to_wait.into())).min(Duration::from_mins(1));
    match status.code {
        // Webhooks and admission policies choose their code themselves; the API server adds these words.
        _ if is_denial(says) => {
            refused(Verdict::BlockedForGood, format!("never, while {says}"), after(RETRY))
        }
        404 => Outcome::Gone,
        409 if kind != "poddisruptionbudgets" && says.contains("UID in the precondition") => Outcome::Gone,
        429 if caused_by("DisruptionBudget") => {
            refused(Verdict::BlockedByBudget, says.clone(), after(RETRY_BUDGET))
        }
        429 => Outcome::Overloaded { again_in: after(RETRY_OVERLOAD) },
        500 if says.contains("more than one PodDisruptionBudget") => {
            refused(Verdict::BlockedForGood, format!("never, as things stand: {says}"), after(RETRY))
        }
        403 if caused_by("NamespaceTerminating") => refused(
            Verdict::EvictionRefused,
            "until its namespace is gone, and it with that".into(),
            after(RETRY),
        ),
        _ if says.contains("failed calling webhook") => {
            refused(Verdict::EvictionRefused, format!("until the webhook answers: {says}"), after(RETRY))
        }
        // The API server has given up waiting for what may yet be done.
        503 | 504 => Outcome::Unknown(says.clone()),
        500 if says.contains("timed out") => Outcome::Unknown(says.clone()),
        _ => refused(Verdict::EvictionRefused, says.clone(), after(RETRY)),
    }
}

fn is_denial(says: &str) -> bool {
    [" denied the request: ", " denied request: ", " denied the request without explanation"]
        .iter()
        .any(|words| says.contains(words))
}

/// How long all evictions wait since the API server sheds load: twice as long each time, until one is answered.
#[derive(Debug, Default)]
struct Slowdown {
    until: Option<Instant>,
    /// In a row.
    times: u32,
}

impl Slowdown {
    fn heed(&mut self, outcome: &Outcome, now: Instant) {
        match outcome {
            // Those that were on their way together count once.
            Outcome::Overloaded { again_in } if self.until.is_none_or(|until| until <= now) => {
                let wait = (*again_in * 2_u32.pow(self.times.min(5))).min(LONGEST_SLOWDOWN).max(*again_in);
                self.until = Some(now + wait);
                self.times += 1;
            }
            Outcome::Evicted | Outcome::Gone | Outcome::Refused { .. } => self.times = 0,
            Outcome::Overloaded { .. } | Outcome::Unknown(_) | Outcome::NotSent(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: serde_json::Value) -> Outcome {
        outcome(&serde_json::from_value(status).unwrap())
    }

    fn verdict(outcome: &Outcome) -> Option<Verdict> {
        match outcome {
            Outcome::Refused { verdict, .. } => Some(*verdict),
            _ => None,
        }
    }

    #[test]
    fn u10_a_pod_that_is_gone_or_replaced_is_gone() {
        assert_eq!(
            answer(json!({"code": 404, "reason": "NotFound", "details": {"kind": "pods"}})),
            Outcome::Gone
        );
        let replaced = json!({"code": 409, "reason": "Conflict", "message": "the UID in the precondition (a) does not match the UID in record (b)", "details": {"kind": "Pod"}});
        assert_eq!(answer(replaced), Outcome::Gone);
    }

    #[test]
    fn edge_8_only_a_429_that_names_a_budget_is_a_budgets_no() {
        let budget = answer(
            json!({"code": 429, "message": "budget", "details": {"causes": [{"reason": "DisruptionBudget"}]}}),
        );
        assert_eq!(verdict(&budget), Some(Verdict::BlockedByBudget));
        let overload = answer(json!({"code": 429, "details": {"retryAfterSeconds": 9}}));
        assert_eq!(overload, Outcome::Overloaded { again_in: Duration::from_secs(9) });
        // As it really comes: plain text, of which nothing but the code is left.
        let plain = answer(json!({"code": 429, "message": "Too many requests, please try again later."}));
        assert_eq!(plain, Outcome::Overloaded { again_in: RETRY_OVERLOAD });
    }

    #[test]
    fn n1_n2_edge_11_what_no_waiting_will_change_is_told_from_what_it_may() {
        for (status, expected, part) in [
            (
                json!({"code": 403, "message": "admission webhook \"guard.shop.io\" denied the request: not today"}),
                Verdict::BlockedForGood,
                "guard.shop.io",
            ),
            (
                json!({"code": 500, "message": "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}),
                Verdict::BlockedForGood,
                "more than one",
            ),
            (
                json!({"code": 500, "message": "Internal error occurred: failed calling webhook \"guard.shop.io\": connection refused"}),
                Verdict::EvictionRefused,
                "until the webhook answers",
            ),
            (
                json!({"code": 403, "message": "no", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}),
                Verdict::EvictionRefused,
                "until its namespace is gone",
            ),
        ] {
            let Outcome::Refused { verdict, detail, .. } = answer(status) else { panic!("{part}") };
            assert_eq!(verdict, expected, "{detail}");
            assert!(detail.contains(part), "{detail}");
        }
    }

    #[test]
    fn a_denial_is_one_whatever_its_code_and_without_explanation_too() {
        for (code, says) in [
            (404, "admission webhook \"guard.shop.io\" denied the request: no such pod to evict"),
            (429, "admission webhook \"guard.shop.io\" denied the request: later"),
            (403, "admission webhook \"guard.shop.io\" denied the request without explanation"),
        ] {
            let denied = answer(json!({"code": code, "message": says}));
            assert_eq!(verdict(&denied), Some(Verdict::BlockedForGood), "{says}");
        }
    }

    #[test]
    fn what_the_server_gave_up_waiting_for_may_yet_be_done() {
        for status in [
            json!({"code": 500, "message": "etcdserver: request timed out"}),
            json!({"code": 504, "message": "Timeout: request did not complete within the allotted duration"}),
            json!({"code": 503, "message": "unavailable"}),
        ] {
            assert!(matches!(answer(status), Outcome::Unknown(_)));
        }
    }

    #[test]
    fn all_wait_longer_and_longer_while_the_server_sheds_load() {
        let (mut slowdown, now) = (Slowdown::default(), Instant::now());
        let second = Duration::from_secs(1);
        let overloaded = Outcome::Overloaded { again_in: second };
        slowdown.heed(&overloaded, now);
        slowdown.heed(&overloaded, now);
        assert_eq!(slowdown.until, Some(now + second), "those on their way together count once");
        slowdown.heed(&overloaded, now + second);
        assert_eq!(slowdown.until, Some(now + second + 2 * second));
        for minute in 1..10 {
            slowdown.heed(&overloaded, now + 60 * minute * second);
        }
        assert_eq!(slowdown.until, Some(now + 540 * second + LONGEST_SLOWDOWN));
        slowdown.heed(&Outcome::Evicted, now + 600 * second);
        slowdown.heed(&overloaded, now + 601 * second);
        assert_eq!(slowdown.until, Some(now + 602 * second));
    }

    #[test]
    fn u18_everything_else_is_asked_again_later_and_never_at_once() {
        for status in [
            json!({"code": 403, "message": "forbidden"}),
            json!({"code": 409, "details": {"kind": "poddisruptionbudgets"}}),
            json!({"code": 0}),
        ] {
            let outcome = answer(status);
            assert_eq!(verdict(&outcome), Some(Verdict::EvictionRefused));
            assert!(
                matches!(outcome, Outcome::Refused { again_in, .. } if again_in >= RETRY && again_in <= Duration::from_mins(1))
            );
        }
    }
}
