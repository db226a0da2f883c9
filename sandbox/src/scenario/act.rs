//! Does what a script says.

mod faults;
mod processes;
mod sights;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;
use tokio::time::Instant;

use super::action::{Action, Announce, Label, SetBudget, Source};
use super::outcome::Outcome;
use super::pick::{Picks, in_one_pool};
use super::which::Nodes;
use super::{Expectations, Speed};
use crate::azure::{Event, rfc1123};
use crate::cluster::User;
use crate::nodes::NodeSpec;
use crate::world::World;

use faults::{Faults, Outage};
use processes::Stopped;

/// How long something that is only tried may take.
const TRIED_FOR: Duration = Duration::from_secs(5);

/// The hand that plays a script, and what it has to remember.
pub(super) struct Actor<'w> {
    world: &'w World,
    speed: Speed,
    picks: Picks,
    /// The `EventId` of each event, by the script's name.
    events: BTreeMap<String, String>,
    faults: Faults,
    stopped: Stopped,
    outage: Option<Outage>,
    /// What was waited for in vain.
    missing: Vec<String>,
}

impl<'w> Actor<'w> {
    pub(super) fn new(world: &'w World, speed: Speed) -> Self {
        Self {
            world,
            speed,
            picks: Picks::default(),
            events: BTreeMap::new(),
            faults: Faults::default(),
            stopped: Stopped::default(),
            outage: None,
            missing: Vec::new(),
        }
    }

    /// Sleeps, and ends in the meantime what has its time.
    pub(super) async fn sleep_until(&mut self, at: Instant) -> Result<()> {
        loop {
            let ends =
                self.faults.next_end().into_iter().chain(self.outage.as_ref().map(|outage| outage.until));
            let Some(end) = ends.min().filter(|end| *end <= at) else { break };
            tokio::time::sleep_until(end).await;
            self.faults.clear_until(end);
            if self.outage.as_ref().is_some_and(|outage| outage.until <= end) {
                self.end_outage().await?;
            }
        }
        tokio::time::sleep_until(at).await;
        Ok(())
    }

    pub(super) async fn act(&mut self, action: &Action) -> Result<()> {
        // Only what is on Azure's side needs no API server; everything else waits until there is one.
        let azures = matches!(
            action.tried(),
            Action::Announce(_) | Action::Change(_) | Action::Start(_) | Action::Remove(_) | Action::Imds(_)
        );
        if !azures && let Some(until) = self.outage.as_ref().map(|outage| outage.until) {
            self.sleep_until(until).await?;
        }
        match action {
            Action::Try(action) => self.attempt(action).await,
            action => self.perform(action).await?,
        }
        Ok(())
    }

    async fn attempt(&mut self, action: &Action) {
        let performed = match tokio::time::timeout(TRIED_FOR, self.perform(action)).await {
            Ok(performed) => performed.map_err(|error| format!("{error:#}")),
            Err(_) => Err(format!("not within {} s", TRIED_FOR.as_secs())),
        };
        if let Err(why) = performed {
            self.note(format!("can't {action}: {why}"));
        }
        if let Action::Fault(fault) = action {
            self.faults.let_idle(&fault.name);
        }
    }

    async fn perform(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Pick(pick) => {
                let nodes = self.nodes(&pick.node).await?;
                self.picks.name(&pick.r#as, nodes);
            }
            Action::WaitFor(wait) => self.wait_for(wait).await?,
            // The checker lets nobody try to try.
            Action::Try(_) => {}
            Action::Announce(announce) => self.announce(announce).await?,
            Action::Change(change) => {
                let not_before = rfc1123(jiff::Timestamp::now() + change.notice.at(self.speed));
                self.world.move_to(self.event(&change.event)?, &not_before)?;
            }
            Action::Start(event) => self.world.start(self.event(event)?)?,
            Action::Remove(event) => self.world.remove(self.event(event)?)?,
            Action::PowerOff(nodes) => {
                self.each(nodes, async |world, node| world.power_off(&node).await).await?;
            }
            Action::PowerOn(nodes) => {
                self.each(nodes, async |world, node| world.power_on(&node).await).await?;
            }
            Action::ReplaceVm(nodes) => {
                self.each(nodes, async |world, node| world.replace_vm(&node).await).await?;
            }
            Action::DeleteNode(nodes) => {
                self.each(nodes, async |world, node| world.delete_node(&node).await).await?;
            }
            Action::CreateNode(nodes) => {
                self.each(nodes, async |world, node| world.create_node(&node).await).await?;
            }
            Action::SetBudget(budget) => self.set_budget(budget).await?,
            Action::Cordon(nodes) => self.kubectl_for_each(nodes, &["cordon"], &[]).await?,
            Action::Uncordon(nodes) => self.kubectl_for_each(nodes, &["uncordon"], &[]).await?,
            Action::Label(label) => self.label(label).await?,
            Action::Configure(data) => {
                let shown: Vec<String> = data
                    .iter()
                    .map(|(key, value)| format!("{key}: {}", value.as_deref().unwrap_or("nothing")))
                    .collect();
                self.note(format!("sets in the ConfigMap: {}", shown.join(", ")));
                let data: BTreeMap<_, _> = data
                    .iter()
                    .map(|(key, value)| (key, value.as_ref().map(|text| self.paced(text))))
                    .collect();
                self.world.configure(&data).await?;
            }
            Action::Kill(process) => self.kill(process).await?,
            Action::Stop(process) => self.stop(process).await?,
            Action::Continue(process) => self.go_on(process)?,
            Action::Mute(nodes) => self.mute(nodes).await?,
            Action::Unmute(nodes) => self.unmute(nodes).await?,
            Action::Imds(imds) => {
                for node in self.nodes(&imds.on).await? {
                    self.world.azure.set_behaviour(&node.vm_name(), imds.answers)?;
                    self.note(format!(
                        "the metadata service of {} answers {:?} from now on",
                        node.name, imds.answers
                    ));
                }
            }
            Action::Fault(fault) => self.fault(fault).await?,
            Action::ReleaseFault(name) => self.faults.release(name),
            Action::ClearFault(name) => self.faults.clear(name),
            Action::CutWatches => self.cut_watches()?,
            Action::FreezeApiServer(time) => self.freeze_api_server(*time)?,
            Action::KillApiServer(time) => self.kill_api_server(*time).await?,
        }
        Ok(())
    }

