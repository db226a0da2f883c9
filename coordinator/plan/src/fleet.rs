//! The world as the coordinator knows it at one moment: the input of [`plan`](crate::plan).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    claim::{Claim, ClaimError},
    config::Config,
    event::ScheduledEvent,
    identity::VmReference,
    pods::PodReport,
    time::Monotonic,
};

/// An immutable snapshot.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The settings in force.
    pub config: Config,
    /// Epoch of this leader.
    pub epoch: u64,
    /// Since when this process leads: until the probes had their time, a silent one is unknown, not mute.
    pub leading_since: Monotonic,
    /// All Nodes by name.
    pub nodes: BTreeMap<String, Arc<Node>>,
}

/// One Node, with all that is known of it.
#[derive(Clone, Debug)]
pub struct Node {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`: what a write that is decided on this snapshot must name.
    pub resource_version: String,
    /// From `spec.providerID`; `None` for what is no Azure virtual machine.
    pub vm: Option<VmReference>,
    /// Whether a probe can run there: a Linux node that is no virtual one.
    pub covered: bool,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Since when the condition Ready isn't True, as far as this process has seen; `None` while it is.
    pub not_ready_since: Option<Monotonic>,
    /// What stands on it of mechanic's.
    pub claim: ClaimOnNode,
    /// What its probe said last; `None` if it was never heard by this process.
    pub probe: Option<Probe>,
    /// How its drain goes, where this process has begun one.
    pub drain: Option<DrainProgress>,
    /// A write that begins a drain is on its way, or its outcome is unknown.
    pub drain_pending: bool,
}

/// Label and annotation of mechanic on a Node.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimOnNode {
    /// Neither.
    None,
    /// The label alone: somebody else's.
    LabelOnly,
    /// A claim that this version understands.
    Readable(Claim),
    /// A claim that it doesn't.
    Unreadable(Arc<ClaimError>),
}

/// What a node's own probe said last. Bound to the Node by its token, not by what it says.
#[derive(Clone, Debug)]
pub struct Probe {
    /// When the last message came.
    pub last_heard: Monotonic,
    /// Boot id of the machine.
    pub boot_id: String,
    /// Which machine it runs on; `None` until the Instance Metadata Service has told it.
    pub vm: Option<ProbeVm>,
    /// The newest document; `None` until a poll was valid.
    pub document: Option<Arc<Document>>,
    /// What the polls of that document prove; `None` while they fail.
    pub evidence: Option<Evidence>,
}

/// A machine in a probe's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeVm {
    /// `vmId`.
    pub vm_id: String,
    /// From `resourceId`; `None` where that is of no known form.
    pub reference: Option<VmReference>,
}

/// A document of scheduled events, as far as it concerns the probe's own machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// The events that name the node's machine.
    pub own_events: Vec<ScheduledEvent>,
    /// Whether every entry could be read: only then it proves anything absent.
    pub complete: bool,
}

/// What valid polls in a row prove about a document. Ages as of the moment they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// How many.
    pub consecutive_polls: u32,
    /// From the first to the last.
    pub span: Duration,
    /// Without a sign that the service began anew.
    pub continuous_for: Duration,
}

/// How a drain goes, as its task reports it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DrainProgress {
    /// The pods that are still there and are no part of the node itself.
    pub pods: Vec<PodReport>,
    /// Pods that are terminating, or whose eviction is on its way: the slot is held for them.
    pub evicted_terminating: usize,
    /// Two lists in a row, far enough apart, showed nothing left to move.
    pub clean: bool,
    /// The task has ended; nothing will be evicted any more.
    pub ended: bool,
}

impl DrainProgress {
    /// Whether it evicts, or pods that it evicted are still there.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !self.ended || self.evicted_terminating > 0
    }
}

impl Node {
    /// Whether the condition Ready is True.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.not_ready_since.is_none()
    }

    /// The claim, if it is about this very Node and no later leader wrote it.
    pub(crate) fn claim_in_force(&self, epoch: u64) -> Option<&Claim> {
        match &self.claim {
            ClaimOnNode::Readable(claim) if claim.node_uid == self.uid && claim.epoch <= epoch => Some(claim),
            _ => None,
        }
    }
}
