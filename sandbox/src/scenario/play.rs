//! Plays a scenario's steps in the world, at their times.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::{Action, Scenario, Which};
use crate::azure::Event;
use crate::nodes::NodeSpec;
use crate::referee::{Fact, History};
use crate::world::World;

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
            let id = world.announce(&announced, &[&node], *avoidable)?;
            events.insert(event.clone(), Announced { id, node });
        }
        Action::Start { event } => world.start(&known(event)?.id)?,
        Action::PowerOff { event } => world.power_off(&known(event)?.node).await?,
        Action::PowerOn { event } => world.power_on(&known(event)?.node).await?,
        Action::Remove { event } => world.remove(&known(event)?.id)?,
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
