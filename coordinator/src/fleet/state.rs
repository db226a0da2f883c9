//! The state itself.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use mechanic_plan::{
    ClaimOnNode, ClaimPhase, Config, Document, DrainProgress, Evidence, Monotonic, Node, Probe, ProbeVm,
    ScheduledEvent, Self_,
};

use super::NodeView;

/// A resourceVersion. The API server orders them as numbers since Kubernetes 1.35, and etcd always has; one
/// that is no number is older than all others, so that it never hides news.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeVersion {
    order: Option<u128>,
    text: String,
}

impl NodeVersion {
    pub(crate) fn parse(text: &str) -> Self {
        Self { order: text.parse().ok(), text: text.to_owned() }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Names one stream of one probe; the newest of a node is the one that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionId(pub(crate) u64);

struct Record {
    node: Arc<Node>,
    version: NodeVersion,
    session: Option<SessionId>,
}

/// What is known. Nothing in it can't be rebuilt from the Nodes and the probes.
#[derive(Default)]
pub(crate) struct FleetState {
    records: BTreeMap<String, Record>,
    /// The settings in force.
    pub(crate) config: Config,
    synced: bool,
}

impl FleetState {
    /// Takes in a Node as the API server shows it, unless a newer one is known already.
    pub(crate) fn apply_node(&mut self, view: NodeView) {
        let drained =
            !matches!(&view.claim, ClaimOnNode::Readable(claim) if claim.phase == ClaimPhase::Draining);
        match self.records.get_mut(&view.name) {
            Some(record) if record.node.uid == view.uid => {
                if view.version < record.version {
                    return;
                }
                record.version = view.version;
                let node = Arc::make_mut(&mut record.node);
                node.vm = view.vm;
                node.covered = view.covered;
                node.unschedulable = view.unschedulable;
                node.ready = view.ready;
                node.claim = view.claim;
                // What a past drain found must not answer for the next one.
                if drained && node.drain.as_ref().is_some_and(|drain| drain.ended) {
                    node.drain = None;
                }
            }
            // Absent, or another Node of that name: nothing of the old one's is carried over.
            _ => {
                let node = Node {
                    uid: view.uid,
                    vm: view.vm,
                    covered: view.covered,
                    unschedulable: view.unschedulable,
                    ready: view.ready,
                    claim: view.claim,
                    probe: None,
                    drain: None,
                };
                self.records
                    .insert(view.name, Record { node: Arc::new(node), version: view.version, session: None });
            }
        }
    }

    /// Forgets a Node that is gone.
    pub(crate) fn delete_node(&mut self, name: &str, uid: &str) {
        if self.records.get(name).is_some_and(|record| record.node.uid == uid) {
            self.records.remove(name);
        }
    }

    /// A whole list has been taken in: what it didn't show is gone, whether or not its deletion was seen.
    pub(crate) fn retain_listed(&mut self, seen: &HashSet<String>) {
        self.records.retain(|name, _| seen.contains(name));
        self.synced = true;
    }

    pub(crate) fn forget_sync(&mut self) {
        self.synced = false;
    }

    /// Whether the Nodes have been listed whole since that was last asked for.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    /// The snapshot that is planned on.
    pub(crate) fn snapshot(
        &self,
        epoch: u64,
        leading_since: Monotonic,
        leader: Self_,
    ) -> mechanic_plan::Fleet {
        mechanic_plan::Fleet {
            config: self.config.clone(),
            epoch,
            leading_since,
            leader,
            nodes: self
                .records
                .iter()
                .map(|(name, record)| (name.clone(), Arc::clone(&record.node)))
                .collect(),
        }
    }

    /// One Node, with the version that a write on it must name.
    pub(crate) fn node(&self, name: &str) -> Option<(Arc<Node>, NodeVersion)> {
        self.records.get(name).map(|record| (Arc::clone(&record.node), record.version.clone()))
    }

    /// Lets `session` speak for the node from now on, in place of any older one. False if there is no Node
    /// of that name and UID.
    pub(crate) fn begin_session(&mut self, name: &str, uid: &str, session: SessionId) -> bool {
        match self.records.get_mut(name) {
            Some(record) if record.node.uid == uid => {
                record.session = Some(session);
                true
            }
            _ => false,
        }
    }

    /// Whether `session` still speaks for the node.
    pub(crate) fn is_current(&self, name: &str, session: SessionId) -> bool {
        self.records.get(name).is_some_and(|record| record.session == Some(session))
    }

    /// A probe has introduced itself. What an earlier one said of the same boot of the same machine stays
    /// known; its polls prove nothing any more.
    pub(crate) fn hello(&mut self, name: &str, now: Monotonic, boot_id: String, vm: Option<ProbeVm>) {
        let Some(node) = self.node_mut(name) else { return };
        let document = node
            .probe
            .take()
            .filter(|probe| probe.boot_id == boot_id && (probe.vm == vm || vm.is_none()))
            .and_then(|probe| probe.document);
        node.probe = Some(Probe { last_heard: now, boot_id, vm, document, evidence: None });
    }

    /// A probe shows a document.
    pub(crate) fn observe(
        &mut self,
        name: &str,
        now: Monotonic,
        events: Vec<ScheduledEvent>,
        complete: bool,
        evidence: Option<Evidence>,
    ) {
        let Some(node) = self.node_mut(name) else { return };
        let Some(vm) = node.vm.clone() else { return };
        let Some(probe) = &mut node.probe else { return };
        let own_events = events.into_iter().filter(|event| event.concerns(&vm)).collect();
        probe.last_heard = now;
        probe.document = Some(Arc::new(Document { own_events, complete }));
        probe.evidence = evidence;
    }

    /// A probe lives, and its polls prove so much.
    pub(crate) fn heartbeat(&mut self, name: &str, now: Monotonic, evidence: Option<Evidence>) {
        let Some(probe) = self.node_mut(name).and_then(|node| node.probe.as_mut()) else { return };
        probe.last_heard = now;
        probe.evidence = evidence;
    }

    /// A drain reports how it goes.
    pub(crate) fn drain_progress(&mut self, name: &str, uid: &str, progress: DrainProgress) {
        if let Some(node) = self.node_mut(name).filter(|node| node.uid == uid) {
            node.drain = Some(progress);
        }
    }

    fn node_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.records.get_mut(name).map(|record| Arc::make_mut(&mut record.node))
    }
}

#[cfg(test)]
mod tests {
    use mechanic_plan::{Claim, VmReference};

