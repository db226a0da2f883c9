//! How much may be done at once.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    claim::ClaimPhase,
    config::Config,
    coverage::{Coverage, Observed},
    fleet::{ClaimOnNode, DrainStage, Fleet, Node, Pending},
    reason::Reason,
    response::Response,
    time::Monotonic,
};

/// A Node that is not Ready for so long holds no slot: nothing terminates there any more.
const DOWN: Duration = Duration::from_mins(10);
/// A Node that is not Ready for a shorter time may just be slow.
const UNAVAILABLE: Duration = Duration::from_mins(1);
/// A Node that is not Ready for so long is no part of what the cluster lives on.
const GIVEN_UP: Duration = Duration::from_hours(1);

/// What is in use of each limit at one moment, and what may still begin.
#[derive(Debug)]
pub(crate) struct Limits<'a> {
    config: &'a Config,
    nodes: usize,
    draining: usize,
    unavailable: usize,
    pools: BTreeMap<&'a str, Pool>,
    /// Nodes that would take a pod.
    open: usize,
}

#[derive(Debug, Default)]
struct Pool {
    nodes: usize,
    cordoned: usize,
}

impl<'a> Limits<'a> {
    /// `observed` are the Nodes of `fleet`.
    pub(crate) fn of(fleet: &'a Fleet, observed: &[Observed<'a>], now: Monotonic) -> Self {
        let mut limits = Self {
            config: &fleet.config,
            nodes: observed.len(),
            draining: 0,
            unavailable: 0,
            pools: BTreeMap::new(),
            open: 0,
        };
        for Observed { node, coverage, .. } in observed {
            let pool = limits.pools.entry(&node.pool).or_default();
            pool.nodes += 1;
            pool.cordoned += usize::from(is_cordoned_by_us(node, fleet));
            limits.draining += usize::from(holds_slot(node, *coverage, fleet, now));
            limits.unavailable += usize::from(is_unavailable(node, fleet, now));
            limits.open += usize::from(is_open(node));
        }
        limits
    }

    /// Lets a node of `pool` be cordoned, or says why not.
    pub(crate) fn take_cordon(&mut self, pool: &str, emergency: bool) -> Result<(), Reason> {
        let Some(pool) = self.pools.get_mut(pool) else { return Ok(()) };
        let limit = self.config.max_cordoned.of_rounded_up(pool.nodes);
        if pool.cordoned >= limit && !emergency {
            return Err(Reason::CordonDeferred { cordoned: pool.cordoned, limit });
        }
        pool.cordoned += 1;
        Ok(())
    }

    /// Lets a drain begin, or says why not.
    pub(crate) fn take_slot(&mut self, emergency: bool) -> Result<(), Reason> {
        let usual = self.config.max_concurrent_drains.of(self.nodes);
        let slots =
            if emergency { usual.max(self.config.emergency_concurrent_drains.of(self.nodes)) } else { usual };
        if self.draining >= slots {
            return Err(Reason::WaitingForSlot { running: self.draining, limit: slots });
        }
        let available = self.config.max_unavailable_nodes.of(self.nodes);
        if self.unavailable >= available && !emergency {
            return Err(Reason::TooManyUnavailable { unavailable: self.unavailable, limit: available });
        }
        self.draining += 1;
        Ok(())
    }

    /// Whether a node other than `node` takes pods.
    pub(crate) fn has_room_beside(&self, node: &Node) -> bool {
        self.open > usize::from(is_open(node))
    }
}

/// A drain holds its slot from before the first eviction until no evicted pod is terminating any more.
///
/// A kubelet may write its own Node, so a claim that nothing confirms, neither a drain nor an event of its
/// probe, costs the others no slot; except until this leader has looked what an earlier one left there.
fn holds_slot(node: &Node, coverage: Coverage, fleet: &Fleet, now: Monotonic) -> bool {
    if node.pending == Some(Pending::Drain) {
        return true;
    }
    if is_down_for_long(node, now) {
        return false;
    }
    let draining = node.claim_in_force(fleet.epoch).is_some_and(|claim| claim.phase == ClaimPhase::Draining);
    match &node.drain {
        Some(drain) if drain.stage == DrainStage::Evicting || drain.evicted > 0 => true,
        Some(drain) if drain.listed => draining && (drain.terminating > 0 || is_confirmed(node, coverage)),
        // What an earlier leader left there is not known yet.
        Some(_) | None => draining,
    }
}

/// Whether the machine behind the Node is gone for longer than any reboot takes.
pub(crate) fn is_down_for_long(node: &Node, now: Monotonic) -> bool {
    node.shut_down || node.not_ready_for(now) >= DOWN
}

/// Counts from before the write until the node is given back, confirmed or not: that long it takes no pods.
fn is_cordoned_by_us(node: &Node, fleet: &Fleet) -> bool {
    let ours = node.claim_in_force(fleet.epoch).is_some_and(|claim| !claim.was_unschedulable);
    node.pending == Some(Pending::Cordon) || (node.unschedulable && ours)
}

/// Whether something else than the claim itself says that the node is rightly held.
fn is_confirmed(node: &Node, coverage: Coverage) -> bool {
    !node.own_events().is_empty() || coverage == Coverage::Unknown
}

/// Nodes with events of their own don't count: they are what the limit waits with.
fn is_unavailable(node: &Node, fleet: &Fleet, now: Monotonic) -> bool {
    let not_ready_for = node.not_ready_for(now);
    let given_up = not_ready_for >= GIVEN_UP || node.leaving;
    let has_finding = node.own_events().iter().any(|event| Response::to(event) >= Response::Cordon);
    // A process that has just begun doesn't give a cluster in trouble another minute.
    let is_down = not_ready_for >= UNAVAILABLE || (!node.is_ready() && node.readiness.was_before);
    let out_of_use = is_down || node.unschedulable || node.claim_in_force(fleet.epoch).is_some();
    out_of_use && !given_up && !has_finding
}

/// Whether the scheduler would put a pod there.
fn is_open(node: &Node) -> bool {
    node.covered
        && node.is_ready()
        && !node.unschedulable
        && !node.leaving
        && matches!(node.claim, ClaimOnNode::None)
}
