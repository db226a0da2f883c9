//! Builds the world that a scenario plays in, and starts what runs there.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use super::{Action, PoolKind, PoolScript, Scenario, Speed, Time, WorkloadKind, WorkloadScript};
use crate::nodes::{NodeSpec, Pool};
use crate::programs::Programs;
use crate::referee::Promises;
use crate::workloads::{self, Workload};
use crate::world::{WITHIN, World, WorldOptions};

/// Returns when mechanic is Ready and leads, and every pod runs.
pub async fn build(
    scenario: &Scenario,
    speed: Speed,
    programs: &Programs,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<World> {
    let world = World::build(options(scenario, speed, programs), tell).await?;
    for script in &scenario.workloads {
        start(&world.client, scenario, &script.value, speed).await?;
    }
    let nodes = Api::<Node>::all(world.client.clone()).list(&ListParams::default()).await?.items.len();
    let mut pods = 0;
    for script in &scenario.workloads {
        let script = &script.value;
        let count = match script.kind {
            WorkloadKind::DaemonSet if script.pool.is_none() => nodes,
            WorkloadKind::DaemonSet => {
                world.nodes.iter().filter(|node| Some(&node.pool.name) == script.pool.as_ref()).count()
            }
            WorkloadKind::Deployment | WorkloadKind::StatefulSet => script.replicas.unwrap_or(0) as usize,
            WorkloadKind::Pod => 1,
        };
        pods += workload(scenario, script, speed).ready(&world.client, count, WITHIN).await?.len();
    }
    tell(&format!("{pods} pods of {} workloads are Ready.", scenario.workloads.len()));
    Ok(world)
}

/// The world as the script wants it, still to be built.
pub(super) fn options(scenario: &Scenario, speed: Speed, programs: &Programs) -> WorldOptions {
    let is_fault = |action: &Action| matches!(action, Action::Fault(_) | Action::CutWatches);
    let stalls = |action: &Action| matches!(action, Action::FreezeApiServer(_) | Action::KillApiServer(_));
    let any = |takes: fn(&Action) -> bool| scenario.actions().any(|(_, action)| takes(action.value.tried()));
    let config = scenario.config.iter().map(|(key, value)| (key.clone(), paced(value, speed)));
    WorldOptions {
        config: config.collect(),
        fault_proxy: any(is_fault),
        promises: Promises { api_server_stalls: any(stalls) || any(is_fault), ..Promises::default() },
        ..WorldOptions::new(programs.clone(), nodes(scenario))
    }
}

fn nodes(scenario: &Scenario) -> Vec<NodeSpec> {
    let of_pool = |script: &PoolScript| {
        let single = script.kind == PoolKind::VirtualMachines;
        let pool = Pool { zones: script.zones, spot: script.spot, single, ..Pool::new(&script.name) };
        pool.nodes(script.nodes)
    };
    scenario.pools.iter().flat_map(|pool| of_pool(&pool.value)).collect()
}

/// A setting that is a time passes at the script's speed too, or its story would be another one.
pub(super) fn paced(value: &str, speed: Speed) -> String {
    match value.parse::<Time>() {
        Ok(time) if speed != Speed::default() => format!("{}s", time.in_seconds_at(speed).as_secs()),
        _ => value.to_owned(),
    }
}

fn workload(scenario: &Scenario, script: &WorkloadScript, speed: Speed) -> Workload {
    let is_spot =
        |name: &String| scenario.pools.iter().any(|pool| pool.value.name == *name && pool.value.spot);
    let mut annotations: BTreeMap<String, String> = script.annotations.clone();
    let mut workload = Workload::new(&script.name, script.replicas.unwrap_or(1))
        .spread()
        .start_after(script.start_after.in_seconds_at(speed))
        .stop_after(script.stop_after.in_seconds_at(speed));
    workload.annotations.append(&mut annotations);
    workload.empty_dir = script.empty_dir;
    workload.spot = script.pool.as_ref().is_some_and(is_spot);
    workload.on_pool.clone_from(&script.pool);
    match script.grace {
        Some(grace) => workload.grace(grace.as_written()),
        None => workload,
    }
}

async fn start(client: &Client, scenario: &Scenario, script: &WorkloadScript, speed: Speed) -> Result<()> {
    let workload = workload(scenario, script, speed);
    let amount = |amount: &_| -> Value { json!(amount) };
    if let Some(pods) = &script.max_unavailable {
        workloads::create(client, &workload.max_unavailable(amount(pods))?).await?;
    }
    if let Some(pods) = &script.min_available {
        workloads::create(client, &workload.min_available(amount(pods))?).await?;
    }
    match script.kind {
        WorkloadKind::Deployment => workloads::create(client, &workload.deployment()?).await.map(drop),
        WorkloadKind::StatefulSet => workloads::create(client, &workload.stateful_set()?).await.map(drop),
        WorkloadKind::DaemonSet => workloads::create(client, &workload.daemon_set()?).await.map(drop),
        WorkloadKind::Pod => workloads::create(client, &workload.bare_pod()?).await.map(drop),
    }
}
