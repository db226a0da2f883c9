//! Whether a node's own probe is heard, and can be believed.

use std::time::Duration;

use crate::{
    fleet::{Fleet, Node},
    time::Monotonic,
};

/// A probe that says nothing for so long is mute. Heartbeats come every 10 s.
pub const MUTE_AFTER: Duration = Duration::from_secs(30);

/// Whether the coordinator hears a node's probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Heard, and its polls are valid.
    Covered,
    /// Not heard yet by this leader, and it had no time to.
    Unknown,
    /// Not heard for [`MUTE_AFTER`].
    Mute,
    /// Heard, but it doesn't reach the Instance Metadata Service.
    Failing,
    /// Heard, but it speaks of another machine than the Node does.
    Mismatched,
    /// No probe can run there.
    NotCovered,
}

impl Coverage {
    pub(crate) fn of(node: &Node, fleet: &Fleet, now: Monotonic) -> Self {
        if !node.covered {
            return Self::NotCovered;
        }
        let Some(probe) = &node.probe else {
            return if now.since(fleet.leading_since) < MUTE_AFTER { Self::Unknown } else { Self::Mute };
        };
        if now.since(probe.last_heard) >= MUTE_AFTER {
            return Self::Mute;
        }
        match &probe.vm {
            Some(vm) if vm.reference.is_none() || vm.reference != node.vm => Self::Mismatched,
            Some(_) if probe.evidence.is_some_and(|evidence| evidence.consecutive_polls > 0) => Self::Covered,
            _ => Self::Failing,
        }
    }
}
