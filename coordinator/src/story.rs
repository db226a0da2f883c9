//! What is told about a node: each step that is seen to have been taken, whoever took it, and each new reason once.

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::DefaultHasher},
    fmt::Write as _,
    hash::{Hash, Hasher},
    sync::Arc,
};

use mechanic_plan::{Claim, ClaimOnNode, ClaimPhase, Decision, Node, Phase, Reason, ReasonCode, Refusal};

use crate::events::Telling;

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
        let reasons: Vec<Telling> = reasons.filter_map(of_reason).collect();
        let now: BTreeSet<ReasonCode> = reasons.iter().map(|telling| telling.code).collect();
        let told = self.told.entry(name.to_owned()).or_default();
        telling.extend(reasons.into_iter().filter(|telling| !told.contains(&telling.code)));
        // While one event lasts, each reason is told once, however often it comes and goes.
        if decision.phase == Phase::Idle {
            told.clear();
        }
        told.extend(now);
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
    let events = events(claim_after);
    let (code, mut note) = match claim_after.phase {
        // What must leave is looked at again for a new event.
        ClaimPhase::Cordoned if phase_before == Some(ClaimPhase::Drained) => return None,
        ClaimPhase::Cordoned if phase_before == Some(ClaimPhase::Draining) => {
            (ReasonCode::DrainStopped, "nothing more is evicted for now".to_owned())
        }
        ClaimPhase::Cordoned if claim_after.was_unschedulable => {
            (ReasonCode::Cordoned, format!("held for {events}; somebody else has cordoned it"))
        }
        ClaimPhase::Cordoned => (ReasonCode::Cordoned, format!("cordoned for {events}")),
        ClaimPhase::Draining => (ReasonCode::DrainStarted, format!("pods are evicted for {events}")),
        ClaimPhase::Drained if claim_after.pods_left == 0 => {
            (ReasonCode::DrainFinished, "every pod that can be moved is gone".to_owned())
        }
        ClaimPhase::Drained => (
            ReasonCode::DrainFinished,
            format!("every pod that can be moved is gone; {} stay", claim_after.pods_left),
        ),
    };
    if claim_after.phase == ClaimPhase::Drained {
        let drain = before.and_then(|before| before.drain.as_ref());
        for pod in drain.iter().flat_map(|drain| &drain.pods).filter(|pod| !pod.verdict.must_leave()) {
            // Writing to a String can't fail.
            let _ = write!(note, "; {}/{}: {}", pod.namespace, pod.name, pod.verdict);
        }
    }
    let mut key = DefaultHasher::new();
    (&after.uid, &claim_after.claimed_at, claim_after.steps).hash(&mut key);
    Some(Telling { code, note, warning: false, key: Some(key.finish()) })
}

fn release(before: &Node, after: &Node) -> Telling {
    let note = if before.unschedulable && !after.unschedulable {
        "the event is over; the node takes pods again"
    } else {
        "the event is over; mechanic's claim is taken off, the cordon stays as somebody else wants it"
    };
    Telling { code: ReasonCode::Released, note: note.to_owned(), warning: false, key: None }
}

fn events(claim: &Claim) -> String {
    let events = claim.events.iter().map(|(event_id, event)| {
        let when = if event.not_before.is_empty() { "now" } else { &event.not_before };
        format!("{} {event_id} ({}, not before {when})", event.event_type, event.status)
    });
    events.collect::<Vec<_>>().join(", ")
}

/// What a reason tells, unless the step that goes with it does.
fn of_reason(reason: &Reason) -> Option<Telling> {
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
    Some(Telling { code: reason.code(), note: reason.to_string(), warning, key: None })
}

/// That these keys of the ConfigMap are refused: told once, whichever leader tells it.
pub(crate) fn of_refused_settings(config_map_uid: &str, refused: &[Refusal]) -> Vec<Telling> {
    let telling = |refusal: &Refusal| {
        let note = format!("{}: {refusal}", refusal.key);
        let mut once = DefaultHasher::new();
        (config_map_uid, &note).hash(&mut once);
        Telling { code: ReasonCode::SettingRefused, note, warning: true, key: Some(once.finish()) }
    };
    refused.iter().map(telling).collect()
}

#[cfg(test)]
mod tests {
    use mechanic_plan::{Coverage, DrainOrder, DrainProgress, PodReport, ScheduledEvent, Verdict};

    use super::*;
    use crate::log::event_ids;
    use crate::testing;

    fn node(claim: ClaimOnNode, unschedulable: bool) -> Node {
        Node { claim, unschedulable, ..testing::node() }
    }

    fn held(phase: ClaimPhase, steps: u32) -> Arc<Node> {
        let mut claim = Claim::new("u", "vm", "boot", 1, false);
        let event =
            ScheduledEvent { event_id: "E".into(), event_type: "Reboot".into(), ..ScheduledEvent::default() };
        let seen = "2026-11-23T12:00:00Z";
        claim.note(&event, seen, seen, "boot");
        (claim.phase, claim.steps) = (phase, steps);
        Arc::new(node(ClaimOnNode::Readable(claim), true))
    }

