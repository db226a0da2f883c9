//! Builds the world that a scenario plays in, and starts what runs there.

use std::time::Duration;

use anyhow::Result;
use kube::Client;

use super::{Scenario, WorkloadKind, WorkloadScript};
use crate::nodes::Pool;
use crate::programs::Programs;
use crate::workloads::{self, Workload};
use crate::world::{WITHIN, World, WorldOptions};

/// Returns when mechanic is Ready and leads, and every pod runs.
pub async fn build(scenario: &Scenario, programs: &Programs, tell: &(dyn Fn(&str) + Sync)) -> Result<World> {
    let nodes = scenario.pools.iter().flat_map(|pool| Pool::new(&pool.name).nodes(pool.nodes)).collect();
    let config = scenario.config.clone();
    let options = WorldOptions { config, ..WorldOptions::new(programs.clone(), nodes) };
    let world = World::build(options, tell).await?;
    for script in &scenario.workloads {
        start(&world.client, script).await?;
    }
    for script in &scenario.workloads {
        let count = match script.kind {
            WorkloadKind::DaemonSet => world.nodes.len(),
            WorkloadKind::Deployment | WorkloadKind::StatefulSet => script.replicas as usize,
        };
        workload(script).ready(&world.client, count, WITHIN).await?;
    }
    if !scenario.workloads.is_empty() {
        tell("Every pod is Ready.");
    }
    Ok(world)
}

fn workload(script: &WorkloadScript) -> Workload {
    Workload::new(&script.name, script.replicas)
        .spread()
        .start_after(Duration::from_secs(script.start_after))
        .stop_after(Duration::from_secs(script.stop_after))
}

async fn start(client: &Client, script: &WorkloadScript) -> Result<()> {
    let workload = workload(script);
    if let Some(pods) = script.max_unavailable {
        workloads::create(client, &workload.max_unavailable(pods)?).await?;
    }
    match script.kind {
        WorkloadKind::Deployment => workloads::create(client, &workload.deployment()?).await.map(drop),
        WorkloadKind::StatefulSet => workloads::create(client, &workload.stateful_set()?).await.map(drop),
        WorkloadKind::DaemonSet => workloads::create(client, &workload.daemon_set()?).await.map(drop),
    }
}
