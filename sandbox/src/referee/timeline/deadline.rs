//! How much time an event leaves.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{EventLife, Timeline};
use crate::referee::promises::TAKES_EFFECT;

/// For whatever a pod waits for beside its own end: another in its place, a list, an answer.
const BETWEEN_PODS: Duration = Duration::from_secs(30);

/// `NotBefore` has whole seconds, and whoever reads it a clock of its own.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(2);

impl Timeline<'_> {
    /// Something that was shown for this Node destroys its VM, and to wait any longer could be too late for its pods.
    pub(in crate::referee) fn is_emergency(&self, node: &str, at: Timestamp) -> bool {
        self.events_of(node, at).any(|event| match event.event.event_type.as_str() {
            "Preempt" => true,
            "Terminate" => {
                let needed = self.needed_at_most(event, at) + TAKES_EFFECT;
                event.has_begun(at)
                    || event
                        .starts_at(at)
                        .any(|start| start.is_none_or(|start| start.duration_since(at) <= needed))
            }
            _ => false,
        })
    }

    /// What destroys this Node's VM begins so soon, and people have allowed a last call before it.
    pub(in crate::referee) fn allows_last_call(&self, node: &str, within: Duration, at: Timestamp) -> bool {
        let within = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX) + CLOCKS_DIFFER;
        self.events_of(node, at).any(|event| {
            let event_type = &event.event.event_type;
            let is_near = event.has_begun(at)
                || event.starts_at(at).flatten().any(|start| start.duration_since(at) <= within);
            is_near && self.maybe(at, |settings| settings.last_call.contains(event_type))
        })
    }

    /// No sensible estimate of what the pods need that were on the event's node is longer: one after the other.
    fn needed_at_most(&self, event: &EventLife<'_>, at: Timestamp) -> SignedDuration {
        let was_there = |gone: Option<Timestamp>| gone.is_none_or(|gone| gone >= event.announced);
        let pods = self.pods.values().filter(|pod| was_there(pod.gone)).filter_map(|pod| pod.at(at));
        let leaving = pods.filter(|pod| pod.node.as_deref() == Some(event.node) && !pod.stays);
        let needed: Duration = leaving.map(|pod| pod.grace + BETWEEN_PODS).sum();
        SignedDuration::try_from(needed + BETWEEN_PODS * 2).unwrap_or(SignedDuration::MAX)
    }
}

impl EventLife<'_> {
    /// When it may begin, in every way that anybody may know it at that moment: news takes its time.
    pub(super) fn starts_at(&self, at: Timestamp) -> impl Iterator<Item = Option<Timestamp>> {
        let ends = self.not_before.iter().skip(1).map(|(from, _)| *from).chain([Timestamp::MAX]);
        let known = self
            .not_before
            .iter()
            .zip(ends)
            .filter(move |((from, _), until)| *from <= at && at.duration_since(*until) <= TAKES_EFFECT);
        known.map(|((_, start), _)| *start)
    }

    pub(super) fn has_begun(&self, at: Timestamp) -> bool {
        self.started.is_some_and(|started| started <= at)
    }
}
