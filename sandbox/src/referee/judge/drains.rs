//! How many nodes are drained at once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::Findings;
use crate::referee::history::Request;
use crate::referee::promises::Promises;
use crate::referee::timeline::{Timeline, WATCH_LAG};
use crate::referee::verdict::{Check, Drain};

/// Drains that one decision lets begin ask for their first evictions within this time, in no order.
const TOGETHER: SignedDuration = SignedDuration::from_secs(1);

pub(super) fn judge(timeline: &Timeline<'_>, promises: &Promises, findings: &mut Findings) {
    let drains = drains(timeline, promises);
    let mut most = 0;
    let mut told = false;
    for drain in &drains {
        let nodes = at_once(timeline, &drains, drain);
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
    let told = drains.into_iter().filter(|drain| drain.pods > 0);
    findings.facts.drains =
        told.map(|drain| Drain { until: drain.until.min(timeline.end), ..drain }).collect();
}

/// A drain lasts from the first eviction that was tried on a node to the last one and the last evicted pod gone, or to the
/// end of the Node itself. A node that was given back in between had two, and so had one that was deleted and came back,
/// one whose drain had to stop, one that was set aside, and one that was emptied for one event before another came.
fn drains(timeline: &Timeline<'_>, promises: &Promises) -> Vec<Drain> {
    let mut ended: Vec<Drain> = Vec::new();
    let mut running: BTreeMap<&str, Running<'_>> = BTreeMap::new();
    let tried =
        timeline.requests.iter().filter(|request| promises.is_coordinator(request) && request.is_eviction());
    for request in tried {
        let Some(life) = timeline.target(request) else { continue };
        let (Some(node), Some(pod)) = (life.node(), life.last()) else { continue };
        if timeline.was_just_deleted(node, request.answered) {
            continue;
        }
        let tenure = times_ended(timeline, node, request.answered);
        let goes_on = |running: &Running<'_>| running.tenure == tenure && !running.is_over(timeline, request);
        if !running.get(node).is_some_and(goes_on) {
            let new = Running::begun(node, tenure, request.answered);
            ended.extend(running.insert(node, new).map(|before| before.drain));
        }
        let Some(running) = running.get_mut(node) else { continue };
        if !request.accepted() {
            running.see_until(timeline, request.answered);
            running.refused.insert(&pod.uid);
            continue;
        }
        // A pod that never went is there for longer than the run.
        let gone = life.gone.unwrap_or(timeline.end + WATCH_LAG).max(request.answered);
        running.see_until(timeline, gone);
        running.refused.remove(pod.uid.as_str());
        running.drain.pods += usize::from(running.evicted.insert(&pod.uid));
    }
    ended.extend(running.into_values().map(|running| running.drain));
    ended.sort_by_key(|drain| drain.from);
    ended
}

/// A drain as far as it has been followed.
struct Running<'a> {
    drain: Drain,
    tenure: usize,
    evicted: BTreeSet<&'a str>,
    /// Pods whose budget has said no so far.
    refused: BTreeSet<&'a str>,
}

impl Running<'_> {
    fn begun(node: &str, tenure: usize, at: Timestamp) -> Self {
        let drain = Drain { node: node.to_owned(), from: at, until: at, pods: 0 };
        Self { drain, tenure, evicted: BTreeSet::new(), refused: BTreeSet::new() }
    }

    fn see_until(&mut self, timeline: &Timeline<'_>, until: Timestamp) {
        let Drain { node, from, .. } = &self.drain;
        let until = until.min(timeline.deleted_after(node, *from));
        self.drain.until = self.drain.until.max(until);
    }

    /// Whether `request` belongs to a later drain: since this one was last seen, it had to stop, it gave its slot away, or
    /// another event came and nothing was left to wait for.
    fn is_over(&self, timeline: &Timeline<'_>, request: &Request) -> bool {
        let since = (self.drain.until, request.received);
        timeline.had_to_stop(&self.drain.node, since)
            || timeline.was_set_aside(&self.drain.node, since)
            || (self.refused.is_empty() && timeline.was_announced(&self.drain.node, since))
    }
}

/// How often the node was given back, or was deleted.
fn times_ended(timeline: &Timeline<'_>, node: &str, before: Timestamp) -> usize {
    let steps = timeline.steps(node).filter(|(_, state)| state.latest <= before);
    let given_back =
        steps.filter(|(before, state)| before.is_some_and(|before| before.seen.held()) && !state.seen.held());
    let deleted = timeline.gone_nodes.iter().filter(|(gone, name)| *name == node && *gone <= before);
    given_back.count() + deleted.count()
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
fn at_once(timeline: &Timeline<'_>, drains: &[Drain], drain: &Drain) -> BTreeSet<String> {
    let is_emergency = |drain: &Drain| timeline.is_emergency(&drain.node, drain.from);
    // Where the limit yields for the other one, it may have been let begin together with this one, in whatever order.
    let is_beside_the_limit = |other: &Drain| {
        drain.from.duration_since(other.from) < TOGETHER && is_emergency(other) && !is_emergency(drain)
    };
    // The end of a drain is seen late by as much as the watch lags.
    let running = |other: &&Drain| other.from <= drain.from && drain.from <= other.until - WATCH_LAG;
    let counted = drains.iter().filter(running).filter(|other| !is_beside_the_limit(other));
    let mut nodes: BTreeSet<String> = counted.map(|other| other.node.clone()).collect();
    nodes.insert(drain.node.clone());
    nodes
}
