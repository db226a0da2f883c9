//! What is told about a node: each step that is seen to have been taken, whoever took it, and each new reason once.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

use jiff::Timestamp;
use mechanic_plan::{Claim, ClaimOnNode, ClaimPhase, Decision, Node, Phase, Reason, ReasonCode};

use crate::{events::Telling, log::event_ids, note};

/// What has been told of each node, as far as the next telling depends on it.
#[derive(Default)]
pub(crate) struct Story {
    /// Nodes as they were when they were last looked at, where they carry a claim.
    claimed: HashMap<String, Arc<Node>>,
    /// Nodes that this leader is giving back.
    releasing: HashSet<String>,
    told: HashMap<String, BTreeSet<ReasonCode>>,
}

impl Story {
    /// Forgets nodes that are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.claimed.retain(|name, _| is_there(name));
        self.releasing.retain(|name| is_there(name));
        self.told.retain(|name, _| is_there(name));
    }

    /// Whether this process has seen the claim on this node before, or its own, or a claim go: what is told now has just
    /// been done, then.
    pub(crate) fn has_followed(&self, name: &str, node: &Node, epoch: u64) -> bool {
        claim(node).is_none_or(|claim| {
            claim.epoch == epoch || self.claimed.get(name).is_some_and(|before| before.uid == node.uid)
        })
    }

    /// A release is about to be sent: should the claim vanish, it was ours to take.
    pub(crate) fn release_begins(&mut self, name: &str) {
        self.releasing.insert(name.to_owned());
    }

    /// The node as it was when it was last looked at, if it carried a claim.
    pub(crate) fn before(&self, name: &str) -> Option<Arc<Node>> {
        self.claimed.get(name).map(Arc::clone)
    }

    /// What is to be told now.
    pub(crate) fn tell(&mut self, name: &str, node: &Arc<Node>, decision: &Decision) -> Vec<Telling> {
        let mut telling = Vec::new();
        if claim(node).is_some() {
            let before = self.claimed.insert(name.to_owned(), Arc::clone(node));
            telling.extend(step(before.as_deref(), node));
        } else {
            let before = self.claimed.remove(name).filter(|before| before.uid == node.uid);
            let released = self.releasing.remove(name);
            telling.extend(before.filter(|_| released).map(|before| release(&before, node)));
        }
        let reasons = std::iter::once(&decision.reason).chain(&decision.warnings);
        let reasons: Vec<(&Reason, bool)> =
            reasons.filter_map(|reason| Some((reason, warns(reason)?))).collect();
        let told = self.told.entry(name.to_owned()).or_default();
        // Most have been told: their sentences are made for nobody.
        let news = reasons.iter().filter(|(reason, _)| !told.contains(&reason.code()));
        telling.extend(news.map(|(reason, warning)| of_reason(reason, *warning, node)));
        // While one event lasts, each reason is told once, however often it comes and goes.
        if decision.phase == Phase::Idle {
            told.clear();
        }
        told.extend(reasons.iter().map(|(reason, _)| reason.code()));
        if told.is_empty() {
            self.told.remove(name);
        }
        telling
    }
}

/// The claim on a node, if it is about this very one.
pub(crate) fn claim(node: &Node) -> Option<&Claim> {
    match &node.claim {
        ClaimOnNode::Readable(claim) if claim.node_uid == node.uid => Some(claim),
        _ => None,
    }
}

/// The step that lies between two views of a claimed node. An earlier leader may have taken it and not lived to
/// tell; its key keeps it from being told twice.
fn step(before: Option<&Node>, after: &Node) -> Option<Telling> {
    let claim_after = claim(after)?;
    let claim_before = before.and_then(claim);
    let is_same =
        |before: &Claim| before.steps == claim_after.steps && before.claimed_at == claim_after.claimed_at;
    if claim_before.is_some_and(is_same) {
        return None;
    }
    let phase_before = claim_before.map(|claim| claim.phase);
    let (code, note) = match claim_after.phase {
        // What must leave is looked at again for a new event.
        ClaimPhase::Cordoned if phase_before == Some(ClaimPhase::Drained) => return None,
        ClaimPhase::Cordoned if phase_before == Some(ClaimPhase::Draining) => {
            (ReasonCode::DrainStopped, "nothing more is evicted for now".to_owned())
        }
        ClaimPhase::Cordoned if claim_after.was_unschedulable => {
            (ReasonCode::Cordoned, events("held, and somebody else has cordoned it", claim_after))
        }
        ClaimPhase::Cordoned => (ReasonCode::Cordoned, events("cordoned", claim_after)),
        ClaimPhase::Draining => (ReasonCode::DrainStarted, events("pods are evicted", claim_after)),
        ClaimPhase::Drained => (ReasonCode::DrainFinished, drained(before, claim_after)),
    };
    let mut key = DefaultHasher::new();
    (&after.uid, &claim_after.claimed_at, claim_after.steps).hash(&mut key);
    Some(Telling { code, note, warning: false, key: Some(key.finish()), place: place(claim_after, 0) })
}

