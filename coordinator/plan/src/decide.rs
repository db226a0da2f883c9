//! The decision for the fleet as a whole: what each node wants, and what the limits let it have.

use std::collections::{BTreeMap, HashMap};

use crate::{
    assessment::{Assessment, Wish, WishKind},
    claim::{Claim, ClaimPhase},
    coverage::{Coverage, Observed},
    event::EventType,
    fleet::{ClaimOnNode, CordonOwner, Fleet, Node, Pending},
    identity::VmReference,
    limits::Limits,
    neighbours::Neighbours,
    pods::LastCall,
    reason::Reason,
    time::Now,
};

/// What is to happen, for each node by name.
pub type Plan = BTreeMap<String, Decision>;

/// What is to happen with one node, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// How far mechanic is with it.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// What else a person should know of it.
    pub warnings: Vec<Reason>,
    /// Whether its probe is heard.
    pub coverage: Coverage,
    /// What is to be written on the Node, as one compare-and-swap.
    pub write: Option<NodeWrite>,
    /// What is to be done with its pods.
    pub drain: DrainOrder,
}

/// How far mechanic is with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is announced.
    Idle,
    /// Something is announced, and nothing is done.
    Noticed,
    /// Cordoned by mechanic.
    Cordoned,
    /// Its pods are being evicted.
    Draining,
    /// Its pods are gone, except those that must stay.
    Drained,
    /// What stands on it can't be understood; held as it is.
    Held,
}

/// A write on a Node.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeWrite {
    /// Label, claim and, where said, the cordon.
    Hold {
        /// The claim as it is to stand there.
        claim: Box<Claim>,
        /// Make the node unschedulable in the same write.
        cordon: bool,
    },
    /// Take label and claim off and, where said, the cordon.
    Release {
        /// Make the node schedulable in the same write.
        uncordon: bool,
    },
}

impl NodeWrite {
    /// Gives a node back: claim and label off, and the cordon where nobody else wants it.
    #[must_use]
    pub fn release(node: &Node, claim: &Claim) -> Self {
        let is_ours = !claim.was_unschedulable
            && !matches!(node.cordon_owner, Some(CordonOwner::Both | CordonOwner::Somebody));
        Self::Release { uncordon: node.unschedulable && is_ours }
    }

    /// What must be reckoned with from the moment that it is sent to `node`.
    #[must_use]
    pub fn pending(&self, node: &Node) -> Option<Pending> {
        let Self::Hold { claim, cordon } = self else { return None };
        let drains =
            matches!(&node.claim, ClaimOnNode::Readable(claim) if claim.phase == ClaimPhase::Draining);
        match claim.phase {
            ClaimPhase::Draining if !drains => Some(Pending::Drain),
            ClaimPhase::Cordoned if drains => Some(Pending::DrainEnd),
            _ => cordon.then_some(Pending::Cordon),
        }
    }
}

/// What is to be done with a node's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainOrder {
    /// Evict nothing, watch nothing.
    Stop,
    /// Evict nothing, but know which pods there are: how long they need decides when a drain must begin.
    Look(Departure),
    /// Evict; the claim says so already.
    Run(Departure),
    /// Evict nothing, but watch until nothing that was evicted is terminating any more.
    Settle,
}

/// What pods are to leave a node for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The costliest of the events.
    pub worst: EventType,
    /// The latest safe start has come: no pod waits for another, or for its own wish, any more.
    pub urgent: bool,
    /// What budgets hold is deleted before this, where people have allowed that.
    pub last_call: Option<LastCall>,
}

impl Departure {
    /// Where nothing is known yet: nothing is lost by it.
    pub const UNKNOWN: Self = Self { worst: EventType::Unknown, urgent: false, last_call: None };
}

/// Decides for the whole fleet.
#[must_use]
pub fn plan(fleet: &Fleet, now: Now) -> Plan {
    let observed = Observed::all(fleet, now.monotonic);
    let neighbours = Neighbours::of(&observed);
    let twins = twins(fleet);
    let mut decisions = Vec::with_capacity(observed.len());
    let mut wishes = Vec::new();
    for (index, observed) in observed.iter().enumerate() {
        let twin = twins.get(observed.name).copied();
        let (decision, wish) = Assessment::new(fleet, *observed, &neighbours, now).decide(twin);
        decisions.push((observed, decision));
        wishes.extend(wish.map(|wish| (index, wish)));
    }
    // Earliest deadline first; an event under way has none left and goes before all others.
    wishes.sort_by_key(|(index, wish)| (wish.deadline, *index));
    let mut limits = Limits::of(fleet, &observed, now.monotonic);
    for (index, wish) in wishes {
        let Some((Observed { node, .. }, decision)) = decisions.get_mut(index) else { continue };
        match grant(&mut limits, node, &wish) {
            Ok(()) => decision.grant(wish, !node.unschedulable),
            Err(reason) => decision.reason = reason,
        }
    }
    for (_, decision) in &mut decisions {
        if let Some(NodeWrite::Hold { claim, .. }) = &mut decision.write {
            decision.reason.code().as_str().clone_into(&mut claim.reason);
        }
    }
    decisions.into_iter().map(|(observed, decision)| (observed.name.to_owned(), decision)).collect()
}

fn grant<'a>(limits: &mut Limits<'a>, node: &'a Node, wish: &Wish) -> Result<(), Reason> {
    match wish.kind {
        // Granted before, and counted: the write that came of it may be lost.
        WishKind::Cordon if node.pending == Some(Pending::Cordon) => Ok(()),
        WishKind::Drain if node.pending == Some(Pending::Drain) => Ok(()),
        // A cordon that stands already costs nobody anything.
        WishKind::Cordon if node.unschedulable => Ok(()),
        WishKind::Cordon => limits.take_cordon(node, wish.emergency),
        WishKind::Drain if wish.machine_comes_back && !limits.has_room_beside(node) => {
            Err(Reason::NowhereToGo)
        }
        WishKind::Drain => limits.take_slot(node, wish.emergency),
    }
}

impl Decision {
    /// The node gets what it wanted.
    fn grant(&mut self, Wish { kind, mut claim, .. }: Wish, cordon: bool) {
        self.reason = match kind {
            WishKind::Cordon => {
                claim.steps = claim.steps.saturating_add(1);
                Reason::Cordoning
            }
            WishKind::Drain => {
                claim.enter(ClaimPhase::Draining);
                Reason::StartingDrain
            }
        };
        if cordon {
            // From now on the cordon is ours.
            claim.was_unschedulable = false;
        }
        self.write = Some(NodeWrite::Hold { claim: Box::new(claim), cordon });
    }
}

/// Nodes that name the same machine as another, with the other's name: nobody can say which of them is meant.
fn twins(fleet: &Fleet) -> HashMap<&str, &str> {
    let mut machines = HashMap::<&VmReference, &str>::with_capacity(fleet.nodes.len());
    let mut twins = HashMap::new();
    for (name, node) in &fleet.nodes {
        let Some(vm) = &node.vm else { continue };
        if let Some(other) = machines.insert(vm, name) {
            twins.insert(other, name.as_str());
            twins.insert(name, other);
        }
    }
    twins
}
