//! The history while it grows: several observers write it, the referee and the teller of a story read it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::history::{BudgetSeen, Fact, History, NodeSeen, PodSeen, Record, Request, SettingsSeen};

/// Shared by all observers.
pub(super) struct Memory {
    state: Mutex<State>,
    grown: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    history: History,
    nodes: BTreeMap<String, NodeSeen>,
    pods: BTreeMap<String, PodSeen>,
    budgets: BTreeMap<(String, String), BudgetSeen>,
    settings: BTreeMap<String, SettingsSeen>,
    /// Markers that the audit log is to show, and those that it has shown.
    markers: BTreeSet<String>,
    passed: BTreeSet<String>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), grown: watch::Sender::new(0) }
    }

    pub(super) fn history(&self) -> History {
        self.state().history.clone()
    }

    pub(super) fn look<R>(&self, look: impl FnOnce(&History) -> R) -> R {
        look(&self.state().history)
    }

    pub(super) fn grown(&self) -> watch::Receiver<usize> {
        self.grown.subscribe()
    }

    pub(super) fn add(&self, at: Timestamp, fact: Fact) {
        let mut state = self.state();
        state.history.records.push(Record { at, fact });
        self.grown.send_replace(state.history.records.len());
    }

    pub(super) fn request(&self, request: Request) {
        self.add(request.answered, Fact::Request(Box::new(request)));
    }

    pub(super) fn blind(&self, why: String) {
        self.state().history.blind_spots.push(why);
    }

    /// Remembers a Node unless it looks as before: a heartbeat is no news.
    pub(super) fn node(&self, seen: NodeSeen) {
        let known = self.state().nodes.insert(seen.name.clone(), seen.clone());
        let same = |known: NodeSeen| NodeSeen { version: seen.version, ..known } == seen;
        if !known.is_some_and(same) {
            self.add(Timestamp::now(), Fact::Node(seen));
        }
    }

    pub(super) fn pod(&self, seen: PodSeen) {
        let known = self.state().pods.insert(seen.uid.clone(), seen.clone());
        if known.as_ref() != Some(&seen) {
            self.add(Timestamp::now(), Fact::Pod(seen));
        }
    }

    pub(super) fn budget(&self, seen: BudgetSeen) {
        let key = (seen.namespace.clone(), seen.name.clone());
        let known = self.state().budgets.insert(key, seen.clone());
        if known.as_ref() != Some(&seen) {
            self.add(Timestamp::now(), Fact::Budget(seen));
        }
    }

    pub(super) fn settings(&self, seen: SettingsSeen) {
        let known = self.state().settings.insert(seen.namespace.clone(), seen.clone());
        if known.as_ref() != Some(&seen) {
            self.add(Timestamp::now(), Fact::Settings(seen));
        }
    }

    /// Nodes not among these are gone.
    pub(super) fn only_nodes(&self, names: &BTreeSet<String>) {
        let gone: Vec<String> =
            self.state().nodes.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            self.node_gone(&name);
        }
    }

    /// Pods not among these are gone.
    pub(super) fn only_pods(&self, uids: &BTreeSet<String>) {
        let gone: Vec<String> =
            self.state().pods.keys().filter(|uid| !uids.contains(*uid)).cloned().collect();
        for uid in gone {
            self.pod_gone(&uid);
        }
    }

    pub(super) fn node_gone(&self, name: &str) {
        if self.state().nodes.remove(name).is_some() {
            self.add(Timestamp::now(), Fact::NodeGone(name.to_owned()));
        }
    }

    pub(super) fn pod_gone(&self, uid: &str) {
        if self.state().pods.remove(uid).is_some() {
            self.add(Timestamp::now(), Fact::PodGone(uid.to_owned()));
        }
    }

    pub(super) fn expect_marker(&self, marker: &str) {
        self.state().markers.insert(marker.to_owned());
    }

    pub(super) fn has_passed(&self, marker: &str) -> bool {
        self.state().passed.contains(marker)
    }

    /// The audit log has shown a request with this URI.
    pub(super) fn passed(&self, uri: &str) {
        let mut state = self.state();
        if let Some(marker) = state.markers.iter().find(|marker| uri.contains(marker.as_str())).cloned() {
            state.passed.insert(marker);
        }
    }

    // An observer that panicked is a bug of its own; what was seen before counts all the same.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
