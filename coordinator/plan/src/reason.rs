//! Why a node is as it is: a stable code, and a sentence for people.

mod code;

use std::{fmt, time::Duration};

pub use code::ReasonCode;

/// The reason for a node's phase, or something worth knowing beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No event concerns the node.
    NothingAnnounced,
    /// No probe can run on the node.
    NotCovered,
    /// The probe speaks of another machine than the Node.
    ProbeMismatched,
    /// Another Node names the same machine.
    MachineNotUnique {
        /// That Node.
        other: String,
    },
    /// An event is announced, further ahead than the lead time.
    WaitingForLeadTime {
        /// `EventId`.
        event_id: String,
        /// `NotBefore` as received.
        not_before: String,
    },
    /// An event is announced that nothing can be said of.
    ShownOnly {
        /// `EventType` as received.
        event_type: String,
        /// `EventStatus` as received.
        status: String,
    },
    /// An event is announced that isn't worth moving pods for.
    Tolerated {
        /// `EventType` as received.
        event_type: String,
        /// The line of `policy.yaml` with a rule that decides it.
        rule: Option<u64>,
    },
    /// Only another machine's probe shows an event for this node, whose own probe is silent.
    SeenByNeighbour {
        /// `EventId`.
        event_id: String,
        /// `EventType` as received.
        event_type: String,
        /// The Node whose probe shows it.
        neighbour: String,
    },
    /// A label of the node opts it out.
    OptedOut {
        /// The label.
        label: String,
    },
    /// The settings say so.
    Paused,
    /// As many nodes are cordoned as the limit allows.
    CordonDeferred {
        /// Cordoned by mechanic now.
        cordoned: usize,
        /// The limit.
        limit: usize,
        /// Which nodes are counted: the end of "nodes …".
        of: String,
    },
    /// The node is about to be cordoned.
    Cordoning,
    /// The cordon's label is there without a claim: somebody else's.
    LabelWithoutClaim,
    /// The claim can't be understood.
    ClaimUnreadable(String),
    /// The claim names another Node's UID.
    ClaimOfAnotherNode,
    /// The claim was written by a leader of a later epoch than this one.
    ClaimOfLaterLeader {
        /// That epoch.
        epoch: u64,
    },
    /// Somebody made the node schedulable again.
    Vetoed,
    /// Cordoned, and the event is none that pods are moved for, or not any more.
    CordonedOnly {
        /// `EventType` as received.
        event_type: String,
        /// `EventStatus` as received.
        status: String,
        /// The line of `policy.yaml` with a rule that decides it.
        rule: Option<u64>,
    },
    /// As many nodes are being drained as the budget allows.
    WaitingForSlot {
        /// Drains now.
        running: usize,
        /// The budget.
        limit: usize,
        /// Which nodes are counted: the end of "nodes …", empty for all.
        of: String,
    },
    /// As many nodes are out of use as the budget allows.
    TooManyUnavailable {
        /// Others that are out of use.
        unavailable: usize,
        /// The budget.
        limit: usize,
        /// Which nodes are counted: the end of "nodes …", empty for all.
        of: String,
    },
    /// A drain is about to begin.
    StartingDrain,
    /// The node's own probe was last heard too long ago to start a drain on what it said.
    ReportTooOld,
    /// No other node takes pods.
    NowhereToGo,
    /// Pods are being evicted.
    Draining {
        /// Pods still to leave.
        pods: usize,
        /// Those of them that a PodDisruptionBudget holds at the moment.
        blocked: usize,
    },
    /// The drain was told to stop; evicted pods are still terminating.
    StoppingDrain {
        /// How many.
        terminating: usize,
    },
    /// Every pod that must leave is blocked, and has been for so long that the slot is another's.
    DrainBlocked {
        /// How many.
        pods: usize,
        /// One of them, by namespace and name, and what would free it.
        first: String,
    },
    /// Every pod that could be moved is gone.
    Drained,
    /// The same, and some pods stay.
    DrainedExcept(usize),
    /// The node's own probe has not reported to this leader yet.
    WaitingForProbe,
    /// The event isn't proven to be over; what is missing, as the end of "waiting until …".
    WaitingForProof(String),
    /// The node is about to be given back.
    Releasing,
    /// The pods can hardly be moved before the event begins.
    DeadlineAtRisk {
        /// `EventId`.
        event_id: String,
        /// Until `NotBefore`.
        left: Duration,
        /// What the pods need.
        needed: Duration,
    },
    /// The event came without time to do anything.
    NoticeTooShort {
        /// `EventId`.
        event_id: String,
        /// `EventSource` as received.
        source: String,
    },
    /// The Node's condition `VMEventScheduled` and its probe contradict each other.
    ProbeDisagrees {
        /// What the condition says.
        condition: bool,
    },
    /// The proof that the event is over has not come for long, and a person has to look.
    ProofOverdue {
        /// How long the node's own probe has been silent.
        silent_for: Duration,
    },
}

