//! Each node that waits says why; and what it waits for is there.

use std::collections::BTreeMap;

use mechanic_plan::{ClaimOnNode, Decision, NodeWrite, Phase, Plan, ReasonCode};

use super::{limits, sent};
use crate::world::{World, begins_drain};

/// Longer than any handing over takes, from one leader or drain to the next.
const HANDING_OVER: u64 = 90;
/// Nothing has moved for so long.
const STUCK: u64 = 2 * 3_600;
/// A write that is wanted has landed after so long, whatever was lost on the way.
const WRITTEN: u64 = 300;

pub(super) fn every_event_and_claim_has_a_reason(world: &World, plan: &Plan) {
    for (name, decision) in plan {
        let node = world.node(world.numbers[name]);
        let code = decision.reason.code();
        if decision.reason.to_string().is_empty() {
            world.broken(name, "its reason is no sentence");
        }
        // What a silent probe showed last may be long over.
        let shows = !decision.coverage.is_silent() && !node.own_events().is_empty();
        if node.covered && shows && code == ReasonCode::NothingAnnounced {
            world.broken(name, "its probe shows an event, and nothing is said of it");
        }
        let held = node.claim != ClaimOnNode::None;
        if held && matches!(decision.phase, Phase::Idle | Phase::Noticed) {
            world.broken(name, "it is held and doesn't say so");
        }
    }
}

/// Since when each node has been as it is.
#[derive(Default)]
pub(crate) struct Reasons {
    since: BTreeMap<String, (ReasonCode, bool, u64)>,
    /// Since when a limit that somebody waits for has had room.
    room_since: BTreeMap<(ReasonCode, String), u64>,
}

impl Reasons {
    pub(super) fn whoever_waits_waits_for_something(&mut self, world: &World, plan: &Plan) {
        let mut room = BTreeMap::new();
        // Who waits in a long queue waits for long; what must not be is that nobody takes what is free.
        let begins = sent(world, plan).any(|(number, _, write)| begins_drain(world.node(number), write));
        let cordons =
            sent(world, plan).any(|(_, _, write)| matches!(write, NodeWrite::Hold { cordon: true, .. }));
        let moves = |code| if code == ReasonCode::CordonDeferred { cordons } else { begins };
        self.since.retain(|name, _| plan.contains_key(name));
        for (name, decision) in plan {
            self.nothing_is_stuck_that_needs_nobody(world, name, decision);
            let code = decision.reason.code();
            let pool = &world.machines[world.numbers[name]].pool;
            let limited = match code {
                ReasonCode::TooManyUnavailable => String::new(),
                ReasonCode::WaitingForSlot | ReasonCode::CordonDeferred => pool.clone(),
                _ => continue,
            };
            let key = (code, limited);
            let has_room = *room.entry(key.clone()).or_insert_with(|| has_room(world, code, pool));
            let leading = world.leading_from.map_or(0, |since| world.time - since);
            let since = self.room_since.entry(key).or_insert(world.time);
            if moves(code) {
                *since = world.time;
            }
            let since = *since;
            if has_room && world.time - since > HANDING_OVER && leading > HANDING_OVER {
                world.broken(name, &format!("{code} for {} s, and there is room", world.time - since));
            }
        }
        self.room_since.retain(|key, _| room.get(key).is_some_and(|room| *room));
    }

    /// If nothing moves for long, the reason is one that names what a person can do.
    fn nothing_is_stuck_that_needs_nobody(&mut self, world: &World, name: &str, decision: &Decision) {
        let code = decision.reason.code();
        let now = (code, decision.write.is_some());
        let known = self.since.entry(name.to_owned()).or_insert((code, now.1, world.time));
        if (known.0, known.1) != now {
            *known = (code, now.1, world.time);
        }
        let since = known.2;
        let lasts = world.time - since;
        if now.1 && lasts > WRITTEN && world.leading_from.is_some_and(|from| world.time - from > WRITTEN) {
            world.broken(name, &format!("{code}: it has wanted the same write for {lasts} s"));
        }
        let held = world.node(world.numbers[name]).claim != ClaimOnNode::None;
        let listed = || world.events_of(world.numbers[name]).next().is_some();
        let warned = decision.warnings.iter().any(|warning| names_an_action(warning.code()));
        if held && lasts > STUCK && !listed() && !warned && !names_an_action(code) {
            world.broken(name, &format!("{code} for {lasts} s, and nobody is told what to do"));
        }
    }
}

fn has_room(world: &World, code: ReasonCode, pool: &str) -> bool {
    let nodes = world.fleet.nodes.len();
    match code {
        ReasonCode::WaitingForSlot => limits::has_slot(world, pool),
        ReasonCode::TooManyUnavailable => {
            limits::out_of_use(world) < world.fleet.config.max_unavailable_nodes.of(nodes)
        }
        _ => limits::cordoned(world)[pool] < limits::cordon_limit(world, pool),
    }
}

/// Whether the documentation says what a person can do.
fn names_an_action(code: ReasonCode) -> bool {
    let documented = include_str!("../../../../../docs/reasons.md");
    let row = documented.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
    row.is_some_and(|row| !row.trim_end().ends_with("| – |"))
}
