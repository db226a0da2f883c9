//! A node that mechanic holds: what next?

use std::time::Duration;

use jiff::Timestamp;

use super::{Assessment, Wish, WishKind, hold, phase_of};
use crate::{
    claim::{Claim, ClaimPhase, ClaimedEvent},
    coverage::Coverage,
    deadline::is_due,
    decide::{Decision, DrainOrder, NodeWrite, Phase},
    event::ScheduledEvent,
    fleet::{CordonOwner, DrainProgress, DrainStage, Pending},
    limits::is_down_for_long,
    pods::{PodReport, Verdict},
    proof::{Judge, Proof},
    reason::Reason,
};

/// With less notice than this nothing that runs gets to its end in good order.
const USABLE_NOTICE: Duration = Duration::from_secs(10);
/// To give a node back for less than this moves pods onto it and off again, and may be too late for them.
const WORTH_GIVING_BACK: Duration = Duration::from_mins(10);
/// A probe that has proved nothing for so long on a Ready node needs a person.
const PROOF_OVERDUE: Duration = Duration::from_mins(30);

impl Assessment<'_> {
    pub(super) fn decide_claimed(&self, on_node: &Claim, twin: Option<&str>) -> (Decision, Option<Wish>) {
        let mut claim = on_node.clone();
        claim.epoch = self.fleet.epoch;
        if self.is_our_cordon_gone(on_node) {
            claim.events.values_mut().for_each(|event| event.vetoed = true);
            // Should there be a cordon now or later, it is somebody else's.
            claim.was_unschedulable = true;
        }
        let distrusted = self.distrusted(twin);
        if distrusted.is_none() {
            self.note_events(&mut claim);
        }
        let missing = self.drop_what_is_over(&mut claim);
        // A drain has stopped once nothing it evicted is terminating; what an earlier leader left must be
        // looked at first.
        let stopping = on_node.phase == ClaimPhase::Draining
            && !self.node.drain.as_ref().is_some_and(DrainProgress::is_settled);
        if claim.events.is_empty() {
            let next = self.due_soon().filter(|_| distrusted.is_none() && self.held_back().is_none());
            return (self.give_back(on_node, &claim, stopping, next), None);
        }
        let active: Vec<&ScheduledEvent> = self
            .events_to_act_on()
            .filter(|_| distrusted.is_none())
            .filter(|event| claim.events.get(&event.event_id).is_some_and(|event| !event.vetoed))
            .collect();
        let drain = self.to_drain(&active);
        // What must leave may differ for a new event, and it is known as new but once; and for another leader, to whom the
        // pod of the one before is a pod like any other. Back to where a drain begins, whether or not one may begin now.
        let led_before = !on_node.leader_left.is_empty() && on_node.leader_left != self.fleet.leader_pod_uid;
        if on_node.phase == ClaimPhase::Drained
            && drain.iter().any(|event| led_before || !on_node.events.contains_key(&event.event_id))
        {
            claim.enter(ClaimPhase::Cordoned);
        }
        let is_down = is_down_for_long(self.node, self.now.monotonic);
        let (mut decision, wish) = if drain.is_empty() || is_down || self.held_back().is_some() {
            let reason = match distrusted.filter(|_| !stopping) {
                Some(reason) => reason,
                None => self.why_not_drained(&claim, &active, is_down, stopping, missing),
            };
            (self.stand_still(on_node, claim.clone(), stopping, reason), None)
        } else {
            self.go_on(on_node, claim.clone(), &drain)
        };
        if claim.phase != ClaimPhase::Drained && on_node.phase != ClaimPhase::Drained {
            decision.warnings.extend(self.at_risk(&drain));
        }
        let drained_for = |event_id: &String| drain.iter().any(|event| event.event_id == *event_id);
        let short = claim.events.iter().find(|(id, event)| drained_for(id) && !had_usable_notice(event));
        decision.warnings.extend(short.map(|(event_id, _)| self.notice_too_short(event_id)));
        decision.warnings.extend(self.proof_overdue());
        (decision, wish)
    }

    /// Whether somebody has taken our cordon off, even if they have put one of their own on since.
    fn is_our_cordon_gone(&self, on_node: &Claim) -> bool {
        let is_ours = !on_node.was_unschedulable;
        !self.node.unschedulable || (is_ours && self.node.cordon_owner == Some(CordonOwner::Somebody))
    }

    /// An event that the node would be claimed for again in no time.
    fn due_soon(&self) -> Option<&ScheduledEvent> {
        let is_due_soon = |event: &&ScheduledEvent| {
            let lead_time = self.lead_time(event) + WORTH_GIVING_BACK;
            is_due(event, self.now.wall, lead_time, self.needed)
        };
        self.events_to_act_on().find(is_due_soon)
    }

    /// All events of the claim are over; `next` is another that is due soon.
    fn give_back(
        &self,
        on_node: &Claim,
        claim: &Claim,
        stopping: bool,
        next: Option<&ScheduledEvent>,
    ) -> Decision {
        if stopping {
            let mut decision = self.decision(Phase::Draining, self.stopping_drain());
            decision.drain = DrainOrder::Settle;
            return decision;
        }
        if let Some(event) = next {
            let mut decision = self.decision(phase_of(on_node), self.why_not_acted_on(event));
            decision.drain = DrainOrder::Look(self.departure(&[event]));
            // What it names is over, and still says why the node is held until the next is due.
            let mut held = claim.clone();
            held.events.clone_from(&on_node.events);
            if held.phase == ClaimPhase::Draining {
                held.enter(ClaimPhase::Cordoned);
            }
            decision.write = hold(on_node, held);
            return decision;
        }
        let mut decision = self.decision(phase_of(on_node), Reason::Releasing);
        decision.write = Some(NodeWrite::release(self.node, claim));
        decision
    }

    /// There is a claim, and no pod is to be moved now.
    fn stand_still(&self, on_node: &Claim, mut claim: Claim, stopping: bool, reason: Reason) -> Decision {
        // Whether the event goes on is not known before the probes had their time.
        let waiting_for_probes = self.coverage == Coverage::Unknown;
        // A drain that has stopped gives its slot back, so going on needs one again.
        if claim.phase == ClaimPhase::Draining && !stopping && !waiting_for_probes {
            claim.enter(ClaimPhase::Cordoned);
        }
        let mut decision = self.decision(phase_of(on_node), reason);
        if stopping && !waiting_for_probes {
            decision.drain = DrainOrder::Settle;
        }
        decision.write = hold(on_node, claim);
        decision
    }

    fn why_not_drained(
        &self,
        claim: &Claim,
        active: &[&ScheduledEvent],
        is_down: bool,
        stopping: bool,
        missing: Option<String>,
    ) -> Reason {
        let terminating = self.node.drain.as_ref().map_or(0, |drain| drain.evicted.max(drain.terminating));
        if stopping && terminating > 0 && !is_down {
            self.stopping_drain()
        } else if claim.events.values().all(|event| event.vetoed) {
            Reason::Vetoed
        } else if is_down {
            Reason::WaitingForProof("the Node is Ready".to_owned())
        } else if self.node.probe.is_none() && self.coverage == Coverage::Unknown {
            Reason::WaitingForProbe
        } else if claim.phase == ClaimPhase::Drained && !active.is_empty() {
            drained(claim)
        } else if let Some(reason) = self.held_back().filter(|_| !self.to_drain(active).is_empty()) {
            reason
        } else if let Some(event) = active.first() {
            let (event_type, status) = (event.event_type.clone(), event.status.clone());
            Reason::CordonedOnly { event_type, status, rule: self.rule_for(event) }
        } else if let Some(missing) = missing {
            Reason::WaitingForProof(missing)
        } else {
            self.own_events().next().map_or(Reason::WaitingForProbe, |event| self.why_not_acted_on(event))
        }
    }

    /// Pods are to be moved for the events in `drain`.
    fn go_on(
        &self,
        on_node: &Claim,
        mut claim: Claim,
        drain: &[&ScheduledEvent],
    ) -> (Decision, Option<Wish>) {
        let known = self.node.drain.as_ref();
        if let Some(DrainProgress { stage: DrainStage::Clean { worst }, pods, .. }) = known
            && on_node.phase == ClaimPhase::Draining
        {
            if self.departure(drain).worst <= *worst {
                claim.enter(ClaimPhase::Drained);
                claim.pods_left = pods.len();
                let leads = pods.iter().any(|pod| pod.verdict == Verdict::Leader);
                claim.leader_left = if leads { self.fleet.leader_pod_uid.clone() } else { String::new() };
                claim.note_drained(&self.now.wall.to_string());
            } else {
                // It had ended before it heard of a costlier event.
                claim.enter(ClaimPhase::Cordoned);
            }
        }
        let set_aside = self.set_aside();
        let is_ending = self.node.pending == Some(Pending::DrainEnd);
        if claim.phase == ClaimPhase::Draining && (set_aside.is_some() || is_ending) {
            claim.enter(ClaimPhase::Cordoned);
        }
        let may_begin = set_aside.is_none();
        let (phase, reason, order) = match claim.phase {
            ClaimPhase::Cordoned => {
                let reason = set_aside.unwrap_or(Reason::StartingDrain);
                (Phase::Cordoned, reason, DrainOrder::Look(self.departure(drain)))
            }
            ClaimPhase::Draining => {
                // Not before the claim is this leader's and names what pods leave for, and the cordon stands.
                let stands = on_node.epoch == self.fleet.epoch && self.node.unschedulable;
                let named = drain.iter().filter(|event| on_node.events.contains_key(&event.event_id));
                let named: Vec<&ScheduledEvent> = named.copied().collect();
                let order = match (stands, named.is_empty()) {
                    (false, _) => DrainOrder::Stop,
                    (true, true) => DrainOrder::Look(self.departure(drain)),
                    (true, false) => DrainOrder::Run(self.departure(&named)),
                };
                (Phase::Draining, draining(known), order)
            }
            ClaimPhase::Drained => (Phase::Drained, drained(&claim), DrainOrder::Stop),
        };
        let mut decision = self.decision(phase, reason);
        decision.drain = order;
        let wanted = if self.node.unschedulable {
            (on_node.phase == ClaimPhase::Cordoned && may_begin).then_some(WishKind::Drain)
        } else {
            // Somebody took our cordon off, and another event has come since.
            Some(WishKind::Cordon)
        };
        let fresh = self.is_report_fresh();
        if !fresh && (wanted.is_some() || claim.phase == ClaimPhase::Cordoned) {
            decision.reason = Reason::ReportTooOld;
        }
        let wish = wanted.filter(|_| fresh).map(|kind| self.wish(kind, claim.clone(), drain));
        decision.write = hold(on_node, claim);
        (decision, wish)
    }

    /// Why the node has no slot, where no pod that must leave can, and none could for long: whatever frees one makes the
    /// node ask for a slot again.
    fn set_aside(&self) -> Option<Reason> {
        let drain = self.node.drain.as_ref()?;
        let blocked_for = self.now.monotonic.since(drain.blocked_since?);
        if blocked_for < self.fleet.config.set_aside_after {
            return None;
        }
        let blocked: Vec<&PodReport> = drain.pods.iter().filter(|pod| pod.verdict.must_leave()).collect();
        // One that waits for its wave waits for another.
        let first = blocked.iter().min_by_key(|pod| pod.verdict == Verdict::WaitingForWave)?;
        let first = format!("{}/{}: {}", first.namespace, first.name, first.message());
        Some(Reason::DrainBlocked { pods: blocked.len(), first })
    }

    /// Brings the claim's events up to what the probe shows: new ones that are due, and news of old ones.
    fn note_events(&self, claim: &mut Claim) {
        let probe = self.node.probe.as_ref();
        let due: Vec<&ScheduledEvent> = self.events_to_act_on().filter(|event| self.is_due(event)).collect();
        if let Some((probe, vm)) = probe.and_then(|probe| Some((probe, probe.vm.as_ref()?)))
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
                self.note(claim, event);
            }
        }
    }

    /// Takes the events off the claim that are proven to be over; what is missing for the first that isn't.
    fn drop_what_is_over(&self, claim: &mut Claim) -> Option<String> {
        let judged = claim.clone();
        let judge = Judge {
            fleet: self.fleet,
            node: self.node,
            neighbours: self.neighbours,
            claim: &judged,
            coverage: self.coverage,
            now: self.now.monotonic,
        };
        let mut missing = None;
        claim.events.retain(|event_id, event| {
            match judge.proof(event_id, event) {
                Proof::Over => return false,
                Proof::Missing(what) => missing = missing.take().or(Some(what)),
                Proof::Present => {}
            }
            true
        });
        missing
    }

    fn stopping_drain(&self) -> Reason {
        let drain = self.node.drain.as_ref();
        let terminating = drain.map_or(0, |drain| drain.evicted.max(drain.terminating));
        Reason::StoppingDrain { terminating }
    }

    fn notice_too_short(&self, event_id: &str) -> Reason {
        let event = self.node.own_events().iter().find(|event| event.event_id == event_id);
        let source = event.map(|event| event.source.clone()).unwrap_or_default();
        Reason::NoticeTooShort { event_id: event_id.to_owned(), source }
    }

    fn proof_overdue(&self) -> Option<Reason> {
        let proved_last = self.node.probe.as_ref().map(|probe| probe.proved_last);
        let silent_for = self.now.monotonic.since(proved_last.unwrap_or(self.fleet.leading_since));
        let cannot_tell = self.coverage.is_silent() || self.coverage == Coverage::Failing;
        let overdue = cannot_tell && self.node.is_ready() && silent_for >= PROOF_OVERDUE;
        overdue.then_some(Reason::ProofOverdue { silent_for })
    }
}

/// Whether there was time between the first sight of the event and its beginning.
fn had_usable_notice(event: &ClaimedEvent) -> bool {
    let read = |text: &str| text.parse::<Timestamp>().ok();
    let Some(seen) = read(&event.first_seen) else { return true };
    let begins =
        if event.started() { read(&event.started_seen) } else { crate::parse_not_before(&event.not_before) };
    let notice = begins.map(|begins| begins.duration_since(seen));
    notice.is_none_or(|notice| Duration::try_from(notice).is_ok_and(|notice| notice >= USABLE_NOTICE))
}

fn drained(claim: &Claim) -> Reason {
    if claim.pods_left == 0 { Reason::Drained } else { Reason::DrainedExcept(claim.pods_left) }
}

fn draining(drain: Option<&DrainProgress>) -> Reason {
    let count = |counts: &dyn Fn(Verdict) -> bool| {
        drain.map_or(0, |drain| drain.pods.iter().filter(|pod| counts(pod.verdict)).count())
    };
    Reason::Draining {
        pods: count(&Verdict::must_leave),
        blocked: count(&|verdict| verdict == Verdict::BlockedByBudget),
    }
}
