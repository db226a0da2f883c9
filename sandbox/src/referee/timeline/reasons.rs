//! Why a drain begins, and why it stops.

use jiff::Timestamp;

use super::{EventLife, Timeline};

impl Timeline<'_> {
    /// At some moment in between nothing spoke for draining the node: no event that moves pods was there, or somebody
    /// had said stop: by `paused`, by opting the node out, by making it schedulable.
    pub(in crate::referee) fn had_to_stop(&self, node: &str, (from, until): (Timestamp, Timestamp)) -> bool {
        let inside = |at: Timestamp| from < at && at < until;
        // The reasons become fewer at no other time.
        let ends =
            self.events.iter().filter(|event| event.node == node).filter_map(EventLife::moves_pods_until);
        let without_reason = ends.filter(|end| inside(*end)).any(|end| !self.is_to_be_drained(node, end));
        let ends = self.settings.iter().skip(1).map(|(from, _)| *from).chain([Timestamp::MAX]);
        let paused = self
            .settings
            .iter()
            .zip(ends)
            .any(|((begun, settings), ended)| settings.paused && *begun < until && from < ended);
        let states = self.nodes.get(node).map(Vec::as_slice).unwrap_or_default();
        let told = states
            .iter()
            .any(|state| inside(state.latest) && (state.seen.opted_out || !state.seen.unschedulable));
        from < until && (without_reason || paused || told)
    }

    /// In between the claim said that the node was held and not drained: its drain had given its slot away.
    pub(in crate::referee) fn was_set_aside(
        &self,
        node: &str,
        (from, until): (Timestamp, Timestamp),
    ) -> bool {
        let states = self.nodes.get(node).map(Vec::as_slice).unwrap_or_default();
        states.iter().any(|state| {
            let inside = from < state.earliest && state.latest < until;
            inside && state.seen.claim.is_some() && !state.seen.is_draining()
        })
    }

    /// An event that moves pods was announced for the node in between.
    pub(in crate::referee) fn was_announced(
        &self,
        node: &str,
        (from, until): (Timestamp, Timestamp),
    ) -> bool {
        self.events.iter().any(|event| {
            event.node == node && !event.moves_no_pod() && (from..until).contains(&event.announced)
        })
    }

    fn is_to_be_drained(&self, node: &str, at: Timestamp) -> bool {
        self.events
            .iter()
            .filter(|event| event.node == node && event.announced <= at)
            .any(|event| !event.moves_no_pod() && event.moves_pods_until().is_none_or(|until| at < until))
    }
}

impl EventLife<'_> {
    /// When it is over, or needs no pod moved any more: the pause of a Freeze comes at its beginning.
    fn moves_pods_until(&self) -> Option<Timestamp> {
        let begun = self.started.filter(|_| self.event.event_type == "Freeze");
        begun.into_iter().chain(self.removed).min()
    }
}
