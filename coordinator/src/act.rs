//! From the plan to effects: starts writes and drains that it asks for, stops drains that it doesn't.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use kube::Client;
use mechanic_plan::{ClaimOnNode, ClaimPhase, DrainOrder, Fleet as Snapshot, Node, NodeWrite, Plan, Reason};
use tokio::{
    sync::watch,
    task::{AbortHandle, Id, JoinError, JoinSet},
};

use crate::{
    clock,
    drain::{Drain, DrainTarget, Evictions},
    events::{NodeEvents, Step, step_of_reason, step_of_write},
    fleet::{Fleet, NodeView},
    node_writes::{NodeWriteError, NodeWrites},
};

/// What is needed to act.
pub(crate) struct Effects {
    pub(crate) fleet: Arc<Fleet>,
    /// The leader's own pod, which no drain evicts.
    pub(crate) leader_pod_uid: String,
    /// For lists and watches of pods.
    pub(crate) reading: Client,
    pub(crate) node_writes: NodeWrites,
    pub(crate) evictions: Evictions,
    pub(crate) events: NodeEvents,
}

/// Acts on one plan after the other. Dropping it cancels everything under way.
pub(crate) struct Act {
    effects: Arc<Effects>,
    tasks: JoinSet<Option<Telling>>,
    /// What each task is for, so that one that breaks is known too.
    purposes: HashMap<Id, Purpose>,
    writing: HashSet<String>,
    draining: HashMap<String, Running>,
    /// The reason last told of each node that has one.
    told: HashMap<String, &'static str>,
}

enum Purpose {
    Write(String),
    Drain(String),
    Telling,
}

struct Running {
    node_uid: String,
    order: watch::Sender<DrainOrder>,
    task: AbortHandle,
}

/// An Event that is to be published.
struct Telling {
    node: String,
    uid: String,
    step: Step,
}

impl Act {
    pub(crate) fn new(effects: Arc<Effects>) -> Self {
        Self {
            effects,
            tasks: JoinSet::new(),
            purposes: HashMap::new(),
            writing: HashSet::new(),
            draining: HashMap::new(),
            told: HashMap::new(),
        }
    }

    /// The fleet that is acted on.
    pub(crate) fn fleet(&self) -> Arc<Fleet> {
        Arc::clone(&self.effects.fleet)
    }

    /// Waits until something that was started has ended; for ever where nothing runs.
    pub(crate) async fn next_end(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.settle(ended),
            None => std::future::pending().await,
        }
    }

    /// Settles everything that has ended by now.
    pub(crate) fn settle_ended(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.settle(ended);
        }
    }

    /// Cancels everything, and returns when nothing runs any more.
    pub(crate) async fn end(mut self) {
        self.tasks.shutdown().await;
    }

    fn settle(&mut self, ended: Result<(Id, Option<Telling>), JoinError>) {
        let (id, telling) = match ended {
            Ok((id, telling)) => (id, telling),
            Err(error) => {
                if !error.is_cancelled() {
                    tracing::error!(%error, "a task broke; what it did is planned again");
                }
                (error.id(), None)
            }
        };
        match self.purposes.remove(&id) {
            Some(Purpose::Write(node)) => drop(self.writing.remove(&node)),
            Some(Purpose::Drain(node)) => {
                if self.draining.get(&node).is_some_and(|running| running.task.id() == id) {
                    self.draining.remove(&node);
                }
            }
            Some(Purpose::Telling) | None => {}
        }
        if let Some(telling) = telling {
            self.publish(telling);
        }
    }

    /// Passes orders on to the drains that run; ends those whose Node is gone or another one. Needs no Permit,
    /// since each eviction asks for it.
    pub(crate) fn steer(&mut self, fleet: &Snapshot, plan: &Plan) {
        self.draining.retain(|name, running| {
            let still_there = fleet.nodes.get(name).is_some_and(|node| node.uid == running.node_uid);
            match plan.get(name).filter(|_| still_there) {
                Some(decision) => drop(running.order.send_if_modified(|order| {
                    let before = std::mem::replace(order, decision.drain);
                    before != *order
                })),
                None => running.task.abort(),
            }
            still_there
        });
    }

    /// Starts what the plan asks for and doesn't run yet.
    pub(crate) fn start(&mut self, fleet: &Snapshot, plan: &Plan) {
        self.told.retain(|name, _| plan.contains_key(name));
        for (name, decision) in plan {
            let Some(node) = fleet.nodes.get(name) else { continue };
            self.tell(name, node, &decision.reason);
            if let Some(write) = &decision.write
                && self.writing.insert(name.clone())
            {
                if begins_drain(node, write) {
                    self.effects.fleet.change(|state| state.drain_write_begins(name));
                }
                let task = Arc::clone(&self.effects).write(name.clone(), Arc::clone(node), write.clone());
                self.spawn(Purpose::Write(name.clone()), task);
            }
            if decision.drain != DrainOrder::Stop && !self.draining.contains_key(name) {
                self.drain(name, node, decision.drain);
            }
        }
    }

    fn drain(&mut self, name: &str, node: &Node, order: DrainOrder) {
        if node.drain.as_ref().is_some_and(|drain| drain.clean) {
            return;
        }
        let (order, orders) = watch::channel(order);
        let target = DrainTarget {
            node_name: name.to_owned(),
            node_uid: node.uid.clone(),
            leader_pod_uid: self.effects.leader_pod_uid.clone(),
        };
        let drain = Drain {
            target,
            client: self.effects.reading.clone(),
            evictions: self.effects.evictions.clone(),
            fleet: Arc::clone(&self.effects.fleet),
            orders,
        };
        let task = self.spawn(Purpose::Drain(name.to_owned()), async {
            drain.run().await;
            None
        });
        self.draining.insert(name.to_owned(), Running { node_uid: node.uid.clone(), order, task });
    }

    /// Tells each new reason once.
    fn tell(&mut self, name: &str, node: &Node, reason: &Reason) {
        let Some(step) = step_of_reason(reason) else {
            self.told.remove(name);
            return;
        };
        if self.told.insert(name.to_owned(), step.reason) != Some(step.reason) {
            tracing::info!(node = name, reason = step.reason, "{}", step.note);
            self.publish(Telling { node: name.to_owned(), uid: node.uid.clone(), step });
        }
    }

    fn publish(&mut self, Telling { node, uid, step }: Telling) {
        let effects = Arc::clone(&self.effects);
        self.spawn(Purpose::Telling, async move {
            effects.events.publish(&node, &uid, step).await;
            None
        });
    }

    fn spawn(
        &mut self,
        purpose: Purpose,
        task: impl Future<Output = Option<Telling>> + Send + 'static,
    ) -> AbortHandle {
        let handle = self.tasks.spawn(task);
        self.purposes.insert(handle.id(), purpose);
        handle
    }
}

