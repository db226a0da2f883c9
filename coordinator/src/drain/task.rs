//! The pods of one node, from the first sight of an event to the end of its drain, as a task: it watches while it
//! is told to look, evicts while it is told to run, and ends when nothing is left to move, or, once it is told
//! to stop, when nothing that it evicted is there any more.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::Client;
use mechanic_plan::{Departure, DrainOrder, DrainStage, EventType, PodPolicy};
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use super::{
    clean_lists::{BETWEEN_LISTS, CleanLists},
    evict::Evictions,
    pod_watch::{News, PAGE, take_in},
    pods::Pods,
};
use crate::{
    clock,
    events::Events,
    fleet::{BudgetKey, Fleet, FleetState},
    metrics::FleetMetrics,
};

/// Which node is drained.
#[derive(Clone, Debug)]
pub(crate) struct DrainTarget {
    pub(crate) node_name: String,
    pub(crate) node_uid: String,
    pub(crate) leader_pod_uid: String,
    /// The leader's.
    pub(crate) epoch: u64,
}

/// A drain that is about to run.
pub(crate) struct Drain {
    pub(crate) target: DrainTarget,
    /// For lists and the watch.
    pub(crate) client: Client,
    pub(crate) evictions: Evictions,
    pub(crate) events: Events,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) metrics: FleetMetrics,
    pub(crate) instructions: watch::Receiver<Instructions>,
}

/// What a drain is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instructions {
    pub(crate) order: DrainOrder,
    /// Of the node's pods.
    pub(crate) policy: PodPolicy,
    /// When the node was claimed, where it is and this is no dry run: what keeps pods is told from then on.
    pub(crate) claimed_at: Option<String>,
    /// What the log says it is for.
    pub(crate) events: String,
}

/// What the loop keeps of the pods' course.
#[derive(Default)]
struct Course {
    /// All pods have been listed once.
    listed: bool,
    /// The watch has failed, so what it showed last may be old: nothing is evicted by it until a list has come.
    stale: bool,
    /// Since when evictions run.
    evicting_since: Option<Instant>,
    clean_lists: CleanLists,
}

pub(super) type Shared = Arc<Mutex<Pods>>;

impl Drain {
    /// Runs it, and reports to the fleet as it goes.
    pub(crate) async fn run(self) {
        let mut telling = FuturesUnordered::new();
        self.work(&mut telling).await;
        while telling.next().await.is_some() {}
    }

