//! How pods end: whether their processes stopped by themselves when they were told to, and how long that took.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::task::JoinHandle;

use super::WITHIN;

/// How one pod ended, as far as it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    told: Option<Instant>,
    statuses: Vec<i32>,
    gone: Option<Instant>,
}

type Endings = Arc<Mutex<BTreeMap<String, Ending>>>;

/// Watches all pods for as long as it lives.
pub(super) struct Watch {
    endings: Endings,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    pub(super) fn start(client: &Client) -> Self {
        let endings = Endings::default();
        let (pods, seen) = (Api::<Pod>::all(client.clone()), Arc::clone(&endings));
        let task = tokio::spawn(async move {
            let mut stream = Box::pin(watcher(pods, Config::default()));
            // An error is followed by another attempt; what is missed for good is missing below.
            while let Some(event) = stream.next().await {
                match event {
                    Ok(Event::Apply(pod) | Event::InitApply(pod)) => note(&seen, &pod, false),
                    Ok(Event::Delete(pod)) => note(&seen, &pod, true),
                    _ => {}
                }
            }
        });
        Self { endings, task }
    }

    /// Waits until these pods are gone and checks that each ended with status 0: by itself, that is, and within its grace,
    /// after which it would have been killed. Says how long the slowest took, in seconds.
    pub(super) async fn all_ended_well(&self, pods: &[String]) -> Result<f32> {
        let begun = Instant::now();
        let ending_of = |pod: &String| locked(&self.endings).get(pod).cloned().unwrap_or_default();
        while pods.iter().any(|pod| ending_of(pod).gone.is_none()) {
            if begun.elapsed() > WITHIN {
                let left: Vec<_> = pods.iter().filter(|pod| ending_of(pod).gone.is_none()).collect();
                bail!("still there after {} s: {left:?}", WITHIN.as_secs());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let mut slowest = 0.0_f32;
        for pod in pods {
            let ending = ending_of(pod);
            if ending.statuses.is_empty() || ending.statuses.iter().any(|status| *status != 0) {
                bail!("pod {pod} ended with {:?} instead of 0", ending.statuses);
            }
            let told = ending.told.with_context(|| format!("pod {pod} was gone without having been told"))?;
            let took = ending.gone.unwrap_or(told).duration_since(told).as_secs_f32();
            slowest = slowest.max(took);
        }
        Ok(slowest)
    }
}

fn note(endings: &Endings, pod: &Pod, gone: bool) {
    let mut endings = locked(endings);
    let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let ending = endings.entry(name).or_default();
    if pod.metadata.deletion_timestamp.is_some() {
        ending.told.get_or_insert_with(Instant::now);
    }
    let containers = pod.status.clone().unwrap_or_default().container_statuses.unwrap_or_default();
    ending.statuses =
        containers.into_iter().filter_map(|container| Some(container.state?.terminated?.exit_code)).collect();
    if gone {
        ending.gone.get_or_insert_with(Instant::now);
    }
}

fn locked(endings: &Endings) -> MutexGuard<'_, BTreeMap<String, Ending>> {
    endings.lock().unwrap_or_else(PoisonError::into_inner)
}
