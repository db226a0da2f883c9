//! The decision for each node, and for the fleet as a whole.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    claim::{Claim, ClaimPhase},
    coverage::Coverage,
    event::{EventStatus, EventType, ScheduledEvent},
    fleet::{ClaimOnNode, DrainProgress, Fleet, Node},
    pods::Verdict,
    proof::Proof,
    reason::Reason,
    slots::Slots,
    time::Now,
};

/// No drain begins on a report older than this.
const FRESH: Duration = Duration::from_mins(5);

/// What is to happen, for each node by name.
pub type Plan = BTreeMap<String, Decision>;

/// What is to happen with one node, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// How far mechanic is with it.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// Whether its probe is heard.
    pub coverage: Coverage,
    /// What is to be written on the Node, as one compare-and-swap.
    pub write: Option<NodeWrite>,
    /// Whether pods are to be evicted now.
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
        claim: Claim,
        /// Make the node unschedulable in the same write.
        cordon: bool,
    },
    /// Take label and claim off and, where said, the cordon.
    Release {
        /// Make the node schedulable in the same write.
        uncordon: bool,
    },
}

/// Whether a node's pods are to be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainOrder {
    /// Evict; the claim says so already.
    Run,
    /// Evict nothing, but watch until nothing that was evicted is terminating any more.
    Settle,
    /// Evict nothing, watch nothing.
    Stop,
}

/// Decides for the whole fleet.
#[must_use]
pub fn plan(fleet: &Fleet, now: Now) -> Plan {
    let mut slots = Slots::of(fleet, now);
    let mut waiting = Vec::new();
    let mut plan = Plan::new();
    for (name, node) in &fleet.nodes {
        let (decision, candidate) = Assessment { fleet, node, now }.decide();
        if let Some(candidate) = candidate {
            waiting.push((candidate.deadline, name, candidate.claim));
        }
        plan.insert(name.clone(), decision);
    }
    // Earliest deadline first; an event under way has none left and goes before all others.
    waiting.sort_by(|left, right| (left.0, left.1).cmp(&(right.0, right.1)));
    for (_, name, mut claim) in waiting {
        let Some(decision) = plan.get_mut(name) else { continue };
        if !takes_pods_elsewhere(fleet, name) {
            decision.reason = Reason::NowhereToGo;
        } else if slots.take() {
            claim.phase = ClaimPhase::Draining;
            let cordon = fleet.nodes.get(name).is_some_and(|node| !node.unschedulable);
            decision.write = Some(NodeWrite::Hold { claim, cordon });
            decision.reason = Reason::StartingDrain;
        } else {
            decision.reason = Reason::WaitingForSlot { running: slots.running, limit: slots.limit };
        }
    }
    plan
}

fn takes_pods_elsewhere(fleet: &Fleet, name: &str) -> bool {
    fleet.nodes.iter().any(|(other, node)| {
        other != name
            && node.covered
            && node.is_ready()
            && !node.unschedulable
            && matches!(node.claim, ClaimOnNode::None)
    })
}

/// A cordoned node that is to be drained as soon as a slot is free.
struct Candidate {
    deadline: Option<Timestamp>,
    claim: Claim,
}

struct Assessment<'a> {
    fleet: &'a Fleet,
    node: &'a Node,
    now: Now,
}

