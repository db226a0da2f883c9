//! Kubernetes Events on the Node: one for each step, and one for each new reason to wait.

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams, core::ObjectMeta};
use mechanic_plan::{ClaimPhase, NodeWrite, Reason};
use strum::{IntoStaticStr, VariantNames};

use crate::gate::Gate;

const CONTROLLER: &str = "mechanic-coordinator";
/// Where Events on cluster-wide objects belong.
const NAMESPACE: &str = "default";
/// A note may be a kilobyte long.
const NOTE: usize = 1000;

/// Publishes Events, while this process leads. Not kube's Recorder, which counts a repeated reason under its
/// first note: the next event of a node would never be named.
#[derive(Clone)]
pub(crate) struct NodeEvents {
    events: Api<Event>,
    gate: Gate,
    pod_name: String,
}

/// What is told about a Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// A [`StepCode`], or the code of a [`Reason`].
    pub(crate) reason: &'static str,
    pub(crate) note: String,
    pub(crate) warning: bool,
}

/// The steps of a node. The names are the codes: a public contract, documented in `docs/reasons.md`.
#[derive(Clone, Copy, Debug, IntoStaticStr, VariantNames)]
pub(crate) enum StepCode {
    /// Claimed, and made unschedulable.
    Cordoned,
    /// Evictions begin.
    DrainStarted,
    /// No more evictions for now.
    DrainStopped,
    /// Every pod that can be moved is gone.
    DrainFinished,
    /// The claim is taken off, and the cordon if it was ours.
    Released,
}

impl NodeEvents {
    pub(crate) fn new(client: Client, gate: Gate, pod_name: &str) -> Self {
        Self { events: Api::namespaced(client, NAMESPACE), gate, pod_name: pod_name.to_owned() }
    }

    /// Publishes one. An Event that gets lost costs an explanation, never a step.
    pub(crate) async fn publish(&self, node: &str, node_uid: &str, step: Step) {
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            uid: Some(node_uid.to_owned()),
            ..ObjectReference::default()
        };
        let event = Event {
            metadata: ObjectMeta { generate_name: Some(format!("{node}-")), ..ObjectMeta::default() },
            action: Some("Maintain".to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(step.note.chars().take(NOTE).collect()),
            reason: Some(step.reason.to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.pod_name.clone()),
            type_: Some(if step.warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        };
        let parameters = PostParams::default();
        if let Err(error) = self.gate.write(self.events.create(&parameters, &event)).await {
            tracing::warn!(node, reason = step.reason, %error, "an Event was not published");
        }
    }
}

/// What a write on the Node that went through tells.
pub(crate) fn step_of_write(before: Option<ClaimPhase>, write: &NodeWrite) -> Option<Step> {
    let step = |code: StepCode, note| Some(Step { reason: code.into(), note, warning: false });
    match write {
        NodeWrite::Release { uncordon: true } => {
            step(StepCode::Released, "the event is over; the node takes pods again".to_owned())
        }
        NodeWrite::Release { uncordon: false } => step(
            StepCode::Released,
            "the event is over; mechanic's claim is taken off, the cordon stays as somebody else wants it"
                .to_owned(),
        ),
        NodeWrite::Hold { claim, .. } if before == Some(claim.phase) => None,
        NodeWrite::Hold { claim, .. } => {
            let events = claim.events.iter().map(|(event_id, event)| {
                let when = if event.not_before.is_empty() { "now" } else { &event.not_before };
                format!("{} {event_id} ({}, not before {when})", event.event_type, event.status)
            });
            let events = events.collect::<Vec<_>>().join(", ");
            match claim.phase {
                ClaimPhase::Cordoned if before.is_none() => {
                    step(StepCode::Cordoned, format!("cordoned for {events}"))
                }
                // What must leave is looked at again for a new event.
                ClaimPhase::Cordoned if before == Some(ClaimPhase::Drained) => None,
                ClaimPhase::Cordoned => {
                    step(StepCode::DrainStopped, "nothing more is evicted for now".to_owned())
                }
                ClaimPhase::Draining => {
                    step(StepCode::DrainStarted, format!("pods are evicted for {events}"))
                }
                ClaimPhase::Drained if claim.pods_left == 0 => {
                    step(StepCode::DrainFinished, "every pod that can be moved is gone".to_owned())
                }
                ClaimPhase::Drained => step(
                    StepCode::DrainFinished,
                    format!("every pod that can be moved is gone; {} stay", claim.pods_left),
                ),
            }
        }
    }
}

/// What a new reason tells, unless the write that goes with it does.
pub(crate) fn step_of_reason(reason: &Reason) -> Option<Step> {
    let warning = match reason {
        Reason::WaitingForLeadTime { .. }
        | Reason::ShownOnly { .. }
        | Reason::WaitingForSlot { .. }
        | Reason::StoppingDrain { .. }
        | Reason::WaitingForProbe
        | Reason::WaitingForProof(_) => false,
        Reason::ProbeMismatched
        | Reason::LabelWithoutClaim
        | Reason::ClaimUnreadable(_)
        | Reason::ClaimOfAnotherNode
        | Reason::ClaimOfLaterLeader { .. }
        | Reason::Vetoed
        | Reason::ReportTooOld
        | Reason::NowhereToGo => true,
        Reason::NothingAnnounced
        | Reason::NotCovered
        | Reason::Cordoning
        | Reason::StartingDrain
        | Reason::Draining { .. }
        | Reason::Drained
        | Reason::DrainedExcept(_)
        | Reason::Releasing => return None,
    };
    Some(Step { reason: reason.code(), note: reason.to_string(), warning })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mechanic_plan::Verdict;
    use strum::VariantNames;

    use super::*;

    /// The table and the enums are one contract: neither may have a code that the other lacks.
    #[test]
    fn docs_reasons_md_lists_exactly_the_codes_there_are() {
        let documented: BTreeSet<&str> = include_str!("../../docs/reasons.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(code, _)| code))
            .collect();
        let codes = StepCode::VARIANTS.iter().chain(Reason::CODES).chain(Verdict::CODES).copied();
        assert_eq!(documented, codes.collect());
    }
}
