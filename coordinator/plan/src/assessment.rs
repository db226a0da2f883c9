//! The decision for one node, but for what the limits of the fleet have to say.

mod claimed;
mod unclaimed;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    claim::{Claim, ClaimPhase},
    coverage::{Coverage, Observed},
    deadline::{is_due, is_emergency, is_urgent, time_left, time_needed},
    decide::{Decision, Departure, DrainOrder, NodeWrite, Phase},
    event::{EventStatus, EventType, ScheduledEvent},
    fleet::{ClaimOnNode, Fleet, Node},
    neighbours::Neighbours,
    pods::LastCall,
    reason::Reason,
    response::Response,
    time::Now,
};

/// Nothing begins on a report that is older than this.
const FRESH: Duration = Duration::from_mins(5);

/// Something that a node can only have within the limits.
pub(crate) struct Wish {
    pub(crate) kind: WishKind,
    /// The claim as it is to stand, without what is wished for.
    pub(crate) claim: Claim,
    /// The earliest `NotBefore`; `None` where an event is under way or may be at any moment.
    pub(crate) deadline: Option<Timestamp>,
    /// The machine is about to be destroyed: the usual limits yield.
    pub(crate) emergency: bool,
    /// All events leave the machine, its memory or at least its disks, as they are.
    pub(crate) machine_comes_back: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WishKind {
    Cordon,
    Drain,
}

/// One node at one moment.
pub(crate) struct Assessment<'a> {
    fleet: &'a Fleet,
    name: &'a str,
    node: &'a Node,
    neighbours: &'a Neighbours<'a>,
    now: Now,
    coverage: Coverage,
    /// How long the pods that have to leave need.
    needed: Duration,
}

impl<'a> Assessment<'a> {
    pub(crate) fn new(
        fleet: &'a Fleet,
        Observed { name, node, coverage }: Observed<'a>,
        neighbours: &'a Neighbours<'a>,
        now: Now,
    ) -> Self {
        Self { fleet, name, node, neighbours, now, coverage, needed: time_needed(node.drain.as_ref()) }
    }

    /// Decides. `twin` is another Node that names the same machine.
    pub(crate) fn decide(&self, twin: Option<&str>) -> (Decision, Option<Wish>) {
        let (mut decision, wish) = match &self.node.claim {
            ClaimOnNode::Readable(claim) if claim.node_uid != self.node.uid => {
                (self.decision(Phase::Held, Reason::ClaimOfAnotherNode), None)
            }
            ClaimOnNode::Readable(claim) if claim.epoch > self.fleet.epoch => {
                (self.decision(Phase::Held, Reason::ClaimOfLaterLeader { epoch: claim.epoch }), None)
            }
            ClaimOnNode::Unreadable(error) => {
                (self.decision(Phase::Held, Reason::ClaimUnreadable(error.to_string())), None)
            }
            ClaimOnNode::LabelOnly => (self.decision(Phase::Held, Reason::LabelWithoutClaim), None),
            ClaimOnNode::Readable(claim) => self.decide_claimed(claim, twin),
            ClaimOnNode::None => self.decide_unclaimed(twin, self.neighbours.hint(self.name)),
        };
        if self.coverage == Coverage::Disagrees {
            let condition = self.node.own_events().is_empty();
            decision.warnings.push(Reason::ProbeDisagrees { condition });
        }
        (decision, wish)
    }

    /// A decision that does nothing.
    fn decision(&self, phase: Phase, reason: Reason) -> Decision {
        let (coverage, warnings) = (self.coverage, Vec::new());
        Decision { phase, reason, warnings, coverage, write: None, drain: DrainOrder::Stop }
    }