impl Assessment<'_> {
    fn decide(&self) -> (Decision, Option<Candidate>) {
        let coverage = Coverage::of(self.node, self.fleet, self.now.monotonic);
        let (phase, reason) = match &self.node.claim {
            ClaimOnNode::Readable(claim) if claim.node_uid != self.node.uid => {
                (Phase::Held, Reason::ClaimOfAnotherNode)
            }
            ClaimOnNode::Readable(claim) if claim.epoch > self.fleet.epoch => {
                (Phase::Held, Reason::ClaimOfLaterLeader { epoch: claim.epoch })
            }
            ClaimOnNode::Readable(claim) => return self.decide_claimed(claim, coverage),
            ClaimOnNode::Unreadable(error) => (Phase::Held, Reason::ClaimUnreadable(error.to_string())),
            ClaimOnNode::LabelOnly => (Phase::Held, Reason::LabelWithoutClaim),
            ClaimOnNode::None => return (self.decide_unclaimed(coverage), None),
        };
        (Decision { phase, reason, coverage, write: None, drain: DrainOrder::Stop }, None)
    }

    /// A node that mechanic doesn't hold: shall it?
    fn decide_unclaimed(&self, coverage: Coverage) -> Decision {
        let decision =
            |phase, reason, write| Decision { phase, reason, coverage, write, drain: DrainOrder::Stop };
        match coverage {
            Coverage::NotCovered => return decision(Phase::Idle, Reason::NotCovered, None),
            Coverage::Mismatched => return decision(Phase::Idle, Reason::ProbeMismatched, None),
            _ => {}
        }
        let mut due = self.due_events().peekable();
        if due.peek().is_none() {
            return match self.own_events().first() {
                None => decision(Phase::Idle, Reason::NothingAnnounced, None),
                Some(event) => decision(Phase::Noticed, why_not_due(event), None),
            };
        }
        let Some((vm, probe)) = self.node.probe.as_ref().and_then(|probe| Some((probe.vm.as_ref()?, probe)))
        else {
            return decision(Phase::Idle, Reason::ProbeMismatched, None);
        };
        let mut claim =
            Claim::new(&self.node.uid, &vm.vm_id, &probe.boot_id, self.fleet.epoch, self.node.unschedulable);
        due.for_each(|event| claim.note(event, &self.now.wall.to_string(), &probe.boot_id));
        let cordon = !self.node.unschedulable;
        decision(Phase::Noticed, Reason::Cordoning, Some(NodeWrite::Hold { claim, cordon }))
    }

    /// A node that mechanic holds: what next?
    fn decide_claimed(&self, on_node: &Claim, coverage: Coverage) -> (Decision, Option<Candidate>) {
        let mut claim = on_node.clone();
        claim.epoch = self.fleet.epoch;
        if !self.node.unschedulable {
            claim.events.values_mut().for_each(|event| event.vetoed = true);
            // Our cordon is gone; should there be one again, it is somebody else's.
            claim.was_unschedulable = true;
        }
        self.note_events(&mut claim, coverage);
        let missing = self.drop_what_is_over(&mut claim, coverage);
        let nothing_known = DrainProgress::default();
        let drain = self.node.drain.as_ref().unwrap_or(&nothing_known);
        // A drain that is to stop has stopped once nothing it evicted is terminating; what an earlier leader
        // left must be looked at first.
        let stopping = on_node.phase == ClaimPhase::Draining && drain.is_under_way();
        let decision = |phase, reason, write, drain| Decision { phase, reason, coverage, write, drain };

        if claim.events.is_empty() {
            if stopping {
                let reason = Reason::StoppingDrain { terminating: drain.evicted_terminating };
                return (decision(Phase::Draining, reason, None, DrainOrder::Settle), None);
            }
            let uncordon = self.node.unschedulable && !claim.was_unschedulable;
            let write = Some(NodeWrite::Release { uncordon });
            return (decision(phase_of(on_node), Reason::Releasing, write, DrainOrder::Stop), None);
        }

        let active = coverage != Coverage::Mismatched
            && self
                .due_events()
                .any(|event| claim.events.get(&event.event_id).is_some_and(|event| !event.vetoed));
        if !active {
            let reason = if stopping && drain.evicted_terminating > 0 {
                Reason::StoppingDrain { terminating: drain.evicted_terminating }
            } else if claim.events.values().all(|event| event.vetoed) {
                Reason::Vetoed
            } else if self.node.probe.is_none() {
                Reason::WaitingForProbe
            } else if let Some(missing) = missing {
                Reason::WaitingForProof(missing)
            } else {
                self.own_events().first().map_or(Reason::WaitingForProbe, why_not_due)
            };
            // A drain that has stopped gives its slot back, so going on needs one again.
            let waiting_for_probes = coverage == Coverage::Unknown;
            if claim.phase == ClaimPhase::Draining && !stopping && !waiting_for_probes {
                claim.phase = ClaimPhase::Cordoned;
            }
            let order = if stopping && !waiting_for_probes { DrainOrder::Settle } else { DrainOrder::Stop };
            let write = self.hold(on_node, claim, false);
            return (decision(phase_of(on_node), reason, write, order), None);
        }

        match on_node.phase {
            ClaimPhase::Draining if drain.clean => {
                claim.phase = ClaimPhase::Drained;
                claim.pods_left = drain.pods.len();
            }
            // What must leave may differ for a new event: once more through the budget.
            ClaimPhase::Drained if has_new_event(on_node, &claim) => claim.phase = ClaimPhase::Cordoned,
            _ => {}
        }
        let (phase, reason, order) = match claim.phase {
            ClaimPhase::Cordoned if self.is_report_fresh() => {
                (Phase::Cordoned, Reason::StartingDrain, DrainOrder::Stop)
            }
            ClaimPhase::Cordoned => (Phase::Cordoned, Reason::ReportTooOld, DrainOrder::Stop),
            ClaimPhase::Draining => {
                // Not before the claim is this leader's, and the cordon stands.
                let stands = on_node.epoch == self.fleet.epoch && self.node.unschedulable;
                let order = if stands { DrainOrder::Run } else { DrainOrder::Stop };
                (Phase::Draining, draining(drain), order)
            }
            ClaimPhase::Drained if claim.pods_left == 0 => {
                (Phase::Drained, Reason::Drained, DrainOrder::Stop)
            }
            ClaimPhase::Drained => (Phase::Drained, Reason::DrainedExcept(claim.pods_left), DrainOrder::Stop),
        };
        let write = self.hold(on_node, claim, true);
        let candidate = (on_node.phase == ClaimPhase::Cordoned
            && self.is_report_fresh()
            && !self.node.drain_pending)
            .then(|| Candidate { deadline: self.deadline(), claim: claim_after(write.as_ref(), on_node) });
        (decision(phase, reason, write, order), candidate)
    }

    /// Brings the claim's events up to what the probe shows: new ones that are due, and news of old ones.
    fn note_events(&self, claim: &mut Claim, coverage: Coverage) {
        if coverage == Coverage::Mismatched {
            return;
        }
        let seen = self.now.wall.to_string();
        let boot_id = self.node.probe.as_ref().map_or("", |probe| &probe.boot_id);
        let due: Vec<&ScheduledEvent> = self.due_events().collect();
        if let Some((probe, vm)) =
            self.node.probe.as_ref().and_then(|probe| Some((probe, probe.vm.as_ref()?)))
            && vm.vm_id != claim.vm_id
            && !due.is_empty()
        {
            // Another machine behind the same Node: what was announced for the old one ended with it.
            claim.events.retain(|event_id, _| due.iter().any(|event| event.event_id == *event_id));
            claim.vm_id.clone_from(&vm.vm_id);
            claim.boot_id.clone_from(&probe.boot_id);
        }
        for event in self.own_events() {
            if claim.events.contains_key(&event.event_id)
                || due.iter().any(|due| due.event_id == event.event_id)
            {
                claim.note(event, &seen, boot_id);
            }
        }
    }

    /// Takes the events off the claim that are proven to be over; what is missing for the first that isn't.
    fn drop_what_is_over(&self, claim: &mut Claim, coverage: Coverage) -> Option<String> {
        let judged = claim.clone();
        let mut missing = None;
        claim.events.retain(|event_id, event| {
            match Proof::of(event_id, event, &judged, self.node, coverage, &self.fleet.config) {
                Proof::Over => return false,
                Proof::Missing(what) => missing = missing.take().or(Some(what)),
                Proof::Present => {}
            }
            true
        });
        missing
    }

    /// The write that brings `claim` onto the Node, if one is needed.
    fn hold(&self, on_node: &Claim, mut claim: Claim, cordon: bool) -> Option<NodeWrite> {
        let cordon = cordon && !self.node.unschedulable;
        if cordon {
            claim.was_unschedulable = false;
        }
        (claim != *on_node || cordon).then_some(NodeWrite::Hold { claim, cordon })
    }

    /// A drain isn't begun on what a probe said long ago; one that runs goes on.
    fn is_report_fresh(&self) -> bool {
        let heard = self.node.probe.as_ref().map(|probe| self.now.monotonic.since(probe.last_heard));
        heard.is_some_and(|age| age < FRESH)
    }

    fn own_events(&self) -> &[ScheduledEvent] {
        let document = self.node.probe.as_ref().and_then(|probe| probe.document.as_ref());
        document.map_or(&[], |document| &document.own_events)
    }

    fn due_events(&self) -> impl Iterator<Item = &ScheduledEvent> {
        self.own_events().iter().filter(|event| event.event_type() == EventType::Reboot && self.is_due(event))
    }

    /// An event is acted on once it is under way or starts within the lead time; an unreadable time counts as
    /// now, since waiting for it could last past the event.
    fn is_due(&self, event: &ScheduledEvent) -> bool {
        match event.status() {
            EventStatus::Started => true,
            EventStatus::Unknown => false,
            EventStatus::Scheduled => {
                let ahead = event.not_before().map(|not_before| not_before.duration_since(self.now.wall));
                let ahead = ahead.and_then(|ahead| Duration::try_from(ahead).ok()).unwrap_or_default();
                ahead <= self.fleet.config.lead_time
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.due_events().filter_map(ScheduledEvent::not_before).min()
    }
}

/// The claim as it will stand after `write`.
fn claim_after(write: Option<&NodeWrite>, on_node: &Claim) -> Claim {
    match write {
        Some(NodeWrite::Hold { claim, .. }) => claim.clone(),
        _ => on_node.clone(),
    }
}

fn why_not_due(event: &ScheduledEvent) -> Reason {
    if event.event_type() == EventType::Reboot && event.status() == EventStatus::Scheduled {
        Reason::WaitingForLeadTime { event_id: event.event_id.clone(), not_before: event.not_before.clone() }
    } else {
        Reason::ShownOnly { event_type: event.event_type.clone() }
    }
}

fn has_new_event(on_node: &Claim, claim: &Claim) -> bool {
    !claim.events.keys().all(|event_id| on_node.events.contains_key(event_id))
}

fn phase_of(claim: &Claim) -> Phase {
    match claim.phase {
        ClaimPhase::Cordoned => Phase::Cordoned,
        ClaimPhase::Draining => Phase::Draining,
        ClaimPhase::Drained => Phase::Drained,
    }
}

fn draining(drain: &DrainProgress) -> Reason {
    let pods = drain.pods.iter().filter(|pod| pod.verdict.must_leave()).count();
    let blocked = drain.pods.iter().filter(|pod| pod.verdict == Verdict::BlockedByBudget).count();
    Reason::Draining { pods, blocked }
}
