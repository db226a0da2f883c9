//! The world as the coordinator knows it at one moment: the input of [`plan`](crate::plan).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    claim::{Claim, ClaimError},
    config::Config,
    event::{EventType, ScheduledEvent},
    identity::VmReference,
    pods::{PodReport, Verdict},
    policy::UnmatchedRule,
    response::Response,
    time::Monotonic,
};

/// An immutable snapshot.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// The settings in force.
    pub config: Config,
    /// Epoch of this leader.
    pub epoch: u64,
    /// Since when this process leads: until the probes had their time, a silent one is unknown, not mute.
    pub leading_since: Monotonic,
    /// `metadata.uid` of this leader's pod, which is never evicted.
    pub leader_pod_uid: String,
    /// All Nodes by name.
    pub nodes: BTreeMap<String, Arc<Node>>,
}

impl Fleet {
    /// The rules that name what none of the nodes has.
    #[must_use]
    pub fn unmatched_rules(&self) -> Vec<UnmatchedRule> {
        self.config.policy.unmatched(&self.nodes.values().map(Arc::as_ref).collect::<Vec<_>>())
    }

    /// What is done about `event` of `node`.
    pub(crate) fn response(&self, node: &Node, event: &ScheduledEvent) -> Response {
        self.config.policy.events.response(node, event)
    }

    /// Whether an event of its own asks for something to be done about `node`, now or later.
    pub(crate) fn has_finding(&self, node: &Node) -> bool {
        node.own_events().iter().any(|event| self.response(node, event) >= Response::Cordon)
    }
}