impl Effects {
    /// Writes what was decided on `node` as it was then, or nothing.
    async fn write(self: Arc<Self>, name: String, node: Arc<Node>, write: NodeWrite) -> Option<Telling> {
        let again_in = match self.node_writes.write(&name, &node, &write).await {
            Ok(written) => {
                if let Some(view) = NodeView::of(&written) {
                    self.fleet.change(|state| state.apply_answer(view, clock::monotonic()));
                }
                let step = told_of(&node, &write);
                if let Some(step) = &step {
                    tracing::info!(node = name, reason = step.reason, "{}", step.note);
                }
                return step.map(|step| Telling { node: name, uid: node.uid.clone(), step });
            }
            Err(NodeWriteError::Stale | NodeWriteError::Gone) => Duration::from_millis(20),
            Err(NodeWriteError::Write(error)) if error.is_unknown() => {
                tracing::warn!(node = name, %error, "node not written, as far as is known; it is read again");
                self.read_again(&name, &node).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                return None;
            }
            Err(error) => {
                tracing::warn!(node = name, %error, "node not written; it is decided upon again");
                Duration::from_secs(1)
            }
        };
        self.fleet.change(|state| state.drain_write_failed(&name, &node.uid));
        self.read_again(&name, &node).await;
        tokio::time::sleep(again_in).await;
        None
    }

    /// The watch may lag behind or be broken: what was refused must not be tried again on the same view.
    async fn read_again(&self, name: &str, node: &Node) {
        match self.node_writes.read(name).await {
            Ok(Some(read)) => {
                if let Some(view) = NodeView::of(&read) {
                    self.fleet.change(|state| state.apply_node(view, clock::monotonic()));
                }
            }
            Ok(None) => self.fleet.change(|state| state.delete_node(name, &node.uid)),
            Err(error) => tracing::warn!(node = name, error, "node not read again; the watch will show it"),
        }
    }
}

fn begins_drain(node: &Node, write: &NodeWrite) -> bool {
    phase(node) != Some(ClaimPhase::Draining)
        && matches!(write, NodeWrite::Hold { claim, .. } if claim.phase == ClaimPhase::Draining)
}

fn phase(node: &Node) -> Option<ClaimPhase> {
    match &node.claim {
        ClaimOnNode::Readable(claim) => Some(claim.phase),
        _ => None,
    }
}

/// The step that a write which went through was.
fn told_of(node: &Node, write: &NodeWrite) -> Option<Step> {
    let mut step = step_of_write(phase(node), write)?;
    if matches!(write, NodeWrite::Hold { claim, .. } if claim.phase == ClaimPhase::Drained) {
        let stay = node.drain.iter().flat_map(|drain| &drain.pods).filter(|pod| !pod.verdict.must_leave());
        for pod in stay {
            // Writing to a String can't fail.
            let _ = write!(step.note, "; {}/{}: {}", pod.namespace, pod.name, pod.verdict);
        }
    }
    Some(step)
}
