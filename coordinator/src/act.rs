//! From the plan to effects: starts writes and drains that it asks for, stops drains that it doesn't.

mod effects;
mod settings;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

pub(crate) use effects::Effects;
use mechanic_plan::{Decision, DrainOrder, DrainStage, Fleet as Snapshot, Node, NodeWrite, Plan};
use settings::SettingsTold;
use tokio::{
    sync::watch,
    task::{AbortHandle, Id, JoinError, JoinSet},
};

use crate::{
    clock,
    drain::{Drain, DrainTarget, Instructions},
    dry_run::DryRun,
    events::{Subject, Telling},
    fleet::Fleet,
    log::event_ids,
    metrics::FleetMetrics,
    outcomes::Outcomes,
    story::{self, Story},
};

/// Acts on one plan after the other. Dropping it cancels everything under way.
pub(crate) struct Act {
    effects: Arc<Effects>,
    tasks: JoinSet<()>,
    /// What each task is for, so that one that breaks is known too.
    purposes: HashMap<Id, Purpose>,
    writing: HashSet<String>,
    draining: HashMap<String, Running>,
    story: Story,
    outcomes: Outcomes,
    dry_run: DryRun,
    settings: SettingsTold,
}

enum Purpose {
    Write(String),
    Drain(String),
    Other,
}

struct Running {
    node_uid: String,
    instructions: watch::Sender<Instructions>,
    task: AbortHandle,
}

impl Act {
    pub(crate) fn new(effects: Arc<Effects>) -> Self {
        Self {
            effects,
            tasks: JoinSet::new(),
            purposes: HashMap::new(),
            writing: HashSet::new(),
            draining: HashMap::new(),
            story: Story::default(),
            outcomes: Outcomes::default(),
            dry_run: DryRun::default(),
            settings: SettingsTold::default(),
        }
    }

    /// Where it is shown how the fleet stands.
    pub(crate) fn metrics(&self) -> FleetMetrics {
        self.effects.metrics.clone()
    }

    /// The fleet that is acted on.
    pub(crate) fn fleet(&self) -> Arc<Fleet> {
        Arc::clone(&self.effects.fleet)
    }

