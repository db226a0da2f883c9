//! How many nodes may be drained at once, and who is next.

use std::time::Duration;

use crate::{
    claim::ClaimPhase,
    coverage::Coverage,
    fleet::{Fleet, Node},
    time::Now,
};

/// A Node that is not Ready for so long holds no slot.
const DOWN: Duration = Duration::from_mins(10);

/// The drain slots at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub(crate) limit: usize,
    pub(crate) running: usize,
}

impl Slots {
    pub(crate) fn of(fleet: &Fleet, now: Now) -> Self {
        let running = fleet.nodes.values().filter(|node| holds_slot(node, fleet, now)).count();
        Self { limit: fleet.config.max_concurrent_drains.of(fleet.nodes.len()), running }
    }

    /// Takes a slot, if one is free.
    pub(crate) fn take(&mut self) -> bool {
        let free = self.running < self.limit;
        self.running += usize::from(free);
        free
    }
}

/// A drain holds its slot from before the first eviction until no evicted pod is terminating any more.
///
/// A kubelet may write its own Node, so a claim that nothing confirms, neither a drain nor an event of its
/// probe, costs the others no slot; except until this leader has looked what an earlier one left there.
///
/// A machine that is down for long gives its slot back: nothing terminates there any more.
fn holds_slot(node: &Node, fleet: &Fleet, now: Now) -> bool {
    if node.drain_pending {
        return true;
    }
    if node.not_ready_since.is_some_and(|since| now.monotonic.since(since) >= DOWN) {
        return false;
    }
    let draining = node.claim_in_force(fleet.epoch).is_some_and(|claim| claim.phase == ClaimPhase::Draining);
    let confirmed = || {
        let shown = node.probe.as_ref().and_then(|probe| probe.document.as_ref());
        shown.is_some_and(|document| !document.own_events.is_empty())
            || Coverage::of(node, fleet, now.monotonic) == Coverage::Unknown
    };
    match &node.drain {
        Some(drain) => drain.is_under_way() || (draining && confirmed()),
        None => draining,
    }
}
