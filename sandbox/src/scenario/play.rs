//! Plays a scenario's steps in the world, at their times.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::{Action, Scenario, Which, World};
use crate::azure::Event;
use crate::nodes::NodeSpec;
use crate::referee::{AzureFact, Fact, History};

/// An event under the script's name for it.
struct Announced {
    id: String,
    node: NodeSpec,
}

/// Plays all steps and waits until every node is given back, or for as long as the scenario allows.
pub async fn play(scenario: &Scenario, world: &World) -> Result<()> {
    let begun = Instant::now();
    let mut events = BTreeMap::new();
    for step in &scenario.steps {
        tokio::time::sleep_until(begun + Duration::from_secs(step.at)).await;
        act(&step.action, world, &mut events).await?;
    }
    let within = Duration::from_secs(scenario.expect.given_back_within);
    // What isn't given back by then is the referee's to tell.
    let _ = world.referee.see("every node given back", within, all_given_back).await;
    Ok(())
}

async fn act(action: &Action, world: &World, events: &mut BTreeMap<String, Announced>) -> Result<()> {
    let known = |name: &String| events.get(name).with_context(|| format!("the event {name} isn't announced"));
    match action {
        Action::Announce { event, event_type, vm, notice, avoidable } => {
            let node = pick(vm, world).await?;
            let announced = Event::scheduled(event_type, [node.vm_name()], Duration::from_secs(*notice));
            let id = announced.event_id.clone();
            world.referee.witness(AzureFact::Announced {
                event: id.clone(),
                about: format!("{event_type}, not before {}", announced.not_before),
                node: node.name.clone(),
                avoidable: *avoidable,
            });
            world.azure.announce(&announced)?;
            events.insert(event.clone(), Announced { id, node });
        }
        Action::Start { event } => {
            let event = known(event)?;
            world.azure.start(&event.id)?;
            world.referee.witness(AzureFact::Started { event: event.id.clone() });
        }
        Action::PowerOff { event } => {
            let node = &known(event)?.node;
            world.referee.witness(AzureFact::PoweredOff { node: node.name.clone() });
            world.azure.power_off(&node.vm_name())?;
            world.cluster.nodes().await?.power_off(&node.name).await?;
        }
        Action::PowerOn { event } => {
            let node = &known(event)?.node;
            let boot_id = world.azure.power_on(&node.vm_name())?;
            world.cluster.nodes().await?.power_on(&node.name, &boot_id).await?;
            world.referee.witness(AzureFact::PoweredOn { node: node.name.clone() });
        }
        Action::Remove { event } => {
            let event = known(event)?;
            world.azure.remove(&event.id)?;
            world.referee.witness(AzureFact::Removed { event: event.id.clone() });
        }
        Action::SetBudget { workload, max_unavailable } => {
            let patch = format!(r#"{{"spec":{{"maxUnavailable":{max_unavailable}}}}}"#);
            world.cluster.kubectl(["patch", "pdb", workload, "--type=merge", "-p", &patch]).await?;
        }
    }
    Ok(())
}

async fn pick(which: &Which, world: &World) -> Result<NodeSpec> {
    let leader = world.installation.leader().await?.context("no coordinator leads")?.node;
    let coordinators = world.installation.coordinators();
    let runs_one = |node: &NodeSpec| coordinators.iter().any(|pod| pod.node == node.name);
    let picked = match which {
        Which::WithoutCoordinator => world.nodes.iter().find(|node| !runs_one(node)),
        Which::OfTheLeader => world.nodes.iter().find(|node| node.name == leader),
        Which::OfAFollower => world.nodes.iter().find(|node| runs_one(node) && node.name != leader),
        Which::Instance(pool, instance) => {
            world.nodes.iter().find(|node| node.pool.name == *pool && node.instance == *instance)
        }
    };
    picked.cloned().with_context(|| format!("there is no such VM: {which:?}"))
}

/// No node carries mechanic's label or claim, and none that was announced lacks readiness.
fn all_given_back(history: &History) -> Option<()> {
    let mut last = BTreeMap::new();
    for record in &history.records {
        if let Fact::Node(seen) = &record.fact {
            last.insert(&seen.name, seen);
        }
    }
    last.values().all(|node| !node.held() && node.ready).then_some(())
}
