//! What a leader does whose own node is about to be hit. It never evicts itself, so another coordinator must lead.

use crate::{
    claim::ClaimPhase,
    decide::{Phase, Plan},
    fleet::{ClaimOnNode, Fleet, Node},
    reason::ReasonCode,
};

/// Another coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// The Node that it runs on.
    pub node: String,
    /// Whether it could lead at once.
    pub ready: bool,
}

/// What the leader does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// It leads on.
    Stay,
    /// Another coordinator, on a node that nothing threatens, is to lead.
    HandOver,
    /// There is no other, and nothing is left to do but for the leader itself: it ends in order before its machine does.
    End,
}

/// Decides it for the leader on `own_node`.
#[must_use]
pub fn succession(fleet: &Fleet, plan: &Plan, own_node: &str, others: &[Standby]) -> Succession {
    let (Some(own), Some(decision)) = (fleet.nodes.get(own_node), plan.get(own_node)) else {
        return Succession::Stay;
    };
    let is_due = matches!(decision.phase, Phase::Cordoned | Phase::Draining | Phase::Drained)
        || matches!(decision.reason.code(), ReasonCode::Cordoning | ReasonCode::CordonDeferred);
    if !is_due || !fleet.has_finding(own) {
        return Succession::Stay;
    }
    let lasts = |other: &Standby| {
        other.ready && fleet.nodes.get(&other.node).is_some_and(|node| is_safe(fleet, node))
    };
    if others.iter().any(lasts) {
        return Succession::HandOver;
    }
    let is_draining = |node: &Node| matches!(&node.claim, ClaimOnNode::Readable(claim) if claim.phase == ClaimPhase::Draining);
    let nothing_left =
        decision.phase == Phase::Drained && !fleet.nodes.values().any(|node| is_draining(node));
    if others.is_empty() && nothing_left { Succession::End } else { Succession::Stay }
}

fn is_safe(fleet: &Fleet, node: &Node) -> bool {
    let free = node.claim == ClaimOnNode::None && !node.unschedulable && !node.leaving;
    free && node.readiness.ready && !fleet.has_finding(node)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::{
        claim::Claim,
        coverage::Coverage,
        decide::{Decision, DrainOrder},
        event::ScheduledEvent,
        fleet::Document,
        reason::Reason,
        testing::{node, probe},
        time::Monotonic,
    };

    /// Three nodes; a reboot is announced for the first, on which the leader runs.
    fn fleet(change: impl FnOnce(&mut BTreeMap<String, Arc<Node>>)) -> Fleet {
        let mut nodes: BTreeMap<String, Arc<Node>> =
            ["a", "b", "c"].map(|name| (name.to_owned(), Arc::new(node(name)))).into();
        threaten(&mut nodes, "a");
        change(&mut nodes);
        Fleet { epoch: 1, nodes, ..Fleet::default() }
    }

    fn threaten(nodes: &mut BTreeMap<String, Arc<Node>>, name: &str) {
        let event = ScheduledEvent {
            event_id: "e".into(),
            event_type: "Reboot".into(),
            status: "Scheduled".into(),
            ..ScheduledEvent::default()
        };
        let document = Document { own_events: vec![event], complete: true, ..Document::default() };
        let mut probe = probe(name, Monotonic::default());
        probe.document = Some(Arc::new(document));
        nodes.insert(name.to_owned(), Arc::new(Node { probe: Some(probe), ..node(name) }));
    }

    fn hold(nodes: &mut BTreeMap<String, Arc<Node>>, name: &str, phase: ClaimPhase) {
        let mut claim = Claim::new("uid", "vm", "boot", 1, false);
        claim.phase = phase;
        let claimed = Node { claim: ClaimOnNode::Readable(claim), ..node(name) };
        nodes.insert(name.to_owned(), Arc::new(claimed));
    }

    fn plan_for_a(phase: Phase, reason: Reason) -> Plan {
        let (coverage, warnings) = (Coverage::Covered, Vec::new());
        let decision = Decision { phase, reason, warnings, coverage, write: None, drain: DrainOrder::Stop };
        [("a".to_owned(), decision)].into()
    }

    fn on(name: &str, ready: bool) -> Standby {
        Standby { node: name.into(), ready }
    }

    #[test]
    fn it_hands_over_once_its_node_is_due_to_who_will_last() {
        let drained = || plan_for_a(Phase::Draining, Reason::Draining { pods: 1, blocked: 0 });
        let decide = |fleet: &Fleet, plan: &Plan, others: &[Standby]| succession(fleet, plan, "a", others);
        let calm = fleet(|_| {});
        assert_eq!(decide(&calm, &drained(), &[on("b", true)]), Succession::HandOver);
        let deferred =
            plan_for_a(Phase::Noticed, Reason::CordonDeferred { cordoned: 1, limit: 1, of: String::new() });
        assert_eq!(decide(&calm, &deferred, &[on("b", true)]), Succession::HandOver);
        let idle = plan_for_a(Phase::Idle, Reason::NothingAnnounced);
        assert_eq!(decide(&calm, &idle, &[on("b", true)]), Succession::Stay);
        assert_eq!(decide(&calm, &drained(), &[on("b", false)]), Succession::Stay, "it isn't ready");
        assert_eq!(decide(&calm, &drained(), &[on("gone", true)]), Succession::Stay);
        let over = fleet(|nodes| drop(nodes.insert("a".into(), Arc::new(node("a")))));
        assert_eq!(decide(&over, &drained(), &[on("b", true)]), Succession::Stay, "nothing threatens it");
    }

    #[test]
    fn nobody_is_handed_to_whose_own_node_is_next() {
        let plan = plan_for_a(Phase::Draining, Reason::Draining { pods: 1, blocked: 0 });
        let threatened = fleet(|nodes| threaten(nodes, "b"));
        assert_eq!(succession(&threatened, &plan, "a", &[on("b", true)]), Succession::Stay);
        assert_eq!(
            succession(&threatened, &plan, "a", &[on("b", true), on("c", true)]),
            Succession::HandOver
        );
        let held = fleet(|nodes| hold(nodes, "b", ClaimPhase::Cordoned));
        assert_eq!(succession(&held, &plan, "a", &[on("b", true)]), Succession::Stay);
        let cordoned = fleet(|nodes| {
            nodes.insert("b".into(), Arc::new(Node { unschedulable: true, ..node("b") }));
        });
        assert_eq!(succession(&cordoned, &plan, "a", &[on("b", true)]), Succession::Stay);
    }

    #[test]
    fn a_single_one_ends_when_nothing_is_left_but_itself() {
        let calm = fleet(|_| {});
        let draining = plan_for_a(Phase::Draining, Reason::Draining { pods: 1, blocked: 0 });
        assert_eq!(succession(&calm, &draining, "a", &[]), Succession::Stay);
        let drained = plan_for_a(Phase::Drained, Reason::Drained);
        assert_eq!(succession(&calm, &drained, "a", &[]), Succession::End);
        assert_eq!(
            succession(&calm, &drained, "a", &[on("b", false)]),
            Succession::Stay,
            "another is starting"
        );
        let busy = fleet(|nodes| hold(nodes, "b", ClaimPhase::Draining));
        assert_eq!(succession(&busy, &drained, "a", &[]), Succession::Stay, "another node is being drained");
    }
}