    /// The node's events, as far as its own probe is the last to have seen them: a silent one shows for ever what
    /// its neighbours have long seen go.
    fn own_events(&self) -> impl Iterator<Item = &'a ScheduledEvent> {
        let silent = self.coverage.is_silent();
        let is_there = move |event: &&ScheduledEvent| {
            !silent || !self.neighbours.have_seen_gone(self.node, &event.event_id)
        };
        self.node.own_events().iter().filter(is_there)
    }

    /// The events that something is done about, due or not.
    fn events_to_act_on(&self) -> impl Iterator<Item = &'a ScheduledEvent> {
        self.own_events().filter(|event| self.response(event) >= Response::Cordon)
    }

    fn response(&self, event: &ScheduledEvent) -> Response {
        self.fleet.response(self.node, event)
    }

    fn is_due(&self, event: &ScheduledEvent) -> bool {
        is_due(event, self.now.wall, self.lead_time(event), self.needed)
    }

    fn rule_for(&self, event: &ScheduledEvent) -> Option<u64> {
        self.fleet.config.policy.events.rule_for(self.node, event)
    }

    fn lead_time(&self, event: &ScheduledEvent) -> Duration {
        let config = &self.fleet.config;
        config.policy.events.lead_time(self.node, event).unwrap_or(config.lead_time)
    }

    fn to_drain(&self, events: &[&'a ScheduledEvent]) -> Vec<&'a ScheduledEvent> {
        events.iter().copied().filter(|event| self.response(event) == Response::Drain).collect()
    }

    /// Why nothing is done about `event` now.
    fn why_not_acted_on(&self, event: &ScheduledEvent) -> Reason {
        match self.response(event) {
            Response::Show => {
                Reason::ShownOnly { event_type: event.event_type.clone(), status: event.status.clone() }
            }
            Response::Tolerate => {
                Reason::Tolerated { event_type: event.event_type.clone(), rule: self.rule_for(event) }
            }
            Response::Cordon | Response::Drain => Reason::WaitingForLeadTime {
                event_id: event.event_id.clone(),
                not_before: event.not_before.clone(),
            },
        }
    }

    /// Nothing is begun on what a valid poll showed long ago, whether the probe is silent since or its polls fail;
    /// what runs goes on.
    fn is_report_fresh(&self) -> bool {
        let proved = self.node.probe.as_ref().map(|probe| self.now.monotonic.since(probe.proved_last));
        proved.is_some_and(|age| age < FRESH)
    }

    /// Wall time at which `event` was first seen, RFC 3339. A claim may come much later, once the limits allow it.
    fn first_seen(&self, event: &ScheduledEvent) -> String {
        let listed = self.node.probe.iter().flat_map(|probe| probe.listed.iter());
        let since =
            listed.filter(|listed| listed.event_id == event.event_id).map(|listed| listed.since).min();
        let ago = since.map(|since| self.now.monotonic.since(since)).unwrap_or_default();
        SignedDuration::try_from(ago)
            .ok()
            .and_then(|ago| self.now.wall.checked_sub(ago).ok())
            .unwrap_or(self.now.wall)
            .to_string()
    }

    /// Notes `event` on the claim, as far as there is room on it: the rest waits until some are over.
    fn note(&self, claim: &mut Claim, event: &ScheduledEvent) {
        let boot_id = self.node.probe.as_ref().map_or("", |probe| &probe.boot_id);
        claim.note_if_it_fits(event, &self.first_seen(event), &self.now.wall.to_string(), boot_id);
    }

    /// Why what the probe shows is not acted on.
    fn distrusted(&self, twin: Option<&str>) -> Option<Reason> {
        match twin {
            Some(other) => Some(Reason::MachineNotUnique { other: other.to_owned() }),
            None => (self.coverage == Coverage::Mismatched).then_some(Reason::ProbeMismatched),
        }
    }

    /// Why nothing may begin here, by somebody's will.
    fn held_back(&self) -> Option<Reason> {
        if let Some(label) = self.fleet.config.policy.opted_out_by(self.node) {
            Some(Reason::OptedOut { label: label.to_owned() })
        } else {
            self.fleet.config.paused.then_some(Reason::Paused)
        }
    }

    /// What a node wants for `events`, none of which is settled.
    fn wish(&self, kind: WishKind, claim: Claim, events: &[&ScheduledEvent]) -> Wish {
        let deadlines = events.iter().map(|event| match event.status() {
            EventStatus::Started => None,
            _ => event.not_before(),
        });
        Wish {
            kind,
            claim,
            deadline: deadlines.min().flatten(),
            emergency: events.iter().any(|event| is_emergency(event, self.now.wall, self.needed)),
            machine_comes_back: events
                .iter()
                .all(|event| matches!(event.event_type(), EventType::Freeze | EventType::Reboot)),
        }
    }

    /// What pods are to leave for, where that is `events`.
    fn departure(&self, events: &[&ScheduledEvent]) -> Departure {
        let worst = events.iter().map(|event| event.event_type()).max().unwrap_or(EventType::Unknown);
        let urgent = events.iter().any(|event| is_urgent(event, self.now.wall, self.needed));
        let last_call = LastCall::for_events(events.iter().copied(), &self.fleet.config.last_call);
        Departure { worst, urgent, last_call }
    }

    /// The pods can hardly be moved before one of `events` begins.
    fn at_risk(&self, events: &[&ScheduledEvent]) -> Option<Reason> {
        let announced = events
            .iter()
            .filter(|event| event.status() == EventStatus::Scheduled && event.not_before().is_some());
        let left = announced.map(|event| (time_left(event, self.now.wall), event));
        let (left, event) = left.min_by_key(|(left, _)| *left)?;
        (left < self.needed).then(|| Reason::DeadlineAtRisk {
            event_id: event.event_id.clone(),
            left,
            needed: self.needed,
        })
    }
}

fn phase_of(claim: &Claim) -> Phase {
    match claim.phase {
        ClaimPhase::Cordoned => Phase::Cordoned,
        ClaimPhase::Draining => Phase::Draining,
        ClaimPhase::Drained => Phase::Drained,
    }
}

/// The write that brings `claim` onto the Node, if one is needed.
fn hold(on_node: &Claim, claim: Claim) -> Option<NodeWrite> {
    (claim != *on_node).then_some(NodeWrite::Hold { claim: Box::new(claim), cordon: false })
}
