//! When an event is over. There is no status for it: the event vanishes, and absence needs proof.

use std::time::Duration;

use crate::{
    claim::{Claim, ClaimedEvent},
    config::Config,
    coverage::Coverage,
    fleet::Node,
};

const POLLS: u32 = 3;

/// Whether a claimed event is proven to be over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The node's own probe shows it.
    Present,
    /// It isn't shown, or nothing can be said; what is still missing, as the end of "waiting until …".
    Missing(String),
    /// It is over.
    Over,
}

impl Proof {
    /// Judges one event of `claim`. Silence, failed polls, an unreadable entry, a probe on another machine
    /// than the Node names, or a Node that isn't Ready prove nothing.
    pub(crate) fn of(
        event_id: &str,
        event: &ClaimedEvent,
        claim: &Claim,
        node: &Node,
        coverage: Coverage,
        config: &Config,
    ) -> Self {
        let Some((probe, vm, document)) =
            node.probe.as_ref().and_then(|probe| Some((probe, probe.vm.as_ref()?, probe.document.as_ref()?)))
        else {
            return Self::Missing("the node's own probe reports".to_owned());
        };
        if coverage == Coverage::Mismatched {
            return Self::Missing("the probe speaks of the machine that the Node names".to_owned());
        }
        if document.own_events.iter().any(|own| own.event_id == event_id) {
            return Self::Present;
        }
        let (Coverage::Covered, Some(evidence)) = (coverage, probe.evidence) else {
            return Self::Missing("the node's own probe reports valid polls".to_owned());
        };
        if !document.complete {
            return Self::Missing("every entry of the events document can be read".to_owned());
        }
        if evidence.continuous_for < config.release_hold_after_boot {
            return Self::Missing(format!(
                "the metadata service has been read for {} since probe or machine began anew",
                seconds(config.release_hold_after_boot)
            ));
        }
        let began_anew = vm.vm_id != claim.vm_id || probe.boot_id != event.boot_id;
        let hold = if event.started() || began_anew {
            config.release_hold
        } else {
            config.release_hold.max(config.release_hold_never_started)
        };
        if evidence.consecutive_polls < POLLS || evidence.span < hold {
            return Self::Missing(format!(
                "at least {POLLS} valid polls in a row over {} show it gone",
                seconds(hold)
            ));
        }
        if !node.is_ready() {
            return Self::Missing("the Node is Ready".to_owned());
        }
        Self::Over
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}