    /// Ends what still runs: an API server that is away, processes that are stopped, faults.
    pub(super) async fn end(&mut self) -> Result<()> {
        if let Some(until) = self.outage.as_ref().map(|outage| outage.until) {
            self.sleep_until(until).await?;
        }
        self.missing.extend(self.faults.that_met_nothing());
        self.faults = Faults::default();
        Ok(())
    }

    pub(super) fn outcome(self, expect: &Expectations) -> Outcome {
        Outcome::new(expect, &self.picks, self.world, self.missing)
    }

    async fn nodes(&mut self, nodes: &Nodes) -> Result<Vec<NodeSpec>> {
        self.picks.nodes(nodes, self.world).await
    }

    fn event(&self, name: &str) -> Result<&String> {
        self.events.get(name).with_context(|| format!("the event {name} isn't announced"))
    }

    fn note(&self, what: String) {
        self.world.referee.note(what);
    }

    /// Durations among the ConfigMap's values pass at the script's speed too, or its story would be another one.
    fn paced(&self, value: &str) -> String {
        super::build::paced(value, self.speed)
    }

    /// All at once: what hits several VMs hits them together.
    async fn each<F: Future<Output = Result<()>>>(
        &mut self,
        nodes: &Nodes,
        act: impl Fn(&'w World, NodeSpec) -> F,
    ) -> Result<()> {
        let nodes = self.nodes(nodes).await?;
        try_join_all(nodes.into_iter().map(|node| act(self.world, node))).await.map(drop)
    }

    async fn announce(&mut self, announce: &Announce) -> Result<()> {
        let nodes = self.nodes(&announce.on).await?;
        in_one_pool(&nodes)?;
        let word = announce.r#type.map_or(announce.unknown_type.as_deref(), |known| Some(known.as_str()));
        let notice: Duration = announce.notice.at(self.speed);
        let mut event =
            Event::scheduled(word.unwrap_or_default(), nodes.iter().map(NodeSpec::vm_name), notice);
        if let Some(interruption) = announce.duration {
            event.duration_in_seconds = interruption.seconds;
        }
        if let Some(description) = &announce.description {
            event.description.clone_from(description);
        }
        if let Some(source) = announce.source {
            event.event_source = match source {
                Source::Platform => "Platform".into(),
                Source::User => "User".into(),
            };
        }
        if announce.started {
            event = event.started();
        }
        if let Some(text) = &announce.not_before {
            event.not_before.clone_from(text);
        }
        let hit: Vec<&NodeSpec> = nodes.iter().collect();
        self.world.announce(&event, &hit, announce.avoidable)?;
        self.events.insert(announce.event.clone(), event.event_id);
        self.picks.name(&announce.event, nodes);
        Ok(())
    }

    async fn set_budget(&mut self, budget: &SetBudget) -> Result<()> {
        let SetBudget { workload, max_unavailable, min_available } = budget;
        let spec = json!({ "maxUnavailable": max_unavailable, "minAvailable": min_available });
        let shown = |amount: &IntOrString| json!(amount).to_string();
        self.note(match (max_unavailable, min_available) {
            (Some(amount), _) => format!("sets the budget of {workload}: at most {} down", shown(amount)),
            (None, Some(amount)) => format!("sets the budget of {workload}: at least {} up", shown(amount)),
            (None, None) => format!("takes the limits off the budget of {workload}"),
        });
        let patch = json!({ "spec": spec }).to_string();
        self.kubectl(&["patch", "pdb", workload, "--type=merge", "-p", &patch]).await
    }

    async fn label(&mut self, label: &Label) -> Result<()> {
        let labels: Vec<String> = label
            .labels
            .iter()
            .map(|(key, value)| {
                value.as_ref().map_or_else(|| format!("{key}-"), |value| format!("{key}={value}"))
            })
            .collect();
        self.note(format!("labels {}: {}", label.on, labels.join(", ")));
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        self.kubectl_for_each(&label.on, &["label", "--overwrite", "node"], &labels).await
    }

    async fn kubectl_for_each(&mut self, nodes: &Nodes, before: &[&str], after: &[&str]) -> Result<()> {
        for node in self.nodes(nodes).await? {
            self.kubectl(&[before, &[node.name.as_str()], after].concat()).await?;
        }
        Ok(())
    }

    /// What people do, they do as people.
    async fn kubectl(&self, arguments: &[&str]) -> Result<()> {
        self.world.cluster.kubectl_as(User::Person, arguments).await.map(drop)
    }
}