impl Reason {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ReasonCode {
        match self {
            Self::NothingAnnounced => ReasonCode::NothingAnnounced,
            Self::NotCovered => ReasonCode::NotCovered,
            Self::ProbeMismatched => ReasonCode::ProbeMismatched,
            Self::MachineNotUnique { .. } => ReasonCode::MachineNotUnique,
            Self::WaitingForLeadTime { .. } => ReasonCode::WaitingForLeadTime,
            Self::ShownOnly { .. } => ReasonCode::ShownOnly,
            Self::Tolerated { .. } => ReasonCode::Tolerated,
            Self::SeenByNeighbour { .. } => ReasonCode::SeenByNeighbour,
            Self::OptedOut { .. } => ReasonCode::OptedOut,
            Self::Paused => ReasonCode::Paused,
            Self::CordonDeferred { .. } => ReasonCode::CordonDeferred,
            Self::Cordoning => ReasonCode::Cordoning,
            Self::LabelWithoutClaim => ReasonCode::LabelWithoutClaim,
            Self::ClaimUnreadable(_) => ReasonCode::ClaimUnreadable,
            Self::ClaimOfAnotherNode => ReasonCode::ClaimOfAnotherNode,
            Self::ClaimOfLaterLeader { .. } => ReasonCode::ClaimOfLaterLeader,
            Self::Vetoed => ReasonCode::Vetoed,
            Self::CordonedOnly { .. } => ReasonCode::CordonedOnly,
            Self::WaitingForSlot { .. } => ReasonCode::WaitingForSlot,
            Self::TooManyUnavailable { .. } => ReasonCode::TooManyUnavailable,
            Self::StartingDrain => ReasonCode::StartingDrain,
            Self::ReportTooOld => ReasonCode::ReportTooOld,
            Self::NowhereToGo => ReasonCode::NowhereToGo,
            Self::Draining { .. } => ReasonCode::Draining,
            Self::StoppingDrain { .. } => ReasonCode::StoppingDrain,
            Self::DrainBlocked { .. } => ReasonCode::DrainBlocked,
            Self::Drained => ReasonCode::Drained,
            Self::DrainedExcept(_) => ReasonCode::DrainedExcept,
            Self::WaitingForProbe => ReasonCode::WaitingForProbe,
            Self::WaitingForProof(_) => ReasonCode::WaitingForProof,
            Self::Releasing => ReasonCode::Releasing,
            Self::DeadlineAtRisk { .. } => ReasonCode::DeadlineAtRisk,
            Self::NoticeTooShort { .. } => ReasonCode::NoticeTooShort,
            Self::ProbeDisagrees { .. } => ReasonCode::ProbeDisagrees,
            Self::ProofOverdue { .. } => ReasonCode::ProofOverdue,
        }
    }
}

