//! When an event is over. There is no status for it: the event vanishes, and absence needs proof.

use std::time::Duration;

use crate::{
    claim::{Claim, ClaimedEvent},
    coverage::Coverage,
    event::EventType,
    fleet::{Evidence, Fleet, Node, Probe},
    neighbours::{Neighbours, Witness},
    time::Monotonic,
};

const POLLS: u32 = 3;

/// Whether a claimed event is proven to be over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The node's own probe shows it.
    Present,
    /// It isn't shown, or nothing can be said; what is still missing, as the end of "waiting until …".
    Missing(String),
    /// It is over.
    Over,
}

/// Judges the events of one claim.
pub(crate) struct Judge<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) node: &'a Node,
    pub(crate) neighbours: &'a Neighbours<'a>,
    pub(crate) claim: &'a Claim,
    pub(crate) coverage: Coverage,
    pub(crate) now: Monotonic,
}

impl Judge<'_> {
    /// Judges one of them. Silence, failed polls, an unreadable entry, a probe on another machine than the Node
    /// names, or a Node that isn't Ready prove nothing.
    pub(crate) fn proof(&self, event_id: &str, event: &ClaimedEvent) -> Proof {
        let probe = self.node.probe.as_ref();
        let document = probe.and_then(|probe| probe.document.as_deref());
        if self.coverage == Coverage::Mismatched {
            return Proof::Missing("the probe speaks of the machine that the Node names".to_owned());
        }
        let (hold, after_boot) = (self.hold(event), self.fleet.config.release_hold_after_boot);
        if self.coverage.is_silent() {
            let witnesses = || self.neighbours.witnesses(self.node, event_id);
            if witnesses().any(|witness| witness.shows) {
                return Proof::Missing("no neighbour shows the event any more".to_owned());
            }
            let proves_it = |Witness { probe, .. }: &Witness<'_>| {
                missing(probe, probe.evidence_of_document, hold, after_boot).is_none()
            };
            if !witnesses().any(proves_it) {
                return Proof::Missing("the node's own probe reports again".to_owned());
            }
        } else if document.is_some_and(|document| document.lists(event_id)) {
            return Proof::Present;
        } else if let Some(probe) = probe.filter(|_| self.coverage.is_heard()) {
            if let Some(missing) = missing(probe, probe.evidence, hold, after_boot) {
                return Proof::Missing(missing);
            }
        } else {
            return Proof::Missing("the node's own probe reports valid polls".to_owned());
        }
        if !self.node.is_ready() {
            return Proof::Missing("the Node is Ready".to_owned());
        }
        if event.event_type() == EventType::Terminate && self.node.ready_for(self.now) < hold {
            return Proof::Missing(format!("the Node has been Ready for {}", seconds(hold)));
        }
        Proof::Over
    }

    /// How long valid polls in a row must not have shown the event.
    fn hold(&self, event: &ClaimedEvent) -> Duration {
        let config = &self.fleet.config;
        let boot_id = self.node.probe.as_ref().map(|probe| probe.boot_id.as_str());
        let began_anew = self.is_another_machine() || boot_id.is_some_and(|boot_id| boot_id != event.boot_id);
        if event.event_type() == EventType::Terminate && !self.is_another_machine() {
            config.release_hold.max(config.release_hold_after_terminate)
        } else if event.started() || began_anew {
            config.release_hold
        } else {
            config.release_hold.max(config.release_hold_never_started)
        }
    }

    fn is_another_machine(&self) -> bool {
        let vm = self.node.probe.as_ref().and_then(|probe| probe.vm.as_ref());
        vm.is_some_and(|vm| vm.vm_id != self.claim.vm_id)
    }
}

/// What the polls of `probe`, whose document doesn't list the event, lack to prove it over; `None` where they do.
/// `evidence` is what they prove about events of the machine in question.
fn missing(
    probe: &Probe,
    evidence: Option<Evidence>,
    hold: Duration,
    after_boot: Duration,
) -> Option<String> {
    match (&probe.document, evidence) {
        (Some(document), _) if !document.complete => {
            Some("every entry of the events document can be read".to_owned())
        }
        (Some(_), Some(Evidence { continuous_for, .. })) if continuous_for < after_boot => Some(format!(
            "the metadata service has been read for {} since probe or machine began anew",
            seconds(after_boot)
        )),
        (Some(_), Some(Evidence { consecutive_polls: POLLS.., span, .. })) if span >= hold => None,
        _ => Some(format!("at least {POLLS} valid polls in a row over {} show it gone", seconds(hold))),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}