    fn decision(phase: Phase, reason: Reason) -> Decision {
        let (coverage, drain) = (Coverage::Covered, DrainOrder::Stop);
        Decision { phase, reason, warnings: Vec::new(), coverage, write: None, drain }
    }

    fn tell(story: &mut Story, node: &Arc<Node>) -> Vec<Telling> {
        story.tell("n", node, &decision(Phase::Cordoned, Reason::StartingDrain))
    }

    fn codes(telling: &[Telling]) -> Vec<&'static str> {
        telling.iter().map(|telling| telling.code.as_str()).collect()
    }

    #[test]
    fn each_step_that_is_seen_is_told_once() {
        let mut story = Story::default();
        let mut told = Vec::new();
        for (phase, steps) in [
            (ClaimPhase::Cordoned, 1),
            (ClaimPhase::Cordoned, 1),
            (ClaimPhase::Draining, 2),
            (ClaimPhase::Cordoned, 3),
            (ClaimPhase::Draining, 4),
            (ClaimPhase::Drained, 5),
        ] {
            told.extend(tell(&mut story, &held(phase, steps)));
        }
        assert_eq!(
            codes(&told),
            ["Cordoned", "DrainStarted", "DrainStopped", "DrainStarted", "DrainFinished"]
        );
        assert_eq!(told[0].note, "cordoned for Reboot E (, not before now)");
    }

    #[test]
    fn a_next_leader_tells_the_last_step_under_the_same_key() {
        let (mut first, mut next) = (Story::default(), Story::default());
        let drained = held(ClaimPhase::Drained, 3);
        tell(&mut first, &held(ClaimPhase::Draining, 2));
        let (by_first, by_next) = (tell(&mut first, &drained), tell(&mut next, &drained));
        assert_eq!(by_first[0].key, by_next[0].key);
        assert_ne!(by_first[0].key, tell(&mut Story::default(), &held(ClaimPhase::Draining, 2))[0].key);
    }

    #[test]
    fn the_pods_that_stay_are_named() {
        let mut story = Story::default();
        let mut draining = Arc::unwrap_or_clone(held(ClaimPhase::Draining, 2));
        let pod = |name: &str, verdict| PodReport {
            namespace: "shop".into(),
            name: name.into(),
            verdict,
            detail: String::new(),
            grace: std::time::Duration::ZERO,
            budget: None,
        };
        let pods = vec![pod("a", Verdict::EmptyDir), pod("b", Verdict::Terminating)];
        draining.drain = Some(DrainProgress { pods, ..DrainProgress::default() });
        tell(&mut story, &Arc::new(draining));
        let note = &tell(&mut story, &held(ClaimPhase::Drained, 3))[0].note;
        assert!(note.contains("shop/a: it stays") && !note.contains("shop/b"), "{note}");
    }

    #[test]
    fn a_release_is_told_where_it_was_ours() {
        let free = Arc::new(node(ClaimOnNode::None, false));
        let mut story = Story::default();
        tell(&mut story, &held(ClaimPhase::Drained, 3));
        assert_eq!(tell(&mut story, &free), [], "somebody else took the claim off");
        tell(&mut story, &held(ClaimPhase::Drained, 3));
        story.release_begins("n");
        assert_eq!(codes(&tell(&mut story, &free)), ["Released"]);
        assert_eq!(tell(&mut story, &free), []);
    }

    #[test]
    fn the_log_names_each_event_of_a_node_once() {
        let mut claim = Claim::new("u", "vm", "boot", 1, false);
        for event_id in ["F", "E"] {
            let event = ScheduledEvent { event_id: event_id.into(), ..ScheduledEvent::default() };
            claim.note(&event, "", "", "boot");
        }
        let for_both = node(ClaimOnNode::Readable(claim), true);
        assert_eq!(event_ids([&*held(ClaimPhase::Cordoned, 1), &for_both]), "E,F");
        assert_eq!(event_ids([&node(ClaimOnNode::None, false)]), "");
    }

    #[test]
    fn a_reason_that_comes_and_goes_is_told_once_for_each_event() {
        let free = Arc::new(node(ClaimOnNode::None, false));
        let mut story = Story::default();
        let deferred = |cordoned| {
            decision(Phase::Noticed, Reason::CordonDeferred { cordoned, limit: 3, of: String::new() })
        };
        assert_eq!(codes(&story.tell("n", &free, &deferred(3))), ["CordonDeferred"]);
        assert_eq!(codes(&story.tell("n", &free, &decision(Phase::Noticed, Reason::Paused))), ["Paused"]);
        assert_eq!(story.tell("n", &free, &deferred(4)), []);
        assert_eq!(story.tell("n", &free, &decision(Phase::Idle, Reason::NothingAnnounced)), []);
        assert_eq!(codes(&story.tell("n", &free, &deferred(3))), ["CordonDeferred"]);
    }
}
