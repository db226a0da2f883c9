//! The life of one pod, as a kubelet leads it: made ready, started, watched over, restarted, ended.

use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pods::PodProcess;
use super::prober::Prober;
use super::status::{Ended, Now, Status};
use super::surroundings::{Start, Surroundings};
use crate::azure::Power;
use crate::child::Child;

/// A kubelet starts a crash loop's waits over after ten minutes of running.
const BACKOFF_FORGOTTEN: Duration = Duration::from_mins(10);
/// The longest wait of a crash loop.
const LONGEST_BACKOFF: Duration = Duration::from_mins(5);
/// The status of a process that SIGKILL ended, as container runtimes say it.
const KILLED: i32 = 137;
/// How long to wait before something that the pod needs is looked for again.
const RETRY: Duration = Duration::from_secs(1);

/// Why a pod's course changes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Its deletion was asked for.
    Delete,
    /// The object is gone.
    Gone,
    /// The VM under it went.
    PowerOff,
}

/// How a process that was watched over came to its end.
#[derive(Debug)]
enum End {
    Exited(i32),
    Unhealthy,
    Called(Call),
}

/// One pod in the kubelet's hands.
pub(super) struct Lifecycle {
    pub(super) surroundings: Arc<Surroundings>,
    pub(super) pod: watch::Receiver<Arc<Pod>>,
    pub(super) gone: CancellationToken,
    pub(super) power: watch::Receiver<Power>,
    pub(super) boot_id_file: PathBuf,
    pub(super) imds: String,
    pub(super) ip: IpAddr,
    pub(super) container: Container,
    pub(super) course: Course,
}

/// What a pod has been through.
#[derive(Debug)]
pub(super) struct Course {
    started: Timestamp,
    restarts: u32,
    crashes: u32,
    last: Option<Ended>,
    ready: bool,
    ready_since: Timestamp,
}

impl Default for Course {
    fn default() -> Self {
        let now = Timestamp::now();
        Self { started: now, restarts: 0, crashes: 0, last: None, ready: false, ready_since: now }
    }
}

impl Lifecycle {
    /// Leads the pod to its end. Returns when there is nothing left to do for it.
    pub(super) async fn run(mut self) {
        let uid = self.uid();
        let pods = self.surroundings.pods.clone();
        self.register();
        self.lead().await;
        pods.remove(&uid);
    }

    async fn lead(&mut self) {
        loop {
            if self.until_started_allowed().await.is_break() {
                return;
            }
            let (child, refresh) = match self.start().await {
                Ok(started) => started,
                Err(error) => {
                    self.wait_with("CreateContainerConfigError", &format!("{error:#}"), RETRY).await;
                    continue;
                }
            };
            let since = Timestamp::now();
            let started = Instant::now();
            let end = self.watch_over(&child, since, refresh).await;
            match end {
                End::Called(Call::PowerOff) => {
                    // What ran there is just gone, and nobody is left to say so.
                    kill(&child).await;
                    self.process_ended(KILLED, since);
                    self.course.restarts += 1;
                }
                End::Called(Call::Gone) => {
                    kill(&child).await;
                    return;
                }
                End::Called(Call::Delete) => {
                    let exit_code = self.stop(&child).await;
                    self.process_ended(exit_code, since);
                    return self.finish().await;
                }
                End::Unhealthy => {
                    let exit_code = child.stop(Duration::from_secs(30)).await.map_or(KILLED, exit_code);
                    self.crashed(exit_code, since, started.elapsed()).await;
                }
                End::Exited(exit_code) => self.crashed(exit_code, since, started.elapsed()).await,
            }
        }
    }

