//! What was the case at a moment: the settings in force, the Nodes that existed, the events of a Node.

use jiff::{SignedDuration, Timestamp};

use super::{EventLife, Timeline, WATCH_LAG};
use crate::referee::promises::TAKES_EFFECT;
use crate::referee::settings::Settings;

/// A Freeze of so many seconds is shorter than what moving its pods would cost.
const TOLERABLE_SECONDS: i64 = 10;

impl<'a> Timeline<'a> {
    /// The settings that may be in force at that moment: a change needs its time to arrive.
    fn settings_at(&self, at: Timestamp) -> impl Iterator<Item = &Settings> {
        let ends = self.settings.iter().skip(1).map(|(from, _)| *from).chain([Timestamp::MAX]);
        let possible = move |from: Timestamp, until: Timestamp| {
            from.duration_since(at) <= WATCH_LAG && at.duration_since(until) <= TAKES_EFFECT
        };
        self.settings
            .iter()
            .zip(ends)
            .filter(move |((from, _), until)| possible(*from, *until))
            .map(|((_, s), _)| s)
    }

    /// The highest that a limit may be at that moment.
    pub(in crate::referee) fn at_most(&self, at: Timestamp, limit: impl Fn(&Settings) -> usize) -> usize {
        self.settings_at(at).map(limit).max().unwrap_or_default()
    }

    /// The shortest that a hold may be at that moment.
    pub(in crate::referee) fn at_least(
        &self,
        at: Timestamp,
        hold: impl Fn(&Settings) -> std::time::Duration,
    ) -> std::time::Duration {
        self.settings_at(at).map(hold).min().unwrap_or_default()
    }

    /// That is in force at that moment, and has been for long enough.
    pub(in crate::referee) fn surely(&self, at: Timestamp, is: impl Fn(&Settings) -> bool) -> bool {
        self.settings_at(at).all(is)
    }

    /// That may be in force at that moment.
    pub(in crate::referee) fn maybe(&self, at: Timestamp, is: impl Fn(&Settings) -> bool) -> bool {
        self.settings_at(at).any(is)
    }

    /// How many Nodes there were, in that pool or in all.
    pub(in crate::referee) fn count_nodes(&self, pool: Option<&str>, at: Timestamp) -> usize {
        let in_pool = |node: &str| {
            let states = self.nodes.get(node).map(Vec::as_slice).unwrap_or_default();
            pool.is_none_or(|pool| states.iter().any(|state| state.seen.pool == pool))
        };
        self.nodes.keys().filter(|node| self.exists(node, at) && in_pool(node)).count()
    }

    /// There was a Node of that name.
    pub(in crate::referee) fn exists(&self, node: &str, at: Timestamp) -> bool {
        let states = self.nodes.get(node).map(Vec::as_slice).unwrap_or_default();
        let seen = states.iter().rfind(|state| state.earliest <= at);
        let gone = self.gone_nodes.iter().filter(|(gone, name)| *name == node && *gone <= at);
        let gone = gone.map(|(gone, _)| *gone).max();
        seen.is_some_and(|state| gone.is_none_or(|gone| gone < state.earliest))
    }

    /// When the Node that bore that name then was deleted; never, if it wasn't.
    pub(in crate::referee) fn deleted_after(&self, node: &str, at: Timestamp) -> Timestamp {
        let gone = self.gone_nodes.iter().filter(|(gone, name)| *name == node && *gone > at);
        gone.map(|(gone, _)| *gone).min().unwrap_or(Timestamp::MAX)
    }

    /// The Node of that name was deleted so short a time ago that nobody need know it.
    pub(in crate::referee) fn was_just_deleted(&self, node: &str, at: Timestamp) -> bool {
        self.gone_nodes
            .iter()
            .any(|(gone, name)| *name == node && *gone <= at && at.duration_since(*gone) <= TAKES_EFFECT)
    }

    /// The events that were shown for this Node at that moment, or had been a little before.
    pub(in crate::referee) fn events_of<'t>(
        &'t self,
        node: &'t str,
        at: Timestamp,
    ) -> impl Iterator<Item = &'t EventLife<'a>> {
        self.events.iter().filter(move |event| {
            let over = event.removed.is_some_and(|removed| at.duration_since(removed) > TAKES_EFFECT);
            event.node == node && event.announced <= at && !over
        })
    }

    /// The label that keeps mechanic away was there, and had been for long enough.
    pub(in crate::referee) fn is_opted_out(&self, node: &str, at: Timestamp) -> bool {
        let states = self.nodes.get(node).map(Vec::as_slice).unwrap_or_default();
        let ends = states.iter().skip(1).map(|next| next.latest).chain([Timestamp::MAX]);
        let mut possible = states
            .iter()
            .zip(ends)
            .filter(|(state, until)| state.earliest < at && at.duration_since(*until) <= TAKES_EFFECT);
        possible.next().is_some_and(|(first, _)| first.seen.opted_out)
            && possible.all(|(state, _)| state.seen.opted_out)
    }
}

impl EventLife<'_> {
    /// Nothing has to be done about it: it is over sooner than that.
    fn is_tolerable(&self) -> bool {
        let short = (0..=TOLERABLE_SECONDS).contains(&self.event.duration_in_seconds);
        let migration = self.event.description.to_lowercase().contains("live migration");
        self.event.event_type == "Freeze" && short && !migration
    }

    /// Its node is not given back while it is there. One that nothing has to be done about, or not so long before, is no
    /// reason to keep a node that was held for another.
    pub(in crate::referee) fn holds_its_node(&self, until: Timestamp, lead_time: SignedDuration) -> bool {
        let last = self.removed.unwrap_or(until).min(until);
        let is_far = self.starts_at(last).flatten().any(|start| start.duration_since(last) > lead_time);
        !self.is_tolerable() && (self.has_begun(last) || !is_far)
    }

    /// No pod is to be moved for it: it is over sooner than that, or nobody knows what it is.
    pub(in crate::referee) fn moves_no_pod(&self) -> bool {
        match self.event.event_type.as_str() {
            "Reboot" | "Redeploy" | "Preempt" | "Terminate" => false,
            "Freeze" => {
                let too_late = self.started == Some(self.announced);
                self.is_tolerable() || too_late
            }
            _ => true,
        }
    }
}
