//! Whether a node's own probe is heard, and can be believed.

use std::{sync::Arc, time::Duration};

use crate::{
    fleet::{Fleet, Node},
    time::Monotonic,
};

/// A probe that says nothing for so long is mute. Heartbeats come every 10 s.
pub const MUTE_AFTER: Duration = Duration::from_secs(30);

/// Probe and node-problem-detector poll the same service; one may be this much behind the other.
const MAY_DIFFER_FOR: Duration = Duration::from_secs(10);

/// Whether the coordinator hears a node's probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Heard, and its polls are valid.
    Covered,
    /// The same, but the Node's condition `VMEventScheduled` has contradicted it for a while.
    Disagrees,
    /// Not heard yet by this leader, and it had no time to.
    Unknown,
    /// Never heard by this leader, which has waited for it long enough.
    Absent,
    /// Not heard for [`MUTE_AFTER`].
    Mute,
    /// Heard, but it doesn't reach the Instance Metadata Service.
    Failing,
    /// Heard, but it speaks of another machine than the Node does.
    Mismatched,
    /// No probe can run there.
    NotCovered,
}

/// A Node, and whether its probe is heard: asked once for all that is decided at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Observed<'a> {
    pub(crate) name: &'a str,
    pub(crate) node: &'a Node,
    pub(crate) coverage: Coverage,
}

impl<'a> Observed<'a> {
    /// All Nodes by name.
    pub(crate) fn all(fleet: &'a Fleet, now: Monotonic) -> Vec<Self> {
        let observe = |(name, node): (&'a String, &'a Arc<Node>)| Self {
            name,
            node,
            coverage: Coverage::of(node, fleet, now),
        };
        fleet.nodes.iter().map(observe).collect()
    }
}

impl Coverage {
    fn of(node: &Node, fleet: &Fleet, now: Monotonic) -> Self {
        if !node.covered {
            return Self::NotCovered;
        }
        let Some(probe) = &node.probe else {
            return if now.since(fleet.leading_since) < MUTE_AFTER { Self::Unknown } else { Self::Absent };
        };
        // First of all: a report that can't be trusted doesn't become credible by falling silent.
        if probe.vm.as_ref().is_some_and(|vm| vm.reference.is_none() || vm.reference != node.vm) {
            return Self::Mismatched;
        }
        if now.since(probe.last_heard) >= MUTE_AFTER {
            return Self::Mute;
        }
        let polls = probe.evidence.map_or(0, |evidence| evidence.consecutive_polls);
        let (Some(_), Some(document), 1..) = (&probe.vm, &probe.document, polls) else {
            return Self::Failing;
        };
        let disagrees = node.vm_event_condition.is_some_and(|condition| {
            condition.event == document.own_events.is_empty()
                && now.since(condition.since.max(probe.unchanged_since)) >= MAY_DIFFER_FOR
        });
        if disagrees { Self::Disagrees } else { Self::Covered }
    }

    /// Whether the probe is heard and its polls are valid.
    #[must_use]
    pub fn is_heard(self) -> bool {
        matches!(self, Self::Covered | Self::Disagrees)
    }

    /// Whether a probe could be there and nothing is heard of it.
    #[must_use]
    pub fn is_silent(self) -> bool {
        matches!(self, Self::Mute | Self::Absent)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        config::Config,
        event::ScheduledEvent,
        fleet::{Document, VmEventCondition},
        testing,
    };

    const NOW: Monotonic = Monotonic(Duration::from_secs(1_000));

    fn seconds_ago(seconds: u64) -> Monotonic {
        NOW.before(Duration::from_secs(seconds))
    }

    fn coverage_of(node: &Node, leading_for: u64) -> Coverage {
        let fleet = Fleet {
            config: Config::default(),
            epoch: 1,
            leading_since: seconds_ago(leading_for),
            leader_pod_uid: String::new(),
            nodes: BTreeMap::new(),
        };
        Coverage::of(node, &fleet, NOW)
    }

    fn node(reported: &str, silent_for: u64) -> Node {
        let mut probe = testing::probe(reported, seconds_ago(silent_for));
        probe.unchanged_since = seconds_ago(500);
        Node { probe: Some(probe), ..testing::node("own") }
    }

    #[test]
    fn a_probe_of_another_machine_stays_one_when_it_falls_silent() {
        assert_eq!(coverage_of(&node("other", 0), 900), Coverage::Mismatched);
        assert_eq!(coverage_of(&node("other", 900), 900), Coverage::Mismatched);
        assert_eq!(coverage_of(&node("OWN", 0), 900), Coverage::Covered);
        assert_eq!(coverage_of(&node("own", 31), 900), Coverage::Mute);
    }

    #[test]
    fn a_probe_that_was_never_heard_is_absent_once_this_leader_has_waited_for_it() {
        let node = testing::node("own");
        assert_eq!(coverage_of(&node, 29), Coverage::Unknown);
        assert_eq!(coverage_of(&node, 30), Coverage::Absent);
    }

    #[test]
    fn a_probe_disagrees_once_the_condition_has_contradicted_it_for_ten_seconds() {
        let with_condition = |event, since| {
            let vm_event_condition = Some(VmEventCondition { event, since: seconds_ago(since) });
            Node { vm_event_condition, ..node("own", 0) }
        };
        assert_eq!(coverage_of(&with_condition(false, 100), 900), Coverage::Covered);
        assert_eq!(coverage_of(&with_condition(true, 9), 900), Coverage::Covered);
        assert_eq!(coverage_of(&with_condition(true, 10), 900), Coverage::Disagrees);
        let mut sees_one = with_condition(false, 100);
        let document = Document { own_events: vec![ScheduledEvent::default()], ..Document::default() };
        let probe = sees_one.probe.as_mut().unwrap();
        probe.document = Some(Arc::new(document));
        assert_eq!(coverage_of(&sees_one, 900), Coverage::Disagrees);
        sees_one.probe.as_mut().unwrap().unchanged_since = seconds_ago(9);
        assert_eq!(coverage_of(&sees_one, 900), Coverage::Covered, "the condition may be behind");
    }
}