/// With the pods that stay, and why, where this leader has seen the drain.
fn drained(before: Option<&Node>, claim: &Claim) -> String {
    let head = "every pod that can be moved is gone";
    if claim.pods_left == 0 {
        return head.to_owned();
    }
    let drain = before.and_then(|before| before.drain.as_ref());
    let stay = drain.iter().flat_map(|drain| &drain.pods).filter(|pod| !pod.verdict.must_leave());
    let stay: Vec<String> =
        stay.map(|pod| format!("{}/{}: {}", pod.namespace, pod.name, pod.message())).collect();
    let stays = if claim.pods_left == 1 { "1 stays".to_owned() } else { format!("{} stay", claim.pods_left) };
    let colon = if stay.is_empty() { "" } else { ": " };
    note::list(&format!("{head}, {stays}{colon}"), "; ", &stay)
}

fn release(before: &Node, after: &Node) -> Telling {
    let note = if before.unschedulable && !after.unschedulable {
        "the event is over; the node takes pods again"
    } else {
        "the event is over; mechanic's claim is taken off, the cordon stays as somebody else wants it"
    };
    let place = claim(before).map(|claim| place(claim, 2)).unwrap_or_default();
    Telling { code: ReasonCode::Released, note: note.to_owned(), warning: false, key: None, place }
}

/// Where what is told of a claimed node stands in the order of Events: by claim and by step, and `behind` the step itself.
fn place(claim: &Claim, behind: u8) -> String {
    format!("{}{:04x}{behind}-", place_of_claim(&claim.claimed_at), claim.steps)
}

fn place_of_claim(claimed_at: &str) -> String {
    // Of an unknown age where an older release has made the claim: before all others, then.
    let claimed_at = claimed_at.parse().map_or(0, Timestamp::as_nanosecond);
    format!("{claimed_at:016x}-")
}

/// Where what is told of a drain that goes on stands: behind all steps that were told in the same second.
pub(crate) fn place_within_drain(claimed_at: &str) -> String {
    format!("{}g-", place_of_claim(claimed_at))
}

/// What is done, and for which events.
fn events(step: &str, claim: &Claim) -> String {
    let events = claim.events.iter().map(|(event_id, event)| {
        let when = match event.not_before.as_str() {
            "" => String::new(),
            not_before => format!(", not before {not_before}"),
        };
        format!("{} {event_id} ({}{when})", event.event_type, event.status)
    });
    note::list(&format!("{step}: Azure announces "), ", ", &events.collect::<Vec<_>>())
}

/// Whether a reason is told as a warning; nothing where the step that goes with it tells it.
fn warns(reason: &Reason) -> Option<bool> {
    let warning = match reason {
        Reason::WaitingForLeadTime { .. }
        | Reason::ShownOnly { .. }
        | Reason::Tolerated { .. }
        | Reason::OptedOut { .. }
        | Reason::Paused
        | Reason::CordonDeferred { .. }
        | Reason::CordonedOnly { .. }
        | Reason::WaitingForSlot { .. }
        | Reason::TooManyUnavailable { .. }
        | Reason::StoppingDrain { .. }
        | Reason::WaitingForProbe
        | Reason::WaitingForProof(_) => false,
        Reason::ProbeMismatched
        | Reason::MachineNotUnique { .. }
        | Reason::SeenByNeighbour { .. }
        | Reason::LabelWithoutClaim
        | Reason::ClaimUnreadable(_)
        | Reason::ClaimOfAnotherNode
        | Reason::ClaimOfLaterLeader { .. }
        | Reason::Vetoed
        | Reason::ReportTooOld
        | Reason::DrainBlocked { .. }
        | Reason::NowhereToGo
        | Reason::DeadlineAtRisk { .. }
        | Reason::NoticeTooShort { .. }
        | Reason::ProbeDisagrees { .. }
        | Reason::ProofOverdue { .. } => true,
        Reason::NothingAnnounced
        | Reason::NotCovered
        | Reason::Cordoning
        | Reason::StartingDrain
        | Reason::Draining { .. }
        | Reason::Drained
        | Reason::DrainedExcept(_)
        | Reason::Releasing => return None,
    };
    Some(warning)
}

/// What a reason tells. While one event lasts and no step is taken, a next leader tells it under the same key.
fn of_reason(reason: &Reason, warning: bool, node: &Node) -> Telling {
    let (code, events) = (reason.code(), event_ids([node]));
    let key = (!events.is_empty()).then(|| {
        let mut key = DefaultHasher::new();
        (&node.uid, code, events).hash(&mut key);
        key.finish()
    });
    let place = claim(node).map(|claim| place(claim, 1)).unwrap_or_default();
    Telling { code, note: reason.to_string(), warning, key, place }
}
