//! How many nodes are drained at once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Findings;
use crate::referee::promises::Promises;
use crate::referee::timeline::{Timeline, WATCH_LAG};
use crate::referee::verdict::{Check, Drain};

pub(super) fn judge(timeline: &Timeline<'_>, promises: &Promises, findings: &mut Findings) {
    let drains = drains(timeline, promises);
    let mut most = 0;
    let mut told = false;
    for drain in &drains {
        let nodes = at_once(&drains, drain);
        most = most.max(nodes.len());
        let limit = limit(timeline, drain);
        // Once: what comes of it is no news.
        if nodes.len() > limit && !told {
            told = true;
            let nodes = nodes.into_iter().collect::<Vec<_>>().join(", ");
            let what = format!("{nodes} were drained at once; the limit was {limit}.");
            findings.broken(Check::TooManyDrains, drain.from, what);
        }
    }
    findings.facts.most_drains_at_once = most;
    findings.facts.drains =
        drains.into_iter().map(|drain| Drain { until: drain.until.min(timeline.end), ..drain }).collect();
}

/// A drain lasts from the first accepted eviction on a node to the last evicted pod gone there, or to the end of the
/// Node itself. A node that was given back in between had two.
fn drains(timeline: &Timeline<'_>, promises: &Promises) -> Vec<Drain> {
    let mut drains: BTreeMap<(&str, usize), Drain> = BTreeMap::new();
    let mut counted: BTreeSet<&str> = BTreeSet::new();
    let accepted = timeline
        .requests
        .iter()
        .filter(|request| promises.is_coordinator(request) && request.is_eviction() && request.accepted());
    for request in accepted {
        let Some(life) = timeline.target(request) else { continue };
        let (Some(node), Some(pod)) = (life.node(), life.last()) else { continue };
        if timeline.was_just_deleted(node, request.answered) {
            continue;
        }
        // A pod that never went is there for longer than the run.
        let until = life.gone.unwrap_or(timeline.end + WATCH_LAG).max(request.answered);
        let tenure = times_given_back(timeline, node, request.answered);
        let drain = drains.entry((node, tenure)).or_insert_with(|| Drain {
            node: node.to_owned(),
            from: request.answered,
            until,
            pods: 0,
        });
        drain.until = drain.until.max(until).min(timeline.deleted_after(node, drain.from));
        drain.pods += usize::from(counted.insert(&pod.uid));
    }
    let mut drains: Vec<Drain> = drains.into_values().collect();
    drains.sort_by_key(|drain| drain.from);
    drains
}

fn times_given_back(timeline: &Timeline<'_>, node: &str, before: Timestamp) -> usize {
    let steps = timeline.steps(node).filter(|(_, state)| state.latest <= before);
    steps
        .filter(|(before, state)| before.is_some_and(|before| before.seen.held()) && !state.seen.held())
        .count()
}

/// How many drains there may be when this one begins. Where a VM is about to be destroyed, the limit yields.
fn limit(timeline: &Timeline<'_>, drain: &Drain) -> usize {
    let nodes = timeline.count_nodes(None, drain.from);
    let emergency = timeline.is_emergency(&drain.node, drain.from);
    timeline.at_most(drain.from, |settings| {
        let usual = settings.max_concurrent_drains.rounded_down(nodes);
        let more = settings.emergency_concurrent_drains.rounded_down(nodes);
        if emergency { usual.max(more) } else { usual }
    })
}

/// The nodes that were drained when this drain began, its own among them.
fn at_once(drains: &[Drain], drain: &Drain) -> BTreeSet<String> {
    // The end of a drain is seen late by as much as the watch lags.
    let running = |other: &&Drain| other.from <= drain.from && drain.from <= other.until - WATCH_LAG;
    let mut nodes: BTreeSet<String> = drains.iter().filter(running).map(|other| other.node.clone()).collect();
    nodes.insert(drain.node.clone());
    nodes
}