    /// Waits for the VM and for whoever holds the start. Breaks if the pod is done for instead.
    async fn until_started_allowed(&mut self) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        let name = self.pod.borrow().metadata.name.clone().unwrap_or_default();
        loop {
            let pods = self.surroundings.pods.clone();
            let gone = self.gone.clone();
            let mut power = self.power.clone();
            tokio::select! {
                biased;
                () = gone.cancelled() => return Break(()),
                _ = power.wait_for(|power| power.on) => {}
            }
            tokio::select! {
                biased;
                call = self.call() => match call {
                    Call::Gone => return Break(()),
                    Call::PowerOff => {}
                    Call::Delete => {
                        self.finish().await;
                        return Break(());
                    }
                },
                () = pods.may_start(&name) => return Continue(()),
            }
        }
    }

    async fn start(&mut self) -> Result<(Child, Option<Duration>)> {
        let pod = Arc::clone(&self.pod.borrow());
        let boot_id = self.power.borrow().boot_id.clone();
        tokio::fs::write(&self.boot_id_file, format!("{boot_id}\n")).await.context("no boot id file")?;
        let start = Start {
            pod: &pod,
            container: &self.container,
            ip: &self.ip.to_string(),
            boot_id_file: &self.boot_id_file,
            imds: &self.imds,
        };
        self.surroundings.start(start).await
    }

    async fn watch_over(&mut self, child: &Child, since: Timestamp, refresh: Option<Duration>) -> End {
        let prober = |probe: Option<&_>, good| {
            probe.map(|probe| Prober::new(probe, &self.container, good)).transpose()
        };
        let probers = prober(self.container.readiness_probe.as_ref(), false)
            .and_then(|readiness| Ok((readiness, prober(self.container.liveness_probe.as_ref(), true)?)));
        let (mut readiness, mut liveness) = match probers {
            Ok(probers) => probers,
            Err(error) => {
                tracing::warn!("{error:#}; the pod counts as ready without it");
                (None, None)
            }
        };
        let pid = child.pid();
        self.pods_update(|process| process.pid = Some(pid));
        let running = Now::Running { since };
        self.say(&running, readiness.is_none()).await;
        let mut refresh_at = refresh.map(|wait| Instant::now() + wait);
        let ip = self.ip;
        loop {
            tokio::select! {
                biased;
                status = child.wait() => return End::Exited(exit_code(status)),
                call = self.call() => return End::Called(call),
                ready = next(&mut readiness, ip) => if ready != self.course.ready {
                    self.say(&running, ready).await;
                },
                alive = next(&mut liveness, ip) => if !alive { return End::Unhealthy },
                () = at(refresh_at) => refresh_at = self.refresh().await,
            }
        }
    }

    async fn refresh(&self) -> Option<Instant> {
        let pod = Arc::clone(&self.pod.borrow());
        let wait = match self.surroundings.write_volumes(&pod, &self.ip.to_string()).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!("{error:#}; tried again soon");
                Some(RETRY)
            }
        };
        wait.map(|wait| Instant::now() + wait)
    }

    /// Waits for the next call from outside; one that came already counts.
    async fn call(&self) -> Call {
        let (mut pod, mut power) = (self.pod.clone(), self.power.clone());
        tokio::select! {
            biased;
            () = self.gone.cancelled() => Call::Gone,
            _ = power.wait_for(|power| !power.on) => Call::PowerOff,
            _ = pod.wait_for(|pod| pod.metadata.deletion_timestamp.is_some()) => Call::Delete,
        }
    }

    /// SIGTERM, then the grace period that is in force at each moment, then SIGKILL.
    async fn stop(&mut self, child: &Child) -> i32 {
        self.pods_update(|process| process.terminating = true);
        ask_to_end(child);
        let asked = Instant::now();
        loop {
            let grace = self.pod.borrow_and_update().metadata.deletion_grace_period_seconds.unwrap_or(30);
            let until = asked + Duration::from_secs(grace.max(1).unsigned_abs());
            let (gone, mut power) = (self.gone.clone(), self.power.clone());
            tokio::select! {
                status = child.wait() => return exit_code(status),
                () = tokio::time::sleep_until(until) => break,
                () = gone.cancelled() => break,
                _ = power.wait_for(|power| !power.on) => break,
                // A second deletion may have shortened the grace.
                changed = self.pod.changed() => if changed.is_err() { break },
            }
        }
        kill(child).await;
        KILLED
    }

    /// The last words of a kubelet about a pod: its containers have ended, the object may go.
    async fn finish(&mut self) {
        let mut power = self.power.clone();
        let gone = self.gone.clone();
        tokio::select! {
            () = gone.cancelled() => return,
            _ = power.wait_for(|power| power.on) => {}
        }
        let now = self.course.last.clone().map_or(
            Now::Waiting { reason: "ContainerCreating", message: "the pod was deleted before".into() },
            Now::Terminated,
        );
        self.say(&now, false).await;
        let pod = Arc::clone(&self.pod.borrow());
        let name = pod.metadata.name.clone().unwrap_or_default();
        let last = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        while !gone.is_cancelled() {
            match self.api().delete(&name, &last).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => break,
                Err(error) => {
                    tracing::warn!("pod {name} can't be finished off yet: {error}");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn crashed(&mut self, exit_code: i32, since: Timestamp, ran: Duration) {
        self.process_ended(exit_code, since);
        self.course.crashes = if ran > BACKOFF_FORGOTTEN { 1 } else { self.course.crashes + 1 };
        let wait = backoff(self.surroundings.restart_backoff, self.course.crashes);
        let message = format!(
            "back-off {wait:?} restarting container {} after status {exit_code}",
            self.container.name
        );
        self.wait_with("CrashLoopBackOff", &message, wait).await;
        self.course.restarts += 1;
        let restarts = self.course.restarts;
        self.pods_update(|process| process.restarts = restarts);
    }

    async fn wait_with(&mut self, reason: &'static str, message: &str, wait: Duration) {
        self.say(&Now::Waiting { reason, message: message.to_owned() }, false).await;
        tokio::select! { () = tokio::time::sleep(wait) => {}, _ = self.call() => {} }
    }

    fn process_ended(&mut self, exit_code: i32, started: Timestamp) {
        self.course.last = Some(Ended { exit_code, started, finished: Timestamp::now() });
        self.course.ready = false;
        self.pods_update(|process| {
            process.pid = None;
            process.ready = false;
        });
    }

    /// Writes the status. A kubelet that can't goes on all the same and says it again with the next change.
    async fn say(&mut self, now: &Now, ready: bool) {
        if ready != self.course.ready {
            self.course.ready = ready;
            self.course.ready_since = Timestamp::now();
        }
        let (restarts, pod) = (self.course.restarts, Arc::clone(&self.pod.borrow()));
        let ip = self.ip.to_string();
        let status = Status {
            container: &self.container,
            ip: &ip,
            host_ip: &self.surroundings.host_ip,
            pod_started: self.course.started,
            now,
            ready,
            restarts,
            last: self.course.last.as_ref(),
            ready_since: self.course.ready_since,
        };
        let name = pod.metadata.name.clone().unwrap_or_default();
        let patch = Patch::Strategic(status.patch());
        if let Err(error) = self.api().patch_status(&name, &PatchParams::default(), &patch).await
            && !matches!(&error, kube::Error::Api(status) if status.code == 404)
        {
            tracing::warn!("the status of pod {name} can't be written: {error}");
        }
        self.pods_update(|process| {
            process.ready = ready;
            process.restarts = restarts;
        });
    }

    fn api(&self) -> Api<Pod> {
        let namespace = self.pod.borrow().metadata.namespace.clone().unwrap_or_default();
        Api::namespaced(self.surroundings.client.clone(), &namespace)
    }

    fn uid(&self) -> String {
        self.pod.borrow().metadata.uid.clone().unwrap_or_default()
    }

    fn pods_update(&self, change: impl FnOnce(&mut PodProcess)) {
        self.surroundings.pods.update(&self.uid(), change);
    }

    fn register(&self) {
        let pod = Arc::clone(&self.pod.borrow());
        self.surroundings.pods.insert(PodProcess {
            pod: pod.metadata.name.clone().unwrap_or_default(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            uid: self.uid(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            ip: self.ip,
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            pid: None,
            ready: false,
            restarts: 0,
            terminating: pod.metadata.deletion_timestamp.is_some(),
            container: self.container.clone(),
        });
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(KILLED)
}

// A process that can't be signalled has ended.
fn ask_to_end(child: &Child) {
    let _ = child.signal(Signal::TERM);
}

async fn kill(child: &Child) {
    let _ = child.kill();
    child.wait().await;
}

/// The first restart comes at once, the next ones after `base`, doubled each time.
fn backoff(base: Duration, crashes: u32) -> Duration {
    match crashes {
        0 | 1 => Duration::ZERO,
        more => base.saturating_mul(2_u32.saturating_pow(more - 2)).min(LONGEST_BACKOFF),
    }
}

async fn next(prober: &mut Option<Prober>, ip: IpAddr) -> bool {
    match prober {
        Some(prober) => prober.next(ip).await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_waits_longer_and_longer() {
        let waits = [1, 2, 3, 7, 40].map(|crashes| backoff(Duration::from_secs(10), crashes).as_secs());
        assert_eq!(waits, [0, 10, 20, 300, 300]);
    }
}
