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
        // First of all: a report that can't be trusted doesn't become credible by falling silent.
        if probe.vm.as_ref().is_some_and(|vm| vm.reference.is_none() || vm.reference != node.vm) {
            return Self::Mismatched;
        }
        if now.since(probe.last_heard) >= MUTE_AFTER {
            return Self::Mute;
        }
        let polls = probe.evidence.map_or(0, |evidence| evidence.consecutive_polls);
        if probe.vm.is_some() && probe.document.is_some() && polls > 0 {
            Self::Covered
        } else {
            Self::Failing
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::{
        config::Config,
        fleet::{ClaimOnNode, Document, Evidence, Probe, ProbeVm},
        identity::VmReference,
    };

    fn vm(name: &str) -> Option<VmReference> {
        VmReference::parse(&format!(
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{name}"
        ))
    }

    fn coverage(reported: &str, silent_for: u64) -> Coverage {
        let now = Monotonic(Duration::from_secs(1_000));
        let evidence =
            Evidence { consecutive_polls: 1, span: Duration::ZERO, continuous_for: Duration::ZERO };
        let probe = Probe {
            last_heard: now.before(Duration::from_secs(silent_for)),
            boot_id: String::new(),
            vm: Some(ProbeVm { vm_id: "id".into(), reference: vm(reported) }),
            document: Some(Arc::new(Document::default())),
            evidence: Some(evidence),
        };
        let node = Node {
            uid: "u".into(),
            resource_version: "1".into(),
            vm: vm("own"),
            covered: true,
            unschedulable: false,
            not_ready_since: None,
            claim: ClaimOnNode::None,
            probe: Some(probe),
            drain: None,
            drain_pending: false,
        };
        let fleet = Fleet {
            config: Config::default(),
            epoch: 1,
            leading_since: Monotonic::default(),
            nodes: BTreeMap::new(),
        };
        Coverage::of(&node, &fleet, now)
    }

    #[test]
    fn a_probe_of_another_machine_stays_one_when_it_falls_silent() {
        assert_eq!(coverage("other", 0), Coverage::Mismatched);
        assert_eq!(coverage("other", 3_600), Coverage::Mismatched);
        assert_eq!(coverage("OWN", 0), Coverage::Covered);
        assert_eq!(coverage("own", 31), Coverage::Mute);
    }
}
