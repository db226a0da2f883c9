//! Why a node is as it is: a stable code, and a sentence for people.

use std::fmt;

use strum::{IntoStaticStr, VariantNames};

/// The reason for a node's phase. The names are the codes: a public contract, documented in
/// `docs/reasons.md`.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr, VariantNames)]
pub enum Reason {
    /// No event concerns the node.
    NothingAnnounced,
    /// No probe can run on the node.
    NotCovered,
    /// The probe speaks of another machine than the Node.
    ProbeMismatched,
    /// An event is announced, further ahead than the lead time.
    WaitingForLeadTime {
        /// `EventId`.
        event_id: String,
        /// `NotBefore` as received.
        not_before: String,
    },
    /// An event is announced that policy only shows.
    ShownOnly {
        /// `EventType` as received.
        event_type: String,
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
    /// As many nodes are being drained as the budget allows.
    WaitingForSlot {
        /// Drains now.
        running: usize,
        /// The budget.
        limit: usize,
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
    /// The event has vanished in mid-drain; evicted pods are still terminating.
    StoppingDrain {
        /// How many.
        terminating: usize,
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
}

impl Reason {
    /// All codes.
    pub const CODES: &'static [&'static str] = Self::VARIANTS;

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingAnnounced => write!(f, "no event is announced for this node"),
            Self::NotCovered => write!(f, "no probe can run on this node, so events for it are not known"),
            Self::ProbeMismatched => {
                write!(
                    f,
                    "the probe reports another virtual machine than the Node's providerID; its events are not acted on"
                )
            }
            Self::WaitingForLeadTime { event_id, not_before } => {
                write!(
                    f,
                    "event {event_id} starts not before {not_before}; it is acted on once that is within the lead time"
                )
            }
            Self::ShownOnly { event_type } => {
                write!(f, "an event of type {event_type} is announced; policy only shows these")
            }
            Self::Cordoning => write!(f, "the node is about to be cordoned"),
            Self::LabelWithoutClaim => {
                write!(
                    f,
                    "the node carries mechanic's label without a claim, so somebody else holds it; nothing is done"
                )
            }
            Self::ClaimUnreadable(why) => {
                write!(f, "{why}; the node is held as it is until a person removes the annotation")
            }
            Self::ClaimOfAnotherNode => {
                write!(
                    f,
                    "the claim names the UID of another Node; the node is held as it is until a person removes the annotation"
                )
            }
            Self::ClaimOfLaterLeader { epoch } => {
                write!(f, "the claim was written in the later epoch {epoch}; this leader doesn't touch it")
            }
            Self::Vetoed => write!(
                f,
                "somebody made the node schedulable again, so nothing more is done for its present events"
            ),
            Self::WaitingForSlot { running, limit } => {
                write!(
                    f,
                    "cordoned; {running} of at most {limit} nodes are being drained, and events due earlier go first"
                )
            }
            Self::StartingDrain => write!(f, "a drain slot is free; pods are about to be evicted"),
            Self::ReportTooOld => {
                write!(
                    f,
                    "cordoned; the node's own probe was last heard too long ago to evict pods on what it said"
                )
            }
            Self::NowhereToGo => {
                write!(f, "no other node takes pods, and the machine comes back, so nothing is evicted")
            }
            Self::Draining { pods, blocked: 0 } => write!(f, "{pods} pods are still to leave"),
            Self::Draining { pods, blocked } => {
                write!(
                    f,
                    "{pods} pods are still to leave; {blocked} of them are held by a PodDisruptionBudget"
                )
            }
            Self::StoppingDrain { terminating } => {
                write!(
                    f,
                    "the event is no longer announced; nothing more is evicted, {terminating} evicted pods are still terminating"
                )
            }
            Self::Drained => {
                write!(f, "every pod that can be moved is gone; waiting for the event to come and go")
            }
            Self::DrainedExcept(pods) => {
                write!(
                    f,
                    "every pod that can be moved is gone, {pods} stay; waiting for the event to come and go"
                )
            }
            Self::WaitingForProbe => {
                write!(f, "held by an earlier leader; waiting for the node's own probe to report")
            }
            Self::WaitingForProof(missing) => {
                write!(f, "the event is no longer seen; waiting until {missing}")
            }
            Self::Releasing => write!(f, "the event is over; the node is about to be given back"),
        }
    }
}
