//! The life of one pod, as a kubelet leads it: made ready, started, watched over, restarted, ended.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::course::{BACKOFF_FORGOTTEN, Course, KILLED, backoff, exit_code};
use super::prober::Prober;
use super::status::{Ended, Now};
use super::surroundings::{Start, Surroundings};
use crate::azure::Power;
use crate::child::Child;

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
                End::Exited(exit_code) if self.stays_ended(exit_code) => {
                    self.process_ended(exit_code, since);
                    return self.rest().await;
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
                // The node controller takes a node's pods for not ready while it hears nothing of the kubelet.
                ready = next(&mut readiness, ip) => if ready != self.course.ready || ready != self.shown_ready() {
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

    /// By its restart policy.
    fn stays_ended(&self, exit_code: i32) -> bool {
        let pod = self.pod.borrow();
        match pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
            Some("Never") => true,
            Some("OnFailure") => exit_code == 0,
            _ => false,
        }
    }

    /// It says how it has ended, until somebody deletes it.
    async fn rest(&mut self) {
        if let Some(ended) = self.course.last.clone() {
            self.say(&Now::Terminated(ended), false).await;
        }
        if matches!(self.call().await, Call::Delete) {
            self.finish().await;
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
}

// A process that can't be signalled has ended.
fn ask_to_end(child: &Child) {
    let _ = child.signal(Signal::TERM);
}

async fn kill(child: &Child) {
    let _ = child.kill();
    child.wait().await;
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
