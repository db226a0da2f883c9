//! Evictions and deletions, as they are sent.

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
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use super::{
    answer::{Outcome, answer},
    pods::Target,
    slowdown::Slowdown,
};
use crate::gate::{Gate, Intent, WriteError};

/// Evictions that may be on their way at once, over all nodes, ten in all: the most that a leader which has lost its
/// Lease can still have applied late.
const IN_FLIGHT: usize = 7;
/// So many of them only where there is no time left: what is slow elsewhere, such as a webhook, must not hold those up.
const IN_FLIGHT_URGENT: usize = 3;

/// Sends evictions.
#[derive(Clone)]
pub(crate) struct Evictions {
    client: Client,
    gate: Gate,
    in_flight: Arc<Semaphore>,
    in_flight_urgent: Arc<Semaphore>,
    slowdown: Arc<Mutex<Slowdown>>,
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

fn delete_options(uid: &str) -> DeleteOptions {
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    DeleteOptions { preconditions: Some(preconditions), ..DeleteOptions::default() }
}
