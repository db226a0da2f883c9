//! How many nodes mechanic cordons, and which.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Findings;
use super::nodes::Cordon;
use crate::referee::promises::{Promises, TAKES_EFFECT};
use crate::referee::timeline::{NodeState, Timeline};
use crate::referee::verdict::Check;

pub(super) fn judge(timeline: &Timeline<'_>, promises: &Promises, findings: &mut Findings) {
    // Versions order the steps of all nodes.
    let mut steps: Vec<(&str, Option<&NodeState<'_>>, &NodeState<'_>)> = timeline
        .nodes
        .keys()
        .flat_map(|node| timeline.steps(node).map(move |(before, state)| (node.as_str(), before, state)))
        .collect();
    steps.sort_by_key(|(_, _, state)| state.seen.version);
    let mut cordons: BTreeMap<&str, (&str, Cordon)> = BTreeMap::new();
    let mut exempt: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for (node, before, state) in steps {
        let writer = state.written.filter(|request| promises.is_coordinator(request));
        let (_, cordon) = cordons.get(node).copied().unwrap_or(("", Cordon::None));
        let after = cordon.after(before, state, writer.is_some());
        cordons.insert(node, (&state.seen.pool, after));
        let Some(request) = writer else { continue };
        let (caller, at) = (request.caller(), request.answered);
        let claimed = before.is_some_and(|before| before.seen.claim.is_none()) && state.seen.claim.is_some();
        let cordoned = cordon != Cordon::Mechanic && after == Cordon::Mechanic;
        if !claimed && !cordoned {
            continue;
        }
        if timeline.is_opted_out(node, request.received) {
            findings.broken(Check::OptedOut, at, format!("{caller} claimed {node}, which is opted out."));
        }
        if timeline.surely(at, |settings| settings.paused) {
            findings.broken(Check::PausedAndBegan, at, format!("{caller} claimed {node} while paused."));
        }
        if !cordoned {
            continue;
        }
        // A VM that is about to be destroyed isn't left to new pods, however many they are.
        if timeline.is_emergency(node, at) {
            exempt.insert(node, at);
            continue;
        }
        let pool = &state.seen.pool;
        // Both may have been decided at once, and the writes have landed in the other order.
        let decided_beside =
            |name: &str| exempt.get(name).is_some_and(|since| at.duration_since(*since) <= TAKES_EFFECT);
        let ours = cordons
            .iter()
            .filter(|(name, _)| !decided_beside(name))
            .filter(|(name, _)| timeline.exists(name, at))
            .filter(|(_, (of, cordon))| of == pool && *cordon == Cordon::Mechanic)
            .count();
        let nodes = timeline.count_nodes(Some(pool), at);
        let limit = timeline.at_most(at, |settings| settings.max_cordoned.rounded_up(nodes));
        if ours > limit {
            let what = format!(
                "{caller} cordoned {node}: that made {ours} of the {nodes} nodes of pool {pool}; the limit was {limit}."
            );
            findings.broken(Check::TooManyCordoned, at, what);
        }
    }
}
