//! The state itself.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use mechanic_plan::{Accepted, Config, DrainProgress, Monotonic, Node, Pending, ProbeVm, Refusal};

use super::{
    NodeView,
    polls::Polls,
    record::{Record, Seen},
};

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

/// What is known. Nothing in it can't be rebuilt from the Nodes and the probes.
#[derive(Default)]
pub(crate) struct FleetState {
    records: BTreeMap<String, Record>,
    settings: Option<Settings>,
    listed: bool,
}

/// The settings in force, and the text that they come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) accepted: Accepted,
    /// Keys that aren't in force as they stand there.
    pub(crate) refused: Vec<Refusal>,
    /// UID of the ConfigMap, where there is one.
    pub(crate) config_map: Option<String>,
}

impl FleetState {
    /// Takes in a Node as a list or the watch shows it, unless a newer one is known already.
    pub(crate) fn apply_node(&mut self, view: NodeView, now: Monotonic) {
        match self.records.get_mut(&view.name) {
            Some(record) if view.version < record.version => {}
            Some(record) if record.node.uid == view.uid => record.update(view, now),
            // Absent, or another Node of that name: nothing of the old one's is carried over.
            _ => drop(self.records.insert(view.name.clone(), Record::new(view, now, self.listed))),
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
        self.listed && self.settings.is_some()
    }

    /// The settings in force; the defaults until they were read.
    pub(crate) fn settings(&self) -> Settings {
        self.settings.clone().unwrap_or_default()
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.settings.as_ref().is_some_and(|settings| settings.config.dry_run)
    }

    pub(crate) fn set_settings(&mut self, settings: Settings) {
        self.settings = Some(settings);
    }

    /// The snapshot that is planned on.
    pub(crate) fn snapshot(
        &self,
        epoch: u64,
        leading_since: Monotonic,
        leader_pod_uid: &str,
    ) -> mechanic_plan::Fleet {
        mechanic_plan::Fleet {
            config: self.settings().config,
            epoch,
            leading_since,
            leader_pod_uid: leader_pod_uid.to_owned(),
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

    /// A write that uses up a limit is about to be sent: it counts from now on.
    pub(crate) fn write_begins(&mut self, name: &str, pending: Pending) {
        if let Some(record) = self.records.get_mut(name) {
            record.write_begins(pending);
        }
    }

    /// That write is known not to have taken effect, and can't any more.
    pub(crate) fn write_failed(&mut self, name: &str, uid: &str) {
        if let Some(record) = self.records.get_mut(name).filter(|record| record.node.uid == uid) {
            record.write_failed();
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
        seen: Seen,
        polls: Option<Polls>,
    ) -> bool {
        self.speaking(name, session).map(|record| record.observe(now, seen, polls)).is_some()
    }

    /// A probe lives, and its polls prove so much. False if the session doesn't count any more.
    pub(crate) fn heartbeat(
        &mut self,
        name: &str,
        session: SessionId,
        now: Monotonic,
        polls: Option<Polls>,
    ) -> bool {
        self.speaking(name, session).map(|record| record.heartbeat(now, polls)).is_some()
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

#[cfg(test)]
mod tests {
    use mechanic_plan::{Claim, ClaimOnNode, ClaimPhase, DrainStage, ScheduledEvent, VmReference};

    use super::{super::polls::Row, *};

    fn view(version: &str, uid: &str, claim: ClaimOnNode) -> NodeView {
        NodeView {
            name: "n".into(),
            uid: uid.into(),
            version: NodeVersion::parse(version),
            vm: VmReference::parse(
                "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm",
            ),
            covered: true,
            pool: String::new(),
            labels: Arc::default(),
            opted_out: false,
            unschedulable: false,
            cordon_owner: None,
            leaving: false,
            shut_down: false,
            ready: true,
            vm_event: None,
            claim,
        }
    }

    fn event(resource: &str) -> ScheduledEvent {
        ScheduledEvent {
            event_id: format!("E of {resource}"),
            event_type: "Reboot".into(),
            status: "Scheduled".into(),
            resources: vec![resource.into()],
            ..ScheduledEvent::default()
        }
    }

    fn seen(resources: &[&str]) -> Seen {
        let events = resources.iter().map(|resource| event(resource)).collect();
        Seen { events, complete: true, document_number: 1 }
    }

    const NOW: Monotonic = Monotonic(std::time::Duration::ZERO);
    const FIRST: SessionId = SessionId(1);

    fn state_with_document() -> FleetState {
        let mut state = FleetState::default();
        state.apply_node(view("9", "u", ClaimOnNode::None), NOW);
        assert!(state.begin_session("n", "u", FIRST));
        assert!(state.hello("n", FIRST, NOW, "boot".into(), None));
        assert!(state.observe("n", FIRST, NOW, seen(&["VM", "vm2"]), None));
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
        state.observe("n", FIRST, NOW, seen(&["vm"]), None);
        assert_eq!(own_events(&state), Some(0));
        state.apply_node(view("10", "u", ClaimOnNode::None), NOW);
        assert_eq!(own_events(&state), Some(1));
    }

    #[test]
    fn the_newest_session_counts() {
        let mut state = state_with_document();
        assert!(state.begin_session("n", "u", SessionId(2)));
        assert!(!state.observe("n", FIRST, NOW, seen(&[]), None), "an older stream changes nothing");
        assert_eq!(own_events(&state), Some(1));
        assert!(state.heartbeat("n", SessionId(2), NOW, None));
    }

    #[test]
    fn a_drain_that_is_being_written_holds_its_slot_until_that_write_can_no_longer_land() {
        let mut state = state_with_document();
        let pending = |state: &FleetState| state.node("n").unwrap().pending.is_some();
        state.write_begins("n", Pending::Drain);
        assert!(pending(&state));
        state.apply_node(view("9", "u", ClaimOnNode::None), NOW);
        assert!(pending(&state), "the version that the write named is still the newest");
        state.apply_node(view("10", "u", ClaimOnNode::None), NOW);
        assert!(!pending(&state));
        state.write_begins("n", Pending::Drain);
        state.write_failed("n", "u");
        assert!(!pending(&state));
    }

    #[test]
    fn a_past_drain_is_forgotten_once_the_claim_says_it_is_over() {
        let mut state = state_with_document();
        let ended = DrainProgress { stage: DrainStage::Stopped, ..DrainProgress::default() };
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
    fn polls_go_on_proving_an_event_gone_while_its_neighbours_come_and_go() {
        let polls = |of_document: u32, unbroken: u32| {
            let row = |polls: u32| Row { polls, span: std::time::Duration::from_secs(polls.into()) };
            let continuous_for = std::time::Duration::ZERO;
            Some(Polls {
                document: row(of_document),
                unbroken: row(unbroken),
                unbroken_row: 1,
                continuous_for,
                shown_late: std::time::Duration::ZERO,
            })
        };
        let mut state = state_with_document();
        let show = |state: &mut FleetState, number, resources: &[&str], polls| {
            let seen = Seen { document_number: number, ..seen(resources) };
            assert!(state.observe("n", FIRST, NOW, seen, polls));
            state.node("n").unwrap().probe.as_ref().unwrap().evidence.unwrap().consecutive_polls
        };
        assert_eq!(show(&mut state, 2, &["vm2"], polls(1, 11)), 1, "its own event is gone");
        assert_eq!(show(&mut state, 3, &["vm2", "vm3"], polls(1, 16)), 6);
        assert_eq!(show(&mut state, 4, &["vm", "vm3"], polls(1, 18)), 1, "an event of its own is back");
        let node = state.node("n").unwrap();
        let listed = node.probe.iter().flat_map(|probe| probe.listed.iter());
        let listed: Vec<&str> = listed.map(|listed| listed.event_id.as_str()).collect();
        assert_eq!(listed, ["E of VM", "E of vm2", "E of vm3", "E of vm"]);
    }

    #[test]
    fn a_node_that_was_there_before_this_process_may_have_been_down_for_long() {
        let mut state = FleetState::default();
        let down =
            |name: &str, ready| NodeView { name: name.into(), ready, ..view("1", "u", ClaimOnNode::None) };
        state.apply_node(down("old", false), NOW);
        state.retain_listed(&HashSet::from(["old".to_owned()]));
        state.apply_node(down("joins", false), NOW);
        let was_before = |state: &FleetState, name| state.node(name).unwrap().readiness.was_before;
        assert!(was_before(&state, "old") && !was_before(&state, "joins"));
        for ready in [true, false] {
            state.apply_node(down("old", ready), NOW);
            assert!(!was_before(&state, "old"), "the change was seen");
        }
    }

    #[test]
    fn nothing_is_known_before_nodes_and_settings_are() {
        let mut state = state_with_document();
        state.retain_listed(&HashSet::new());
        assert!(state.node("n").is_none(), "what a list did not show is gone");
        assert!(!state.is_known());
        state.set_settings(Settings::default());
        assert!(state.is_known());
        state.forget_list();
        assert!(!state.is_known());
    }
}
