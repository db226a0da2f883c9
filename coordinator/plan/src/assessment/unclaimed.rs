//! A node that mechanic doesn't hold: shall it?

use super::{Assessment, Wish, WishKind};
use crate::{
    claim::Claim,
    coverage::Coverage,
    deadline::time_left,
    decide::{Decision, DrainOrder, Phase},
    event::ScheduledEvent,
    neighbours::Hint,
    reason::Reason,
};

impl<'a> Assessment<'a> {
    pub(super) fn decide_unclaimed(
        &self,
        twin: Option<&str>,
        hint: Option<Hint<'_>>,
    ) -> (Decision, Option<Wish>) {
        if self.coverage == Coverage::NotCovered {
            return (self.decision(Phase::Idle, Reason::NotCovered), None);
        }
        if let Some(reason) = self.distrusted(twin) {
            return (self.decision(Phase::Idle, reason), None);
        }
        let Some(first) = self.most_urgent_event() else {
            return self.nothing_of_its_own(hint);
        };
        let events: Vec<&ScheduledEvent> = self.events_to_act_on().collect();
        let due: Vec<&ScheduledEvent> = events.iter().copied().filter(|event| self.is_due(event)).collect();
        let drain = self.to_drain(&events);
        let mut decision = self.decision(Phase::Noticed, self.why_not_acted_on(first));
        if !drain.is_empty() {
            decision.drain = DrainOrder::Look(self.departure(&drain));
        }
        if due.is_empty() {
            return (decision, None);
        }
        decision.warnings.extend(self.at_risk(&self.to_drain(&due)));
        let vm = self.node.probe.as_ref().and_then(|probe| Some((probe, probe.vm.as_ref()?)));
        if let Some(reason) = self.held_back() {
            decision.reason = reason;
        } else if !self.is_report_fresh() {
            decision.reason = Reason::ReportTooOld;
        } else if let Some((probe, vm)) = vm {
            let mut claim = self.new_claim(&vm.vm_id, &probe.boot_id);
            for event in &due {
                self.note(&mut claim, event);
            }
            // One whose id alone is too long for a claim can only be shown.
            let wish = (!claim.events.is_empty()).then(|| self.wish(WishKind::Cordon, claim, &due));
            return (decision, wish);
        } else {
            decision.reason = Reason::ProbeMismatched;
        }
        (decision, None)
    }

    fn nothing_of_its_own(&self, hint: Option<Hint<'_>>) -> (Decision, Option<Wish>) {
        let Some(Hint { neighbour, event }) = hint else {
            return (self.decision(Phase::Idle, Reason::NothingAnnounced), None);
        };
        let reason = Reason::SeenByNeighbour {
            event_id: event.event_id.clone(),
            event_type: event.event_type.clone(),
            neighbour: neighbour.to_owned(),
        };
        let mut decision = self.decision(Phase::Noticed, reason);
        let trusts = self.fleet.config.policy.events.trusts_neighbours(self.node, event);
        if !trusts || !self.is_due(event) {
            return (decision, None);
        }
        if let Some(reason) = self.held_back() {
            decision.reason = reason;
            return (decision, None);
        }
        // Nobody has said which machine and boot are behind the Node: its own probe will.
        let mut claim = self.new_claim("", "");
        self.note(&mut claim, event);
        // No limit yields to what another machine says: it may be a liar.
        let wish = (!claim.events.is_empty())
            .then(|| Wish { emergency: false, ..self.wish(WishKind::Cordon, claim, &[event]) });
        (decision, wish)
    }

    fn new_claim(&self, vm_id: &str, boot_id: &str) -> Claim {
        let (epoch, was_unschedulable) = (self.fleet.epoch, self.node.unschedulable);
        let mut claim = Claim::new(&self.node.uid, vm_id, boot_id, epoch, was_unschedulable);
        claim.claimed_at = self.now.wall.to_string();
        claim
    }

    /// What matters most, and of that the soonest.
    fn most_urgent_event(&self) -> Option<&'a ScheduledEvent> {
        let urgency = |event: &&ScheduledEvent| {
            (std::cmp::Reverse(self.response(event)), time_left(event, self.now.wall))
        };
        self.own_events().min_by_key(urgency)
    }
}
