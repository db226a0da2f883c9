//! The state itself: all Nodes, and whether they and the settings are known.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use mechanic_plan::{Config, DrainProgress, Evidence, Monotonic, Node, ProbeVm, ScheduledEvent};

use super::{
    NodeView,
    record::{Record, SessionId},
};

/// What is known. Nothing in it can't be rebuilt from the Nodes and the probes.
#[derive(Default)]
pub(crate) struct FleetState {
    records: BTreeMap<String, Record>,
    config: Option<Config>,
    listed: bool,
}

impl FleetState {
    /// Takes in a Node as a list or the watch shows it, unless a newer one is known already.
    pub(crate) fn apply_node(&mut self, view: NodeView, now: Monotonic) {
        match self.records.get_mut(&view.name) {
            Some(record) if view.version < *record.version() => {}
            Some(record) if record.is(&view.uid) => record.update(view, now),
            // Absent, or another Node of that name: nothing of the old one's is carried over.
            _ => drop(self.records.insert(view.name.clone(), Record::new(view, now))),
        }
    }

    /// Takes in a Node as the answer to a write shows it. The Node may be gone or another one by now: that is
    /// for the watch to say.
    pub(crate) fn apply_answer(&mut self, view: NodeView, now: Monotonic) {
        if let Some(record) = self.of(&view.name, &view.uid)
            && view.version >= *record.version()
        {
            record.update(view, now);
        }
    }

    /// Forgets a Node that is gone.
    pub(crate) fn delete_node(&mut self, name: &str, uid: &str) {
        if self.records.get(name).is_some_and(|record| record.is(uid)) {
            self.records.remove(name);
        }
    }

    /// A whole list has been taken in: what it didn't show is gone, whether or not its deletion was seen.
    pub(crate) fn retain_listed(&mut self, seen: &HashSet<String>) {
        self.records.retain(|name, _| seen.contains(name));
        self.listed = true;
    }

    pub(super) fn forget_list(&mut self) {
        self.listed = false;
    }

    /// Whether the Nodes have been listed whole since that was last asked for, and the settings were read.
    pub(crate) fn is_known(&self) -> bool {
        self.listed && self.config.is_some()
    }

    /// The settings in force; the defaults until they were read.
    pub(crate) fn config(&self) -> Config {
        self.config.clone().unwrap_or_default()
    }

    pub(super) fn set_config(&mut self, config: Config) {
        self.config = Some(config);
    }

    /// The snapshot that is planned on.
    pub(crate) fn snapshot(&self, epoch: u64, leading_since: Monotonic) -> mechanic_plan::Fleet {
        mechanic_plan::Fleet {
            config: self.config(),
            epoch,
            leading_since,
            nodes: self
                .records
                .iter()
                .map(|(name, record)| (name.clone(), Arc::clone(record.node())))
                .collect(),
        }
    }

    /// One Node.
    pub(crate) fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.records.get(name).map(|record| Arc::clone(record.node()))
    }

    /// A write that begins a drain is about to be sent: it holds its slot from now on.
    pub(crate) fn drain_write_begins(&mut self, name: &str) {
        if let Some(record) = self.records.get_mut(name) {
            record.drain_write_begins();
        }
    }

    /// That write is known not to have taken effect, and can't any more.
    pub(crate) fn drain_write_failed(&mut self, name: &str, uid: &str) {
        if let Some(record) = self.of(name, uid) {
            record.drain_write_failed();
        }
    }

    /// Lets `session` speak for the node from now on, in place of any older one. False if there is no Node
    /// of that name and UID.
    pub(crate) fn begin_session(&mut self, name: &str, uid: &str, session: SessionId) -> bool {
        self.of(name, uid).map(|record| record.begin_session(session)).is_some()
    }

    /// A probe has introduced itself. False if the session doesn't count any more.
    pub(crate) fn hello(
        &mut self,
        name: &str,
        session: SessionId,
        now: Monotonic,
        boot_id: String,
        vm: Option<ProbeVm>,
    ) -> bool {
        self.speaking(name, session).map(|record| record.hello(now, boot_id, vm)).is_some()
    }

    /// A probe shows a document. False if the session doesn't count any more.
    pub(crate) fn observe(
        &mut self,
        name: &str,
        session: SessionId,
        now: Monotonic,
        document: (Vec<ScheduledEvent>, bool),
        evidence: Option<Evidence>,
    ) -> bool {
        self.speaking(name, session).map(|record| record.observe(now, document, evidence)).is_some()
    }

    /// A probe lives, and its polls prove so much. False if the session doesn't count any more.
    pub(crate) fn heartbeat(
        &mut self,
        name: &str,
        session: SessionId,
        now: Monotonic,
        evidence: Option<Evidence>,
    ) -> bool {
        self.speaking(name, session).map(|record| record.heartbeat(now, evidence)).is_some()
    }

    /// A drain reports how it goes.
    pub(crate) fn drain_progress(&mut self, name: &str, uid: &str, progress: DrainProgress) {
        if let Some(record) = self.of(name, uid) {
            record.drain_progress(progress);
        }
    }

    fn of(&mut self, name: &str, uid: &str) -> Option<&mut Record> {
        self.records.get_mut(name).filter(|record| record.is(uid))
    }

    fn speaking(&mut self, name: &str, session: SessionId) -> Option<&mut Record> {
        self.records.get_mut(name).filter(|record| record.hears(session))
    }
}