    /// This process' own pod.
    pub(crate) fn leader_pod_uid(&self) -> &str {
        &self.effects.leader_pod_uid
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

    fn settle(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if !error.is_cancelled() {
                    tracing::error!(%error, "a task broke; what it did is planned again");
                }
                error.id()
            }
        };
        match self.purposes.remove(&id) {
            Some(Purpose::Write(node)) => drop(self.writing.remove(&node)),
            Some(Purpose::Drain(node)) => {
                if self.draining.get(&node).is_some_and(|running| running.task.id() == id) {
                    self.draining.remove(&node);
                }
            }
            Some(Purpose::Other) | None => {}
        }
    }

    /// Passes orders on to the drains that run; ends those whose Node is gone or another one. Needs no Permit,
    /// since each eviction asks for it.
    pub(crate) fn steer(&mut self, fleet: &Snapshot, plan: &Plan) {
        self.draining.retain(|name, running| {
            let node = fleet.nodes.get(name).filter(|node| node.uid == running.node_uid);
            match node.zip(plan.get(name)) {
                Some((node, decision)) => {
                    let instructions = instructions(fleet, node, decision);
                    running.instructions.send_if_modified(|before| {
                        let changes = *before != instructions;
                        *before = instructions;
                        changes
                    });
                }
                None => running.task.abort(),
            }
            node.is_some()
        });
    }

    /// Starts what the plan asks for and doesn't run yet. In a dry run it only looks.
    pub(crate) fn start(&mut self, fleet: &Snapshot, plan: &Plan) {
        self.keep_and_tell_settings(fleet);
        self.story.retain(|name| plan.contains_key(name));
        self.dry_run.retain(|name| fleet.config.dry_run && plan.contains_key(name));
        let (epoch, now) = (fleet.epoch, clock::now().wall);
        let policy = &fleet.config.policy.events;
        self.effects.count(&self.outcomes.retain(|name| plan.contains_key(name), now), epoch);
        for (name, decision) in plan {
            let Some(node) = fleet.nodes.get(name) else { continue };
            self.effects.count(&self.outcomes.look(name, node, policy, now), epoch);
            if !fleet.config.dry_run {
                let has_followed = self.story.has_followed(name, node, epoch);
                let before = self.story.before(name);
                for telling in self.story.tell(name, node, decision) {
                    if telling.code.is_step() && has_followed {
                        let claim = story::claim(node);
                        self.effects.metrics.step(telling.code, claim, clock::now().wall);
                    }
                    let event = event_ids(before.as_deref().into_iter().chain([&**node]));
                    tracing::info!(node = name, event, epoch, reason = %telling.code, "{}", telling.note);
                    self.publish(name, node, telling);
                }
                if let Some(write) = &decision.write
                    && self.writing.insert(name.clone())
                {
                    self.write(name, node, write, epoch);
                }
            }
            if fleet.config.dry_run {
                self.dry_run.log(name, node, decision, epoch);
            }
            if decision.drain != DrainOrder::Stop && !self.draining.contains_key(name) {
                self.drain(name, node, instructions(fleet, node, decision), epoch);
            }
        }
    }

    fn write(&mut self, name: &str, node: &Arc<Node>, write: &NodeWrite, epoch: u64) {
        if let Some(pending) = write.pending(node) {
            self.effects.fleet.change(|state| state.write_begins(name, pending));
        }
        if matches!(write, NodeWrite::Release { .. }) {
            self.story.release_begins(name);
        }
        let task = Arc::clone(&self.effects).write(name.to_owned(), Arc::clone(node), write.clone(), epoch);
        self.spawn(Purpose::Write(name.to_owned()), task);
    }

    fn drain(&mut self, name: &str, node: &Node, instructions: Instructions, epoch: u64) {
        if node.drain.as_ref().is_some_and(|drain| matches!(drain.stage, DrainStage::Clean { .. })) {
            return;
        }
        let (instructions, receiver) = watch::channel(instructions);
        let target = DrainTarget {
            node_name: name.to_owned(),
            node_uid: node.uid.clone(),
            leader_pod_uid: self.effects.leader_pod_uid.clone(),
            epoch,
        };
        let drain = Drain {
            target,
            client: self.effects.reading.clone(),
            evictions: self.effects.evictions.clone(),
            events: self.effects.events.clone(),
            fleet: Arc::clone(&self.effects.fleet),
            metrics: self.effects.metrics.clone(),
            instructions: receiver,
        };
        let task = self.spawn(Purpose::Drain(name.to_owned()), drain.run());
        self.draining.insert(name.to_owned(), Running { node_uid: node.uid.clone(), instructions, task });
    }

    fn publish(&mut self, name: &str, node: &Node, telling: Telling) {
        let (effects, name, uid) = (Arc::clone(&self.effects), name.to_owned(), node.uid.clone());
        self.spawn(Purpose::Other, async move {
            let subject = Subject::Node { name: &name, uid: &uid };
            effects.events.publish(subject, telling).await;
        });
    }

    fn spawn(&mut self, purpose: Purpose, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let handle = self.tasks.spawn(task);
        self.purposes.insert(handle.id(), purpose);
        handle
    }
}

/// What a drain is told: in a dry run to look, whatever the plan would do.
fn instructions(fleet: &Snapshot, node: &Node, decision: &Decision) -> Instructions {
    let order = match decision.drain {
        DrainOrder::Run(departure) if fleet.config.dry_run => DrainOrder::Look(departure),
        order => order,
    };
    let claim = story::claim(node).filter(|_| !fleet.config.dry_run);
    let claimed_at = claim.map(|claim| claim.claimed_at.clone());
    let policy = fleet.config.policy.pods.on(node);
    Instructions { order, policy, claimed_at, events: event_ids([node]) }
}
