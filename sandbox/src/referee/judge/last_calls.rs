//! No pod is deleted, but at its last call: where its machine is about to be destroyed, people have allowed it, and then
//! that pod alone, with time to stop.

use super::Findings;
use crate::referee::history::Request;
use crate::referee::promises::Promises;
use crate::referee::timeline::Timeline;
use crate::referee::verdict::Check;

pub(super) fn judge(timeline: &Timeline<'_>, promises: &Promises, findings: &mut Findings) {
    for request in timeline.requests.iter().copied() {
        if !promises.is_coordinator(request) || !is_pod_delete(request) {
            continue;
        }
        match not_allowed(timeline, request) {
            Some(why) => findings.broken(Check::PodDeleted, request.answered, deleted(request, why)),
            None => findings.facts.last_calls += usize::from(request.accepted()),
        }
    }
}

/// A DELETE of pods that is no last call, and so takes them away from their budgets.
pub(super) fn is_mere_delete(timeline: &Timeline<'_>, request: &Request) -> bool {
    is_pod_delete(request) && not_allowed(timeline, request).is_some()
}

fn is_pod_delete(request: &Request) -> bool {
    request.resource == "pods"
        && request.subresource.is_empty()
        && matches!(request.verb.as_str(), "delete" | "deletecollection")
        && request.is_write()
}

fn not_allowed(timeline: &Timeline<'_>, request: &Request) -> Option<&'static str> {
    let at = request.received;
    if request.name.is_empty() || request.uid_precondition().is_none() {
        return Some("without naming a pod and its UID");
    }
    if request.grace_seconds().is_none_or(|grace| grace < 1) {
        return Some("without giving it time to stop");
    }
    let Some((life, pod)) = timeline.target(request).and_then(|life| Some((life, life.at(at)?))) else {
        return Some("which the referee has never seen");
    };
    let Some(node) = life.node() else { return Some("which was on no node at all") };
    if !timeline.may_be_held(node, at, request.answered) {
        return Some("from a node without label and claim of mechanic");
    }
    if !timeline.is_held_by_budget(pod, at) {
        return Some("which no PodDisruptionBudget held");
    }
    let is_last_call = timeline.allows_last_call(node, pod.grace, at);
    (!is_last_call).then_some("though nothing that `last-call` names was about to destroy its machine")
}

fn deleted(request: &Request, why: &str) -> String {
    let pods = if request.name.is_empty() { "all pods of it" } else { &request.name };
    let caller = request.caller();
    format!(
        "{caller} sent a DELETE for {}/{pods}, {why}; the API server answered {}.",
        request.namespace, request.code
    )
}