    use super::*;

    fn view(version: &str, uid: &str, claim: ClaimOnNode) -> NodeView {
        NodeView {
            name: "n".into(),
            uid: uid.into(),
            version: NodeVersion::parse(version),
            vm: VmReference::parse(
                "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm",
            ),
            covered: true,
            unschedulable: false,
            ready: true,
            claim,
        }
    }

    fn event(resource: &str) -> ScheduledEvent {
        ScheduledEvent {
            event_id: "E".into(),
            event_type: "Reboot".into(),
            status: "Scheduled".into(),
            not_before: String::new(),
            description: String::new(),
            resources: vec![resource.into()],
        }
    }

    fn state_with_document() -> FleetState {
        let mut state = FleetState::default();
        state.apply_node(view("9", "u", ClaimOnNode::None));
        assert!(state.begin_session("n", "u", SessionId(1)));
        state.hello("n", Monotonic::default(), "boot".into(), None);
        state.observe("n", Monotonic::default(), vec![event("VM"), event("vm2")], true, None);
        state
    }

    fn own_events(state: &FleetState) -> Option<usize> {
        state.node("n").unwrap().0.probe.as_ref()?.document.as_ref().map(|document| document.own_events.len())
    }

    #[test]
    fn an_older_version_of_a_node_never_replaces_a_newer_one() {
        let mut state = FleetState::default();
        state.apply_node(view("10", "u", ClaimOnNode::LabelOnly));
        state.apply_node(view("9", "u", ClaimOnNode::None));
        assert_eq!(state.node("n").unwrap().0.claim, ClaimOnNode::LabelOnly);
    }

    #[test]
    fn another_node_of_the_same_name_starts_from_nothing() {
        let mut state = state_with_document();
        assert_eq!(own_events(&state), Some(1), "only the event that names the node's machine");
        state.apply_node(view("1", "other", ClaimOnNode::None));
        assert!(state.node("n").unwrap().0.probe.is_none());
        assert!(!state.is_current("n", SessionId(1)));
        assert!(!state.begin_session("n", "u", SessionId(2)), "the token of the old Node is refused");
    }

    #[test]
    fn a_new_stream_of_the_same_boot_keeps_the_events_and_another_boot_doesnt() {
        let mut state = state_with_document();
        state.hello("n", Monotonic::default(), "boot".into(), None);
        assert_eq!(own_events(&state), Some(1));
        state.hello("n", Monotonic::default(), "next boot".into(), None);
        assert_eq!(own_events(&state), None);
    }

    #[test]
    fn the_newest_session_counts() {
        let mut state = state_with_document();
        assert!(state.begin_session("n", "u", SessionId(2)));
        assert!(!state.is_current("n", SessionId(1)));
        assert!(state.is_current("n", SessionId(2)));
    }

    #[test]
    fn a_past_drain_is_forgotten_once_the_claim_says_it_is_over() {
        let mut state = state_with_document();
        let ended = DrainProgress { clean: true, ended: true, ..DrainProgress::default() };
        let mut claim = Claim::new("u", "vm", "boot", 1, false);
        claim.phase = ClaimPhase::Draining;
        state.apply_node(view("11", "u", ClaimOnNode::Readable(claim.clone())));
        state.drain_progress("n", "u", ended.clone());
        assert_eq!(state.node("n").unwrap().0.drain, Some(ended));
        claim.phase = ClaimPhase::Drained;
        state.apply_node(view("12", "u", ClaimOnNode::Readable(claim)));
        assert_eq!(state.node("n").unwrap().0.drain, None);
    }

    #[test]
    fn what_a_list_did_not_show_is_gone() {
        let mut state = state_with_document();
        assert!(!state.is_synced());
        state.retain_listed(&HashSet::new());
        assert!(state.is_synced() && state.node("n").is_none());
    }
}
