//! How pods are asked to go: by eviction, bound to a UID, with grace, from a claimed node.

use std::collections::BTreeSet;

use super::Findings;
use crate::referee::history::Request;
use crate::referee::promises::Promises;
use crate::referee::timeline::Timeline;
use crate::referee::verdict::Check;

pub(super) fn judge(timeline: &Timeline<'_>, promises: &Promises, findings: &mut Findings) {
    let mut refused: BTreeSet<(&str, &str, Option<&str>)> = BTreeSet::new();
    let mut evicted: BTreeSet<(&str, &str, Option<&str>)> = BTreeSet::new();
    for request in timeline.requests.iter().copied().filter(|request| promises.is_coordinator(request)) {
        findings.facts.coordinator_requests += 1;
        if !request.is_eviction() {
            continue;
        }
        let pod = (request.namespace.as_str(), request.name.as_str(), request.uid_precondition());
        if request.code == 429 {
            findings.facts.evictions_refused += 1;
            refused.insert(pod);
        } else if request.accepted() {
            findings.facts.evictions_accepted += 1;
            findings.facts.evicted_twice += usize::from(!evicted.insert(pod));
            if refused.remove(&pod) {
                findings.facts.refused_then_accepted.push(format!("{}/{}", pod.0, pod.1));
            }
        }
        judge_eviction(timeline, request, findings);
    }
}

fn judge_eviction(timeline: &Timeline<'_>, request: &Request, findings: &mut Findings) {
    let (caller, at) = (request.caller(), request.answered);
    let pod = format!("{}/{}", request.namespace, request.name);
    if request.uid_precondition().is_none() {
        let what = format!("{caller} evicted {pod} without naming its UID.");
        findings.broken(Check::NoUidPrecondition, at, what);
    }
    if request.grace_seconds().is_some_and(|grace| grace <= 0) {
        findings.broken(Check::NoGrace, at, format!("{caller} evicted {pod} with a grace of 0 seconds."));
    }
    if !request.accepted() {
        return;
    }
    let Some(life) = timeline.target(request) else {
        findings.broken(
            Check::Blind,
            at,
            format!("{caller} evicted {pod}, which the referee has never seen."),
        );
        return;
    };
    if let Some(node) = life.node() {
        judge_cause(timeline, request, node, findings);
    }
    match life.node() {
        Some(node) if timeline.was_just_deleted(node, request.answered) => {}
        Some(node) if !timeline.may_be_held(node, request.received, request.answered) => {
            let what =
                format!("{caller} evicted {pod} from {node}, which carried no label and claim of mechanic.");
            findings.broken(Check::NodeNotClaimed, at, what);
        }
        None => {
            let what = format!("{caller} evicted {pod}, which was on no node at all.");
            findings.broken(Check::NodeNotClaimed, at, what);
        }
        Some(_) => {}
    }
}

/// Whether there was a reason to move pods off this node, and nobody who didn't want it.
fn judge_cause(timeline: &Timeline<'_>, request: &Request, node: &str, findings: &mut Findings) {
    let (caller, at) = (request.caller(), request.answered);
    let pod = format!("{}/{}", request.namespace, request.name);
    let events: Vec<_> = timeline.events_of(node, at).collect();
    if !events.is_empty() && events.iter().all(|event| event.moves_no_pod()) {
        let types: Vec<&str> = events.iter().map(|event| event.event.event_type.as_str()).collect();
        let what = format!("{caller} evicted {pod} from {node} for nothing but {}.", types.join(", "));
        findings.broken(Check::MovedInVain, at, what);
    }
    if timeline.is_opted_out(node, request.received) {
        let what = format!("{caller} evicted {pod} from {node}, which is opted out.");
        findings.broken(Check::OptedOut, at, what);
    }
}
