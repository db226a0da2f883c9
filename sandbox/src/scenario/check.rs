//! Whether a script makes sense, told before anything is started.

mod steps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_saphyr::Spanned;

use super::{Expectations, MustHappen, PoolScript, Scenario, WorkloadKind, WorkloadScript};

use steps::Steps;

/// Why a script isn't played, and where to look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Refusal {
    /// The line of its file.
    pub line: u64,
    /// A sentence that says what would be right.
    pub why: String,
}

type Checked = Result<(), String>;

/// Everything, from top to bottom; the first thing that is wrong is told.
pub(super) fn check(scenario: &Scenario) -> Result<(), Refusal> {
    let mut pools = BTreeMap::new();
    for pool in &scenario.pools {
        at(pool, check_pool(&pool.value, &mut pools))?;
    }
    if scenario.pools.is_empty() {
        return Err(Refusal { line: 1, why: "there is no pool, so nothing could run".into() });
    }
    let mut workloads = BTreeMap::new();
    for workload in &scenario.workloads {
        at(workload, check_workload(&workload.value, &pools, &mut workloads))?;
    }
    let mut steps = Steps::new(&pools, &workloads);
    for step in &scenario.steps {
        at(step, steps.time(step.value.at))?;
        for action in &step.value.r#do {
            at(action, steps.action(&action.value))?;
        }
    }
    at(&scenario.expect, check_expectations(&scenario.expect.value, &steps))
}

fn at<T>(place: &Spanned<T>, checked: Checked) -> Result<(), Refusal> {
    checked.map_err(|why| Refusal { line: place.referenced.line(), why })
}

fn check_pool<'s>(pool: &'s PoolScript, pools: &mut BTreeMap<&'s str, &'s PoolScript>) -> Checked {
    let PoolScript { name, nodes, .. } = pool;
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    if name.is_empty() || name.len() > 12 || !name.chars().all(fits) {
        return Err(format!("`{name}` is no pool's name: at most 12 small letters and digits"));
    }
    if !(1..=5000).contains(nodes) {
        return Err(format!("pool {name} has {nodes} nodes; it may have 1 to 5000"));
    }
    if pools.insert(name, pool).is_some() {
        return Err(format!("there is a pool {name} already"));
    }
    Ok(())
}

fn check_workload<'s>(
    workload: &'s WorkloadScript,
    pools: &BTreeMap<&str, &PoolScript>,
    workloads: &mut BTreeMap<&'s str, &'s WorkloadScript>,
) -> Checked {
    let WorkloadScript { kind, name, replicas, .. } = workload;
    if !super::which::is_name(name) {
        return Err(format!("`{name}` is no workload's name: small letters, digits and dashes"));
    }
    match (kind, replicas) {
        (WorkloadKind::Deployment | WorkloadKind::StatefulSet, None | Some(0)) => {
            return Err(format!("{name} needs `replicas`, from 1"));
        }
        (WorkloadKind::DaemonSet | WorkloadKind::Pod, Some(_)) => {
            return Err(format!("{name} has no replicas: a daemon-set has a pod on each node, a pod is one"));
        }
        _ => {}
    }
    if let Some(pool) = &workload.pool {
        pool_named(pools, pool)?;
    }
    if workload.max_unavailable.is_some() && workload.min_available.is_some() {
        return Err(format!("{name} may have max-unavailable or min-available, not both"));
    }
    if *kind == WorkloadKind::DaemonSet
        && (workload.max_unavailable.is_some() || workload.min_available.is_some())
    {
        return Err(format!("{name} is a daemon-set, whose pods no drain moves; it needs no budget"));
    }
    workload.max_unavailable.iter().chain(&workload.min_available).try_for_each(check_amount)?;
    if workloads.insert(name, workload).is_some() {
        return Err(format!("there is a workload {name} already"));
    }
    Ok(())
}

fn check_amount(amount: &IntOrString) -> Checked {
    let fine = match amount {
        IntOrString::Int(number) => *number >= 0,
        IntOrString::String(text) => {
            text.strip_suffix('%').and_then(|share| share.parse().ok()).is_some_and(|share: u8| share <= 100)
        }
    };
    let shown = match amount {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    };
    if fine { Ok(()) } else { Err(format!("`{shown}` is neither a number from 0 nor a share such as 25%")) }
}

fn check_expectations(expect: &Expectations, steps: &Steps<'_>) -> Checked {
    steps.nodes_named(&expect.may_stay_held)?;
    expect.may_stay_on_node.iter().try_for_each(|workload| steps.workload(workload).map(drop))?;
    expect.must_happen.iter().try_for_each(|fact| match fact {
        MustHappen::Held(nodes)
        | MustHappen::NotHeld(nodes)
        | MustHappen::Evicted(nodes)
        | MustHappen::NotEvicted(nodes) => steps.nodes_named(nodes),
        MustHappen::DrainsAtOnce(0) => Err("drains-at-once counts from 1".into()),
        MustHappen::BudgetSaysNoThenYes | MustHappen::LeaderChanges | MustHappen::DrainsAtOnce(_) => Ok(()),
    })
}

fn pool_named<'s>(pools: &BTreeMap<&str, &'s PoolScript>, name: &str) -> Result<&'s PoolScript, String> {
    let known = || pools.keys().copied().collect::<Vec<_>>().join(", ");
    pools.get(name).copied().ok_or_else(|| format!("there is no pool {name}; there are: {}", known()))
}

fn one_of<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let known: BTreeSet<&str> = known.collect();
    if known.is_empty() {
        return format!("there is no {what} {name}: there is none at this point");
    }
    let known: Vec<&str> = known.into_iter().collect();
    format!("there is no {what} {name} at this point; there is: {}", known.join(", "))
}
