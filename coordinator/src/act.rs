//! From the plan to effects: starts writes and drains that it asks for, stops drains that it doesn't.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use kube::Client;
use mechanic_plan::{ClaimOnNode, ClaimPhase, DrainOrder, NodeWrite, Plan, Self_};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    drain::{Drain, DrainTarget, Evictions},
    events::{NodeEvents, step_of_reason, step_of_write},
    fleet::{Fleet, NodeView},
    node_writes::{NodeWriteError, NodeWrites},
};

/// What is needed to act.
pub(crate) struct Effects {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) leader: Self_,
    /// For lists and watches of pods.
    pub(crate) reading: Client,
    pub(crate) node_writes: NodeWrites,
    pub(crate) evictions: Evictions,
    pub(crate) events: NodeEvents,
}

/// Acts on one plan after the other. Dropping it cancels everything under way.
pub(crate) struct Act {
    effects: Arc<Effects>,
    tasks: JoinSet<Done>,
    /// What each task was for, in case it panics.
    nodes_of_tasks: HashMap<Id, Done>,
    writing: HashSet<String>,
    draining: HashMap<String, CancellationToken>,
    /// The reason last told of each node that has one.
    told: HashMap<String, &'static str>,
}

#[derive(Clone, Debug)]
enum Done {
    Write(String),
    Drain(String),
    Event,
}

impl Act {
    pub(crate) fn new(effects: Arc<Effects>) -> Self {
        Self {
            effects,
            tasks: JoinSet::new(),
            nodes_of_tasks: HashMap::new(),
            writing: HashSet::new(),
            draining: HashMap::new(),
            told: HashMap::new(),
        }
    }

    /// Waits until something that was started has ended; for ever where nothing runs.
    pub(crate) async fn next_end(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        let id = match ended {
            Ok((id, _)) => id,
            Err(error) => {
                tracing::error!(%error, "a task broke; what it did is planned again");
                error.id()
            }
        };
        match self.nodes_of_tasks.remove(&id) {
            Some(Done::Write(node)) => drop(self.writing.remove(&node)),
            Some(Done::Drain(node)) => drop(self.draining.remove(&node)),
            Some(Done::Event) | None => {}
        }
    }

    /// Brings what runs in line with the plan.
    pub(crate) fn apply(&mut self, plan: &Plan) {
        for (node, stop) in &self.draining {
            if plan.get(node).is_none_or(|decision| decision.drain != DrainOrder::Run) {
                stop.cancel();
            }
        }
        self.told.retain(|node, _| plan.contains_key(node));
        for (node, decision) in plan {
            self.tell(node, &decision.reason);
            if let Some(write) = &decision.write
                && self.writing.insert(node.clone())
            {
                let task = Arc::clone(&self.effects).write(node.clone(), write.clone());
                self.spawn(Done::Write(node.clone()), task);
            }
            if decision.drain != DrainOrder::Stop && !self.draining.contains_key(node) {
                self.drain(node, decision.drain);
            }
        }
    }

    fn drain(&mut self, node_name: &str, order: DrainOrder) {
        let Some((node, _)) = self.effects.fleet.read(|state| state.node(node_name)) else { return };
        if node.drain.as_ref().is_some_and(|drain| drain.clean) {
            return;
        }
        let stop = CancellationToken::new();
        if order == DrainOrder::Settle {
            stop.cancel();
        }
        self.draining.insert(node_name.to_owned(), stop.clone());
        let drain = Drain {
            target: DrainTarget {
                node_name: node_name.to_owned(),
                node_uid: node.uid.clone(),
                leader_pod_uid: self.effects.leader.pod_uid.clone(),
            },
            client: self.effects.reading.clone(),
            evictions: self.effects.evictions.clone(),
            fleet: Arc::clone(&self.effects.fleet),
            stop,
        };
        self.spawn(Done::Drain(node_name.to_owned()), drain.run());
    }

    /// Tells each new reason once.
    fn tell(&mut self, node: &str, reason: &mechanic_plan::Reason) {
        let Some(step) = step_of_reason(reason) else {
            self.told.remove(node);
            return;
        };
        if self.told.insert(node.to_owned(), step.reason) == Some(step.reason) {
            return;
        }
        tracing::info!(node, reason = step.reason, "{}", step.note);
        let effects = Arc::clone(&self.effects);
        let node = node.to_owned();
        self.spawn(Done::Event, async move {
            if let Some((known, _)) = effects.fleet.read(|state| state.node(&node)) {
                effects.events.publish(&node, &known.uid, step).await;
            }
        });
    }

    fn spawn(&mut self, done: Done, task: impl Future<Output = ()> + Send + 'static) {
        let answer = done.clone();
        let handle = self.tasks.spawn(async move {
            task.await;
            answer
        });
        self.nodes_of_tasks.insert(handle.id(), done);
    }
}

impl Effects {
    async fn write(self: Arc<Self>, node: String, write: NodeWrite) {
        let Some((known, version)) = self.fleet.read(|state| state.node(&node)) else { return };
        let before = match &known.claim {
            ClaimOnNode::Readable(claim) => Some(claim.phase),
            _ => None,
        };
        match self.node_writes.write(&node, &known.uid, &version, &write).await {
            Ok(written) => {
                if let Some(view) = NodeView::of(&written) {
                    self.fleet.change(|state| state.apply_node(view));
                }
                if let Some(mut step) = step_of_write(before, &write) {
                    if is_drained(&write) {
                        step.note.push_str(&stays(&known));
                    }
                    tracing::info!(node, reason = step.reason, "{}", step.note);
                    self.events.publish(&node, &known.uid, step).await;
                }
            }
            // The watch brings the newer version, and with it the next plan.
            Err(error @ (NodeWriteError::Stale | NodeWriteError::Gone)) => {
                tracing::debug!(node, %error, "node not written");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => {
                tracing::warn!(node, %error, "node not written; it is read and decided upon again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn is_drained(write: &NodeWrite) -> bool {
    matches!(write, NodeWrite::Hold { claim, .. } if claim.phase == ClaimPhase::Drained)
}

/// Which pods stay, and why.
fn stays(node: &mechanic_plan::Node) -> String {
    let pods = node.drain.iter().flat_map(|drain| &drain.pods);
    pods.filter(|pod| !pod.verdict.must_leave()).fold(String::new(), |mut text, pod| {
        // Writing to a String can't fail.
        let _ = write!(text, "; {}/{}: {}", pod.namespace, pod.name, pod.verdict);
        text
    })
}
