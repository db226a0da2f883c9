//! How much may be done at once.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    claim::ClaimPhase,
    config::{Amount, Config},
    coverage::{Coverage, Observed},
    fleet::{ClaimOnNode, DrainStage, Fleet, Node, Pending},
    policy::NodeBudget,
    reason::Reason,
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
    cluster: Usage,
    pools: BTreeMap<&'a str, Usage>,
    /// Of the nodes that a budget of the policy, by its place there, counts together, by what they have in common.
    groups: BTreeMap<(usize, &'a str), Usage>,
    /// Nodes that would take a pod.
    open: usize,
}

/// How many there are of some nodes, and what becomes of them.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    nodes: usize,
    cordoned: usize,
    draining: usize,
    unavailable: usize,
}

impl<'a> Limits<'a> {
    /// `observed` are the Nodes of `fleet`.
    pub(crate) fn of(fleet: &'a Fleet, observed: &[Observed<'a>], now: Monotonic) -> Self {
        let mut limits = Self {
            config: &fleet.config,
            cluster: Usage::default(),
            pools: BTreeMap::new(),
            groups: BTreeMap::new(),
            open: 0,
        };
        for Observed { node, coverage, .. } in observed {
            let usage = Usage {
                nodes: 1,
                cordoned: usize::from(is_cordoned_by_us(node, fleet)),
                draining: usize::from(holds_slot(node, *coverage, fleet, now)),
                unavailable: usize::from(is_unavailable(node, fleet, now)),
            };
            limits.cluster.add(usage);
            limits.pools.entry(&node.pool).or_default().add(usage);
            for (index, budget) in fleet.config.policy.budgets.iter().enumerate() {
                if let Some(common) = budget.in_common(node) {
                    limits.groups.entry((index, common)).or_default().add(usage);
                }
            }
            limits.open += usize::from(is_open(node));
        }
        limits
    }

    /// Lets `node` be cordoned, or says why not: the tightest limit counts.
    pub(crate) fn take_cordon(&mut self, node: &'a Node, emergency: bool) -> Result<(), Reason> {
        let deferred = |max: Amount, usage: Usage, of: String| {
            let (cordoned, limit) = (usage.cordoned, max.of_rounded_up(usage.nodes));
            (cordoned >= limit).then_some(Reason::CordonDeferred { cordoned, limit, of })
        };
        let pool = self.pools.get(&*node.pool).copied().unwrap_or_default();
        let of_pool = deferred(self.config.max_cordoned, pool, " of the pool".to_owned());
        let of_groups = || {
            let mut groups = self.groups_of(node);
            groups.find_map(|(budget, usage)| deferred(budget.max_cordoned?, usage, budget.group_of(node)))
        };
        if let Some(reason) = of_pool.or_else(of_groups).filter(|_| !emergency) {
            return Err(reason);
        }
        self.count(node, |usage| usage.cordoned += 1);
        Ok(())
    }

    /// Lets a drain of `node` begin, or says why not: the tightest limit counts.
    pub(crate) fn take_slot(&mut self, node: &'a Node, emergency: bool) -> Result<(), Reason> {
        let config = self.config;
        let waiting = |max: Amount, usage: Usage, of: String| {
            let usual = max.of(usage.nodes);
            let in_emergency = || config.emergency_concurrent_drains.of(usage.nodes).max(usual);
            let (running, limit) = (usage.draining, if emergency { in_emergency() } else { usual });
            (running >= limit).then_some(Reason::WaitingForSlot { running, limit, of })
        };
        let too_many = |max: Amount, usage: Usage, of: String| {
            let (unavailable, limit) = (usage.unavailable, max.of(usage.nodes));
            let refused = unavailable >= limit && !emergency;
            refused.then_some(Reason::TooManyUnavailable { unavailable, limit, of })
        };
        let refused = waiting(config.max_concurrent_drains, self.cluster, String::new())
            .or_else(|| too_many(config.max_unavailable_nodes, self.cluster, String::new()))
            .or_else(|| {
                self.groups_of(node).find_map(|(budget, usage)| {
                    let drains = budget.max_concurrent_drains;
                    let unavailable = budget.max_unavailable_nodes;
                    drains
                        .and_then(|max| waiting(max, usage, budget.group_of(node)))
                        .or_else(|| too_many(unavailable?, usage, budget.group_of(node)))
                })
            });
        if let Some(reason) = refused {
            return Err(reason);
        }
        self.count(node, |usage| usage.draining += 1);
        Ok(())
    }

    /// The policy's budgets that are about `node`, and what is in use of them.
    fn groups_of(&self, node: &'a Node) -> impl Iterator<Item = (&'a NodeBudget, Usage)> {
        self.config.policy.budgets.iter().enumerate().filter_map(|(index, budget)| {
            let common = budget.in_common(node)?;
            Some((budget, self.groups.get(&(index, common)).copied().unwrap_or_default()))
        })
    }

    /// Counts what `node` may do now, wherever it is counted.
    fn count(&mut self, node: &'a Node, add: impl Fn(&mut Usage)) {
        add(&mut self.cluster);
        add(self.pools.entry(&node.pool).or_default());
        for (index, budget) in self.config.policy.budgets.iter().enumerate() {
            if let Some(common) = budget.in_common(node) {
                add(self.groups.entry((index, common)).or_default());
            }
        }
    }

    /// Whether a node other than `node` takes pods.
    pub(crate) fn has_room_beside(&self, node: &Node) -> bool {
        self.open > usize::from(is_open(node))
    }
}

impl Usage {
    fn add(&mut self, other: Self) {
        self.nodes += other.nodes;
        self.cordoned += other.cordoned;
        self.draining += other.draining;
        self.unavailable += other.unavailable;
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
    // A process that has just begun doesn't give a cluster in trouble another minute.
    let is_down = not_ready_for >= UNAVAILABLE || (!node.is_ready() && node.readiness.was_before);
    let out_of_use = is_down || node.unschedulable || node.claim_in_force(fleet.epoch).is_some();
    out_of_use && !given_up && !fleet.has_finding(node)
}

/// Whether the scheduler would put a pod there.
fn is_open(node: &Node) -> bool {
    node.covered
        && node.is_ready()
        && !node.unschedulable
        && !node.leaving
        && matches!(node.claim, ClaimOnNode::None)
}
