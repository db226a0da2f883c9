//! The state itself.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use mechanic_plan::{
    ClaimOnNode, ClaimPhase, Config, Document, DrainProgress, Evidence, Monotonic, Node, Probe, ProbeVm,
    ScheduledEvent,
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
    /// The newest document whole: which of its events are the node's own depends on the Node, too.
    shown: Option<(Vec<ScheduledEvent>, bool)>,
    /// A write against this version would begin a drain, and may still land.
    pending_drain: Option<NodeVersion>,
}

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
            Some(record) if view.version < record.version => {}
            Some(record) if record.node.uid == view.uid => record.update(view, now),
            // Absent, or another Node of that name: nothing of the old one's is carried over.
            _ => drop(self.records.insert(view.name.clone(), Record::new(view, now))),
        }
    }

    /// Takes in a Node as the answer to a write shows it. The Node may be gone or another one by now: that is
    /// for the watch to say.
    pub(crate) fn apply_answer(&mut self, view: NodeView, now: Monotonic) {
        if let Some(record) = self.records.get_mut(&view.name)
            && record.node.uid == view.uid
            && view.version >= record.version
        {
            record.update(view, now);
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
                .map(|(name, record)| (name.clone(), Arc::clone(&record.node)))
                .collect(),
        }
    }

    /// One Node.
    pub(crate) fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.records.get(name).map(|record| Arc::clone(&record.node))
    }

    /// A write that begins a drain is about to be sent: it holds its slot from now on.
    pub(crate) fn drain_write_begins(&mut self, name: &str) {
        if let Some(record) = self.records.get_mut(name) {
            record.pending_drain = Some(record.version.clone());
            Arc::make_mut(&mut record.node).drain_pending = true;
        }
    }

    /// That write is known not to have taken effect, and can't any more.
    pub(crate) fn drain_write_failed(&mut self, name: &str, uid: &str) {
        if let Some(record) = self.records.get_mut(name).filter(|record| record.node.uid == uid) {
            record.pending_drain = None;
            Arc::make_mut(&mut record.node).drain_pending = false;
        }
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

    /// A probe has introduced itself. What an earlier one said of the same boot of the same machine stays
    /// known; its polls prove nothing any more. False if the session doesn't count any more.
    pub(crate) fn hello(
        &mut self,
        name: &str,
        session: SessionId,
        now: Monotonic,
        boot_id: String,
        vm: Option<ProbeVm>,
    ) -> bool {
        let Some(record) = self.speaking(name, session) else { return false };
        let node = Arc::make_mut(&mut record.node);
        let known = node.probe.take();
        let another_boot = |probe: &Probe| {
            !probe.boot_id.is_empty() && !boot_id.is_empty() && probe.boot_id != boot_id
                || matches!((&probe.vm, &vm), (Some(old), Some(new)) if old != new)
        };
        let known = known.filter(|probe| !another_boot(probe));
        if known.is_none() {
            record.shown = None;
        }
        let (old_boot, old_vm, document) = match known {
            Some(probe) => (probe.boot_id, probe.vm, probe.document),
            None => (String::new(), None, None),
        };
        let boot_id = if boot_id.is_empty() { old_boot } else { boot_id };
        node.probe = Some(Probe { last_heard: now, boot_id, vm: vm.or(old_vm), document, evidence: None });
        true
    }

    /// A probe shows a document. False if the session doesn't count any more.
    pub(crate) fn observe(
        &mut self,
        name: &str,
        session: SessionId,
        now: Monotonic,
        (events, complete): (Vec<ScheduledEvent>, bool),
        evidence: Option<Evidence>,
    ) -> bool {
        let Some(record) = self.speaking(name, session) else { return false };
        record.shown = Some((events, complete));
        record.show();
        if let Some(probe) = &mut Arc::make_mut(&mut record.node).probe {
            probe.last_heard = now;
            probe.evidence = evidence;
        }
        true
    }

    /// A probe lives, and its polls prove so much. False if the session doesn't count any more.
    pub(crate) fn heartbeat(
        &mut self,
        name: &str,
        session: SessionId,
        now: Monotonic,
        evidence: Option<Evidence>,
    ) -> bool {
        let Some(record) = self.speaking(name, session) else { return false };
        if let Some(probe) = &mut Arc::make_mut(&mut record.node).probe {
            probe.last_heard = now;
            probe.evidence = evidence;
        }
        true
    }

    fn speaking(&mut self, name: &str, session: SessionId) -> Option<&mut Record> {
        self.records.get_mut(name).filter(|record| record.session == Some(session))
    }

    /// A drain reports how it goes.
    pub(crate) fn drain_progress(&mut self, name: &str, uid: &str, progress: DrainProgress) {
        if let Some(record) = self.records.get_mut(name).filter(|record| record.node.uid == uid) {
            Arc::make_mut(&mut record.node).drain = Some(progress);
        }
    }
}

impl Record {
    fn new(view: NodeView, now: Monotonic) -> Self {
        let node = Node {
            uid: view.uid,
            resource_version: view.version.as_str().to_owned(),
            vm: view.vm,
            covered: view.covered,
            unschedulable: view.unschedulable,
            not_ready_since: (!view.ready).then_some(now),
            claim: view.claim,
            probe: None,
            drain: None,
            drain_pending: false,
        };
        Self { node: Arc::new(node), version: view.version, session: None, shown: None, pending_drain: None }
    }