    async fn work<'a>(&'a self, telling: &mut FuturesUnordered<BoxFuture<'a, ()>>) {
        let node = self.target.node_name.as_str();
        let (leader, budgets) = (self.target.leader_pod_uid.clone(), self.fleet.budgets());
        let pods: Shared = Arc::new(Mutex::new(Pods::new(leader, budgets)));
        let mut watch = pin!(self.watch().ready_chunks(PAGE as usize));
        let mut evicting = FuturesUnordered::new();
        let mut calling = FuturesUnordered::new();
        let mut asking = FuturesUnordered::new();
        let mut instructions = self.instructions.clone();
        let mut openings = self.fleet.budgets().openings();
        let mut course = Course::default();
        let mut listing = None;
        let mut relisting = None;
        loop {
            let order = self.order();
            let run = matches!(order, DrainOrder::Run(_));
            let now = Instant::now();
            if let Some(departure) = self.departure() {
                let policy = self.instructions.borrow().policy.clone();
                lock(&pods).leave_for(departure, policy, clock::now().wall);
            }
            if run && course.evicting_since.is_none() {
                tracing::info!(node, event = self.event(), epoch = self.target.epoch, "evictions begin");
            }
            course.evicting_since = run.then(|| course.evicting_since.unwrap_or(now));
            if course.listed && run && !course.stale {
                for target in lock(&pods).take_targets(now) {
                    evicting.push(self.evict(target, Arc::clone(&pods)));
                }
                for target in lock(&pods).take_last_calls(now) {
                    calling.push(self.call(target, Arc::clone(&pods)));
                }
            }
            let asks = matches!(order, DrainOrder::Look(_)) && self.is_dry_run();
            if course.listed && asks {
                for target in lock(&pods).take_questions(now) {
                    asking.push(self.ask(target, Arc::clone(&pods)));
                }
            }
            let stage = if run { DrainStage::Evicting } else { DrainStage::Looking };
            self.report(&pods, course.listed, stage);
            telling.extend(course.listed.then(|| self.tell_still_there(&pods, now)).flatten());
            let (must_leave, leaving, wake) = {
                let pods = lock(&pods);
                let wake = if run { pods.next_try(now) } else { pods.next_certainty(now) };
                let wake = [wake, pods.next_last_call(now), pods.next_told(now)].into_iter().flatten().min();
                (pods.must_leave(), pods.evicted(now) + pods.terminating(), wake)
            };
            let told_to_end = matches!(order, DrainOrder::Settle | DrainOrder::Stop);
            if course.listed && told_to_end && leaving == 0 && evicting.is_empty() && calling.is_empty() {
                self.report(&pods, true, DrainStage::Stopped);
                return;
            }
            let quiet = course.listed && must_leave == 0;
            match course.evicting_since.filter(|_| quiet) {
                None => {
                    course.clean_lists = CleanLists::default();
                    listing = None;
                }
                // There is no time to look twice.
                Some(_) if lock(&pods).departure().worst == EventType::Preempt => {
                    self.report_clean(&pods);
                    return;
                }
                Some(since) if listing.is_none() => {
                    let due = tokio::time::sleep_until(course.clean_lists.next(since));
                    listing = Some(due.then(|()| self.list()).boxed());
                }
                Some(_) => {}
            }
            if course.listed && course.stale && run && relisting.is_none() {
                let pause = tokio::time::sleep(BETWEEN_LISTS);
                relisting = Some(pause.then(|()| self.list()).boxed());
            }
            tokio::select! {
                Some(events) = watch.next() => course.hear(&take_in(node, &pods, events)),
                Some(()) = evicting.next() => {}
                Some(()) = calling.next() => {}
                Some(()) = asking.next() => {}
                Some(()) = telling.next() => {}
                () = sleep_until(wake), if wake.is_some() => {}
                // Its sender lives as long as this task does.
                _ = instructions.changed() => {}
                () = opened(&mut openings, &pods) => {}
                list = ended(&mut relisting) => {
                    relisting = None;
                    course.stale = list.is_err();
                    if let Ok(listed) = list {
                        lock(&pods).replace(&listed);
                    }
                }
                // Kept over the turns of this loop, so that news of other kinds don't keep it from its end.
                list = ended(&mut listing) => {
                    listing = None;
                    if course.take_in(list, &pods) {
                        self.report_clean(&pods);
                        return;
                    }
                }
            }
        }
    }

    fn is_dry_run(&self) -> bool {
        self.fleet.read(FleetState::is_dry_run)
    }

    /// The events that it is for, as the log names them.
    pub(super) fn event(&self) -> String {
        self.instructions.borrow().events.clone()
    }

    fn order(&self) -> DrainOrder {
        self.instructions.borrow().order
    }

    pub(super) fn is_to_run(&self) -> bool {
        matches!(self.order(), DrainOrder::Run(_))
    }

    /// What the pods are to leave for.
    pub(super) fn departure(&self) -> Option<Departure> {
        match self.order() {
            DrainOrder::Look(departure) | DrainOrder::Run(departure) => Some(departure),
            DrainOrder::Settle | DrainOrder::Stop => None,
        }
    }

    fn report_clean(&self, pods: &Shared) {
        let worst = lock(pods).departure().worst;
        self.report(pods, true, DrainStage::Clean { worst });
    }

    fn report(&self, pods: &Shared, listed: bool, stage: DrainStage) {
        let progress = lock(pods).progress(listed, stage);
        let DrainTarget { node_name, node_uid, .. } = &self.target;
        let known =
            |state: &FleetState| state.node(node_name)?.drain.as_ref().map(|known| *known == progress);
        if self.fleet.read(known) != Some(true) {
            self.fleet.change(|state| state.drain_progress(node_name, node_uid, progress));
        }
    }
}

impl Course {
    fn hear(&mut self, news: &News) {
        self.listed |= news.listed;
        self.stale = news.failed.unwrap_or(self.stale);
    }

    /// Takes in a list that was asked for because nothing seemed to be left; true if that is certain now.
    fn take_in(&mut self, list: Result<Vec<ApiPod>, String>, pods: &Shared) -> bool {
        let Some(since) = self.evicting_since else { return false };
        if let Ok(list) = list {
            lock(pods).replace(&list);
            lock(pods).must_leave() == 0 && self.clean_lists.add(Instant::now(), since)
        } else {
            self.clean_lists = CleanLists::failed(Instant::now());
            false
        }
    }
}

/// A budget over one of the pods has come to allow more.
async fn opened(openings: &mut broadcast::Receiver<Arc<BudgetKey>>, pods: &Shared) {
    loop {
        match openings.recv().await {
            Ok(budget) if !lock(pods).is_behind(&budget) => {}
            // Who has fallen behind may have missed one.
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// What the future comes to; for ever where there is none.
async fn ended<T>(future: &mut Option<BoxFuture<'_, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(instant: Option<Instant>) {
    if let Some(instant) = instant {
        tokio::time::sleep_until(instant).await;
    }
}

pub(super) fn lock(pods: &Shared) -> std::sync::MutexGuard<'_, Pods> {
    pods.lock().unwrap_or_else(PoisonError::into_inner)
}