#[cfg(test)]
mod tests {
    use mechanic_plan::ClaimOnNode;

    use super::*;
    use crate::fleet::record::tests::{FIRST, NOW, event, own_events, view};

    fn state_with_document() -> FleetState {
        let mut state = FleetState::default();
        state.apply_node(view("9", "u", ClaimOnNode::None), NOW);
        assert!(state.begin_session("n", "u", FIRST));
        assert!(state.hello("n", FIRST, NOW, "boot".into(), None));
        assert!(state.observe("n", FIRST, NOW, (vec![event("VM"), event("vm2")], true), None));
        state
    }

    #[test]
    fn an_older_version_of_a_node_never_replaces_a_newer_one() {
        let mut state = FleetState::default();
        state.apply_node(view("10", "u", ClaimOnNode::LabelOnly), NOW);
        state.apply_node(view("9", "u", ClaimOnNode::None), NOW);
        state.apply_node(view("9", "older", ClaimOnNode::None), NOW);
        assert_eq!(state.node("n").unwrap().claim, ClaimOnNode::LabelOnly);
    }

    #[test]
    fn another_node_of_the_same_name_starts_from_nothing() {
        let mut state = state_with_document();
        assert_eq!(
            own_events(&state.node("n").unwrap()),
            Some(1),
            "only the event that names the node's machine"
        );
        state.apply_node(view("20", "other", ClaimOnNode::None), NOW);
        assert!(state.node("n").unwrap().probe.is_none());
        assert!(!state.heartbeat("n", FIRST, NOW, None));
        assert!(!state.begin_session("n", "u", SessionId(2)), "the token of the old Node is refused");
    }

    #[test]
    fn the_answer_to_a_write_brings_no_node_back() {
        let mut state = state_with_document();
        state.delete_node("n", "u");
        state.apply_answer(view("21", "u", ClaimOnNode::None), NOW);
        assert!(state.node("n").is_none());
        state.apply_node(view("22", "other", ClaimOnNode::None), NOW);
        state.apply_answer(view("23", "u", ClaimOnNode::LabelOnly), NOW);
        assert_eq!(state.node("n").unwrap().uid, "other");
    }

    #[test]
    fn nothing_is_known_before_nodes_and_settings_are() {
        let mut state = state_with_document();
        state.retain_listed(&HashSet::new());
        assert!(state.node("n").is_none(), "what a list did not show is gone");
        assert!(!state.is_known());
        state.set_config(Config::default());
        assert!(state.is_known());
        state.forget_list();
        assert!(!state.is_known());
    }

    #[test]
    fn the_newest_session_counts() {
        let mut state = state_with_document();
        assert!(state.begin_session("n", "u", SessionId(2)));
        assert!(!state.observe("n", FIRST, NOW, (Vec::new(), true), None), "an older stream changes nothing");
        assert_eq!(own_events(&state.node("n").unwrap()), Some(1));
        assert!(state.heartbeat("n", SessionId(2), NOW, None));
    }
}
