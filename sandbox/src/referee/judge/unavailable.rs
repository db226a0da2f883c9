//! How many nodes are out of use when a drain begins.

use jiff::{SignedDuration, Timestamp};

use super::Findings;
use crate::referee::promises::{Promises, TAKES_EFFECT};
use crate::referee::timeline::{NodeState, Timeline};
use crate::referee::verdict::Check;

/// A Node that is not Ready for a shorter time may just be slow.
const UNAVAILABLE: SignedDuration = SignedDuration::from_mins(1);
/// A Node that is not Ready for so long is no part of what the cluster lives on.
const GIVEN_UP: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn judge(timeline: &Timeline<'_>, promises: &Promises, findings: &mut Findings) {
    for node in timeline.nodes.keys() {
        for (before, state) in timeline.steps(node) {
            let Some(request) = state.written.filter(|request| promises.is_coordinator(request)) else {
                continue;
            };
            let began = state.seen.is_draining() && !before.is_some_and(|before| before.seen.is_draining());
            let at = request.received;
            if !began || timeline.is_emergency(node, at) {
                continue;
            }
            let unavailable: Vec<&str> = timeline
                .nodes
                .keys()
                .map(String::as_str)
                .filter(|other| *other != node && is_out_of_use(timeline, other, at))
                .collect();
            let nodes = timeline.count_nodes(None, at);
            let limit = timeline.at_most(at, |settings| settings.max_unavailable_nodes.rounded_down(nodes));
            if unavailable.len() >= limit {
                let (caller, unavailable) = (request.caller(), unavailable.join(", "));
                let what = format!(
                    "{caller} began to drain {node} while these were out of use: {unavailable}; the limit was {limit}."
                );
                findings.broken(Check::TooManyUnavailable, request.answered, what);
            }
        }
    }
}

/// It surely was, and mechanic could know it. Nodes that had an event are what the limit waits with: they don't count.
fn is_out_of_use(timeline: &Timeline<'_>, node: &str, at: Timestamp) -> bool {
    if !timeline.exists(node, at) || timeline.events.iter().any(|event| event.node == node) {
        return false;
    }
    // From the last state backwards, as long as each was the same.
    let since = |is: &dyn Fn(&NodeState<'_>) -> bool| {
        let states = timeline.nodes.get(node).map(Vec::as_slice).unwrap_or_default();
        let past = states.iter().rev().skip_while(|state| state.latest > at);
        past.take_while(|state| is(state)).last().map(|state| at.duration_since(state.latest))
    };
    let not_ready_for = since(&|state| !state.seen.ready).unwrap_or_default();
    let cordoned_for = since(&|state| state.seen.unschedulable).unwrap_or_default();
    not_ready_for < GIVEN_UP && (not_ready_for >= UNAVAILABLE + TAKES_EFFECT || cordoned_for >= TAKES_EFFECT)
}