    fn update(&mut self, view: NodeView, now: Monotonic) {
        // Another version than a write named: that write can't land any more.
        if self.pending_drain.as_ref().is_some_and(|pending| view.version > *pending) {
            self.pending_drain = None;
        }
        let draining =
            matches!(&view.claim, ClaimOnNode::Readable(claim) if claim.phase == ClaimPhase::Draining);
        let node = Arc::make_mut(&mut self.node);
        let moved = node.vm != view.vm;
        view.version.as_str().clone_into(&mut node.resource_version);
        node.vm = view.vm;
        node.covered = view.covered;
        node.unschedulable = view.unschedulable;
        node.not_ready_since = if view.ready { None } else { node.not_ready_since.or(Some(now)) };
        node.claim = view.claim;
        node.drain_pending = self.pending_drain.is_some();
        // What a past drain found must not answer for the next one.
        if !draining && node.drain.as_ref().is_some_and(|drain| drain.ended) {
            node.drain = None;
        }
        self.version = view.version;
        if moved {
            self.show();
        }
    }

    /// Picks the node's own events from the document.
    fn show(&mut self) {
        let node = Arc::make_mut(&mut self.node);
        if let (Some(probe), Some((events, complete))) = (&mut node.probe, &self.shown) {
            let concerns = |event: &&ScheduledEvent| node.vm.as_ref().is_some_and(|vm| event.concerns(vm));
            let own_events = events.iter().filter(concerns).cloned().collect();
            probe.document = Some(Arc::new(Document { own_events, complete: *complete }));
        }
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

    const NOW: Monotonic = Monotonic(std::time::Duration::ZERO);
    const FIRST: SessionId = SessionId(1);

    fn state_with_document() -> FleetState {
        let mut state = FleetState::default();
        state.apply_node(view("9", "u", ClaimOnNode::None), NOW);
        assert!(state.begin_session("n", "u", FIRST));
        assert!(state.hello("n", FIRST, NOW, "boot".into(), None));
        assert!(state.observe("n", FIRST, NOW, (vec![event("VM"), event("vm2")], true), None));
        state
    }

    fn own_events(state: &FleetState) -> Option<usize> {
        state.node("n").unwrap().probe.as_ref()?.document.as_ref().map(|document| document.own_events.len())
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
        assert_eq!(own_events(&state), Some(1), "only the event that names the node's machine");
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
    fn a_new_stream_of_the_same_boot_keeps_the_events_and_another_boot_doesnt() {
        let mut state = state_with_document();
        let vm = Some(ProbeVm { vm_id: "id".into(), reference: None });
        assert!(state.hello("n", FIRST, NOW, "boot".into(), vm.clone()));
        assert_eq!(own_events(&state), Some(1), "a machine that becomes known is no other machine");
        assert!(state.hello("n", FIRST, NOW, String::new(), None));
        assert_eq!(
            (own_events(&state), state.node("n").unwrap().probe.as_ref().unwrap().vm.clone()),
            (Some(1), vm)
        );
        assert!(state.hello("n", FIRST, NOW, "next boot".into(), None));
        assert_eq!(own_events(&state), None);
    }

    #[test]
    fn events_that_came_before_the_node_named_its_machine_are_not_lost() {
        let mut state = FleetState::default();
        let nameless = NodeView { vm: None, ..view("9", "u", ClaimOnNode::None) };
        state.apply_node(nameless, NOW);
        state.begin_session("n", "u", FIRST);
        state.hello("n", FIRST, NOW, "boot".into(), None);
        state.observe("n", FIRST, NOW, (vec![event("vm")], true), None);
        assert_eq!(own_events(&state), Some(0));
        state.apply_node(view("10", "u", ClaimOnNode::None), NOW);
        assert_eq!(own_events(&state), Some(1));
    }

    #[test]
    fn the_newest_session_counts() {
        let mut state = state_with_document();
        assert!(state.begin_session("n", "u", SessionId(2)));
        assert!(!state.observe("n", FIRST, NOW, (Vec::new(), true), None), "an older stream changes nothing");
        assert_eq!(own_events(&state), Some(1));
        assert!(state.heartbeat("n", SessionId(2), NOW, None));
    }

    #[test]
    fn a_drain_that_is_being_written_holds_its_slot_until_that_write_can_no_longer_land() {
        let mut state = state_with_document();
        let pending = |state: &FleetState| state.node("n").unwrap().drain_pending;
        state.drain_write_begins("n");
        assert!(pending(&state));
        state.apply_node(view("9", "u", ClaimOnNode::None), NOW);
        assert!(pending(&state), "the version that the write named is still the newest");
        state.apply_node(view("10", "u", ClaimOnNode::None), NOW);
        assert!(!pending(&state));
        state.drain_write_begins("n");
        state.drain_write_failed("n", "u");
        assert!(!pending(&state));
    }

    #[test]
    fn a_past_drain_is_forgotten_once_the_claim_says_it_is_over() {
        let mut state = state_with_document();
        let ended = DrainProgress { clean: true, ended: true, ..DrainProgress::default() };
        let mut claim = Claim::new("u", "vm", "boot", 1, false);
        claim.phase = ClaimPhase::Draining;
        state.apply_node(view("11", "u", ClaimOnNode::Readable(claim.clone())), NOW);
        state.drain_progress("n", "u", ended.clone());
        assert_eq!(state.node("n").unwrap().drain, Some(ended));
        claim.phase = ClaimPhase::Drained;
        state.apply_node(view("12", "u", ClaimOnNode::Readable(claim)), NOW);
        assert_eq!(state.node("n").unwrap().drain, None);
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
}