impl fmt::Display for Reason {
    #[expect(clippy::too_many_lines, reason = "one sentence for each reason")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingAnnounced => write!(f, "no event is announced for this node"),
            Self::NotCovered => write!(f, "no probe can run on this node, so events for it are not known"),
            Self::ProbeMismatched => write!(
                f,
                "the probe reports another virtual machine than the Node's providerID; its events are not acted on"
            ),
            Self::MachineNotUnique { other } => write!(
                f,
                "the Node {other} names the same virtual machine, so nobody can say which is meant; nothing is done"
            ),
            Self::WaitingForLeadTime { event_id, not_before } => write!(
                f,
                "event {event_id} starts not before {not_before}; it is acted on once that is within the lead time"
            ),
            Self::ShownOnly { event_type, status } => write!(
                f,
                "an event of type {event_type} with status {status} is shown, which means nothing that is acted on"
            ),
            Self::Tolerated { event_type, rule } => {
                write!(f, "a {event_type} is announced that is not worth moving pods for{}", by(*rule))
            }
            Self::SeenByNeighbour { event_id, event_type, neighbour } => write!(
                f,
                "the probe on {neighbour} shows the {event_type} {event_id} for this node, whose own probe is silent; no pod is moved on another's word"
            ),
            Self::OptedOut { label } => {
                write!(f, "the node's label {label} opts it out, so no cordon and no drain begins")
            }
            Self::Paused => write!(f, "mechanic is paused, so no cordon and no drain begins"),
            Self::CordonDeferred { cordoned, limit, of } => write!(
                f,
                "not cordoned yet: {cordoned} of at most {limit} nodes{of} are, and events due earlier go first"
            ),
            Self::Cordoning => write!(f, "the node is about to be cordoned"),
            Self::LabelWithoutClaim => write!(
                f,
                "the node carries mechanic's label without a claim, so somebody else holds it; nothing is done"
            ),
            Self::ClaimUnreadable(why) => {
                write!(f, "{why}; the node is held as it is until a person removes the annotation")
            }
            Self::ClaimOfAnotherNode => write!(
                f,
                "the claim names the UID of another Node; the node is held as it is until a person removes the annotation"
            ),
            Self::ClaimOfLaterLeader { epoch } => {
                write!(f, "the claim was written in the later epoch {epoch}; this leader doesn't touch it")
            }
            Self::Vetoed => write!(
                f,
                "somebody made the node schedulable again, so nothing more is done for its present events"
            ),
            Self::CordonedOnly { event_type, status, rule } => write!(
                f,
                "cordoned; pods are not moved for an event of type {event_type} that is {status}{}",
                by(*rule)
            ),
            Self::WaitingForSlot { running, limit, of } => write!(
                f,
                "cordoned; {running} of at most {limit} nodes{of} are being drained, and events due earlier go first"
            ),
            Self::TooManyUnavailable { unavailable, limit, of } => write!(
                f,
                "cordoned; {unavailable} other nodes{of} are out of use, and at most {limit} may be, this one included"
            ),
            Self::StartingDrain => write!(f, "a drain slot is free; pods are about to be evicted"),
            Self::ReportTooOld => write!(
                f,
                "the node's own probe has had no valid poll for too long to begin anything on what it said"
            ),
            Self::NowhereToGo => {
                write!(f, "no other node takes pods, and the machine comes back, so nothing is evicted")
            }
            Self::Draining { pods, blocked: 0 } => write!(f, "{} still to leave", pods_are(*pods)),
            Self::Draining { pods: 1, .. } => {
                write!(f, "1 pod is still to leave, and is held by a PodDisruptionBudget")
            }
            Self::Draining { pods, blocked } => {
                write!(f, "{pods} pods are still to leave; {blocked} of them held by a PodDisruptionBudget")
            }
            Self::StoppingDrain { terminating } => {
                write!(f, "nothing more is evicted; {} still terminating", pods_are(*terminating))
            }
            Self::DrainBlocked { pods: 1, first } => write!(
                f,
                "cordoned; the one pod that must leave can't, so another node may have the drain slot; {first}"
            ),
            Self::DrainBlocked { pods, first } => write!(
                f,
                "cordoned; none of the {pods} pods that must leave can, so another node may have the drain slot; {first}"
            ),
            Self::Drained => {
                write!(f, "every pod that can be moved is gone; waiting for the event to come and go")
            }
            Self::DrainedExcept(pods) => write!(
                f,
                "every pod that can be moved is gone, {pods} stay; waiting for the event to come and go"
            ),
            Self::WaitingForProbe => {
                write!(f, "held by an earlier leader; waiting for the node's own probe to report")
            }
            Self::WaitingForProof(missing) => {
                write!(f, "the event isn't proven to be over; waiting until {missing}")
            }
            Self::Releasing => write!(f, "the event is over; the node is about to be given back"),
            Self::DeadlineAtRisk { event_id, left, needed } => write!(
                f,
                "event {event_id} may begin in {} s, and the pods need about {} s to leave",
                left.as_secs(),
                needed.as_secs()
            ),
            Self::NoticeTooShort { event_id, source } => {
                let by = if source.is_empty() { "nobody known" } else { source };
                write!(
                    f,
                    "event {event_id} (asked for by {by}) came with too little notice to move pods before it"
                )
            }
            Self::ProbeDisagrees { condition: true } => {
                write!(f, "the Node's condition VMEventScheduled says there is an event, its probe sees none")
            }
            Self::ProbeDisagrees { condition: false } => write!(
                f,
                "the probe shows an event, the Node's condition VMEventScheduled says that there is none"
            ),
            Self::ProofOverdue { silent_for } => write!(
                f,
                "the node's own probe has been silent for {} min, so nobody can say that the event is over; kubectl uncordon gives the node back to pods",
                silent_for.as_secs() / 60
            ),
        }
    }
}

/// The end of a sentence about what a rule has decided.
fn by(rule: Option<u64>) -> String {
    rule.map(|line| format!(", by the rule at line {line} of policy.yaml")).unwrap_or_default()
}

fn pods_are(count: usize) -> String {
    if count == 1 { "1 pod is".to_owned() } else { format!("{count} pods are") }
}