/// One Node, with all that is known of it.
#[derive(Clone, Debug)]
// Each says something of its own, and all combinations occur.
#[allow(clippy::struct_excessive_bools)]
pub struct Node {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`: what a write that is decided on this snapshot must name.
    pub resource_version: String,
    /// From `spec.providerID`; `None` for what is no Azure virtual machine.
    pub vm: Option<VmReference>,
    /// Whether a probe can run there: a Linux node that is no virtual one.
    pub covered: bool,
    /// The agent pool, which `max-cordoned` is about; empty where none is named.
    pub pool: String,
    /// Its labels, for rules that name some.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The label [`OPT_OUT_LABEL`](crate::OPT_OUT_LABEL) opts it out; [`Policy::opted_out_by`](crate::Policy::opted_out_by)
    /// knows of others.
    pub opted_out: bool,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Who made it unschedulable, as the API server remembers it; `None` where it doesn't.
    pub cordon_owner: Option<CordonOwner>,
    /// An autoscaler takes it away, or its machine was shut down on purpose.
    pub leaving: bool,
    /// Its machine was shut down on purpose.
    pub shut_down: bool,
    /// The condition Ready.
    pub readiness: Readiness,
    /// What AKS's node-problem-detector says in the condition `VMEventScheduled`; `None` where it says nothing.
    pub vm_event_condition: Option<VmEventCondition>,
    /// What stands on it of mechanic's.
    pub claim: ClaimOnNode,
    /// What its probe said last; `None` if it was never heard by this process.
    pub probe: Option<Probe>,
    /// Its pods, and how its drain goes; `None` where this process has not looked.
    pub drain: Option<DrainProgress>,
    /// A write that begins or ends something is on its way, or its outcome is unknown.
    pub pending: Option<Pending>,
}

/// Whose `spec.unschedulable` is. A claim alone can't tell: somebody may have taken mechanic's cordon off and put
/// one of their own on before anybody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CordonOwner {
    /// It was set by mechanic, and nobody has set it since.
    Mechanic,
    /// It was set by somebody else, after mechanic's was taken off or before there was one.
    Somebody,
    /// Set by mechanic, and applied by somebody else as well.
    Both,
}

/// A write that must be reckoned with from the moment it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// It makes the node unschedulable.
    Cordon,
    /// It begins a drain.
    Drain,
    /// It gives a drain's slot back: nothing is evicted any more.
    DrainEnd,
}

/// The condition Ready, as this process has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it is True.
    pub ready: bool,
    /// Since when it is what it is, as far as this process knows.
    pub since: Monotonic,
    /// Whether it was so already when this process first listed the Nodes, and so maybe for much longer.
    pub was_before: bool,
}

/// The condition `VMEventScheduled`, as this process has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmEventCondition {
    /// Whether it says that there is an event.
    pub event: bool,
    /// Since when it is what it is, as far as this process knows.
    pub since: Monotonic,
}

/// Label and annotation of mechanic on a Node.
// One for each Node: 5,000 of them are a megabyte, and a Box would be in the way wherever a claim is looked at.
#[allow(clippy::large_enum_variant)]
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
    /// Since when that document says of the node's own machine what it says.
    pub unchanged_since: Monotonic,
    /// What the polls prove about the node's own events; `None` while they fail.
    pub evidence: Option<Evidence>,
    /// What they prove about its neighbours' events, and so about the document as a whole.
    pub evidence_of_document: Option<Evidence>,
    /// When its polls last proved anything, or it came to this leader if they never have.
    pub proved_last: Monotonic,
    /// What its documents have listed, whichever machine it hits.
    pub listed: Arc<Vec<Listed>>,
}

/// An event that a probe's document has listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `EventId`.
    pub event_id: String,
    /// Since when this leader knows of it from that probe.
    pub since: Monotonic,
}

/// A machine in a probe's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeVm {
    /// `vmId`.
    pub vm_id: String,
    /// From `resourceId`; `None` where that is of no known form.
    pub reference: Option<VmReference>,
}

/// A document of scheduled events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// The events that name the node's machine.
    pub own_events: Vec<ScheduledEvent>,
    /// The events of its neighbours in the placement group: hints, no more.
    pub other_events: Vec<ScheduledEvent>,
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

/// The pods of a node and how its drain goes, as its task reports it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DrainProgress {
    /// Whether all pods have been listed.
    pub listed: bool,
    /// The pods that are still there and are no part of the node itself.
    pub pods: Vec<PodReport>,
    /// What the task does.
    pub stage: DrainStage,
    /// Evictions on their way, or accepted with the pod still there.
    pub evicted: usize,
    /// Pods that are terminating, whoever asked for it; an earlier leader may have.
    pub terminating: usize,
    /// Since when pods must leave, and none of them can.
    pub blocked_since: Option<Monotonic>,
}

/// What the task of a drain does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrainStage {
    /// It evicts nothing and watches the pods.
    #[default]
    Looking,
    /// It sends evictions as budgets allow.
    Evicting,
    /// It has ended: two lists in a row, far enough apart, showed nothing left to move.
    Clean {
        /// For an event of this type, the costliest that it was told of.
        worst: EventType,
    },
    /// It has ended: it was told to, and nothing that it evicted is there any more.
    Stopped,
}

impl DrainStage {
    /// Whether its task is over.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Clean { .. } | Self::Stopped)
    }
}

impl DrainProgress {
    /// Whether pods must leave and none of them can, as things stand.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        let any = |is: fn(Verdict) -> bool| self.pods.iter().any(|pod| is(pod.verdict));
        any(Verdict::must_leave) && !any(Verdict::is_moving)
    }

    /// Whether nothing is evicted and nothing that may have been evicted is still there.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.listed && self.stage != DrainStage::Evicting && self.evicted == 0 && self.terminating == 0
    }
}

impl Document {
    /// Whether it lists the event, for whichever machine.
    #[must_use]
    pub fn lists(&self, event_id: &str) -> bool {
        self.own_events.iter().chain(&self.other_events).any(|event| event.event_id == event_id)
    }
}

/// Where the name of a node's zone stands.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

impl Node {
    /// The availability zone that it is in; empty where none is named.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.labels.get(ZONE_LABEL).map_or("", String::as_str)
    }

    /// Whether the condition Ready is True.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness.ready
    }

    /// The events that its own probe shows for its machine.
    #[must_use]
    pub fn own_events(&self) -> &[ScheduledEvent] {
        let document = self.probe.as_ref().and_then(|probe| probe.document.as_ref());
        document.map_or(&[], |document| &document.own_events)
    }

    /// How long the condition Ready has not been True; zero while it is.
    pub(crate) fn not_ready_for(&self, now: Monotonic) -> Duration {
        if self.readiness.ready { Duration::ZERO } else { now.since(self.readiness.since) }
    }

    /// How long the condition Ready has been True; zero while it isn't.
    pub(crate) fn ready_for(&self, now: Monotonic) -> Duration {
        if self.readiness.ready { now.since(self.readiness.since) } else { Duration::ZERO }
    }

    /// The claim, if it is about this very Node and no later leader wrote it.
    pub(crate) fn claim_in_force(&self, epoch: u64) -> Option<&Claim> {
        match &self.claim {
            ClaimOnNode::Readable(claim) if claim.node_uid == self.uid && claim.epoch <= epoch => Some(claim),
            _ => None,
        }
    }
}
