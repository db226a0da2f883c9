//! One Node as the API server shows it, with what its probe says and what mechanic is doing to it.

use std::sync::Arc;

use mechanic_plan::{
    ClaimOnNode, ClaimPhase, Document, DrainProgress, Evidence, Monotonic, Node, Probe, ProbeVm,
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

/// What is known of one Node.
pub(super) struct Record {
    node: Arc<Node>,
    version: NodeVersion,
    session: Option<SessionId>,
    /// The newest document whole: which of its events are the node's own depends on the Node, too.
    shown: Option<(Vec<ScheduledEvent>, bool)>,
    /// A write against this version would begin a drain, and may still land.
    pending_drain: Option<NodeVersion>,
}

impl Record {
    pub(super) fn new(view: NodeView, now: Monotonic) -> Self {
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

    /// Takes in another version of the same Node.
    pub(super) fn update(&mut self, view: NodeView, now: Monotonic) {
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

    /// The Node as it is planned on.
    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The newest version that was taken in.
    pub(super) fn version(&self) -> &NodeVersion {
        &self.version
    }

    /// Whether this is the Node of that UID.
    pub(super) fn is(&self, uid: &str) -> bool {
        self.node.uid == uid
    }

    /// A write against the newest version, which begins a drain, is about to be sent.
    pub(super) fn drain_write_begins(&mut self) {
        self.pending_drain = Some(self.version.clone());
        Arc::make_mut(&mut self.node).drain_pending = true;
    }

    /// That write can't land any more.
    pub(super) fn drain_write_failed(&mut self) {
        self.pending_drain = None;
        Arc::make_mut(&mut self.node).drain_pending = false;
    }

    /// A drain reports how it goes.
    pub(super) fn drain_progress(&mut self, progress: DrainProgress) {
        Arc::make_mut(&mut self.node).drain = Some(progress);
    }

    /// Lets `session` speak for the node from now on, in place of any older one.
    pub(super) fn begin_session(&mut self, session: SessionId) {
        self.session = Some(session);
    }

    /// Whether `session` is the one that counts.
    pub(super) fn hears(&self, session: SessionId) -> bool {
        self.session == Some(session)
    }

    /// A probe has introduced itself. What an earlier one said of the same boot of the same machine stays
    /// known; its polls prove nothing any more.
    pub(super) fn hello(&mut self, now: Monotonic, boot_id: String, vm: Option<ProbeVm>) {
        let node = Arc::make_mut(&mut self.node);
        let known = node.probe.take();
        let another_boot = |probe: &Probe| {
            !probe.boot_id.is_empty() && !boot_id.is_empty() && probe.boot_id != boot_id
                || matches!((&probe.vm, &vm), (Some(old), Some(new)) if old != new)
        };
        let known = known.filter(|probe| !another_boot(probe));
        if known.is_none() {
            self.shown = None;
        }
        let (old_boot, old_vm, document) = match known {
            Some(probe) => (probe.boot_id, probe.vm, probe.document),
            None => (String::new(), None, None),
        };
        let boot_id = if boot_id.is_empty() { old_boot } else { boot_id };
        node.probe = Some(Probe { last_heard: now, boot_id, vm: vm.or(old_vm), document, evidence: None });
    }

    /// A probe shows a document.
    pub(super) fn observe(
        &mut self,
        now: Monotonic,
        document: (Vec<ScheduledEvent>, bool),
        evidence: Option<Evidence>,
    ) {
        self.shown = Some(document);
        self.show();
        self.heartbeat(now, evidence);
    }

    /// A probe lives, and its polls prove so much.
    pub(super) fn heartbeat(&mut self, now: Monotonic, evidence: Option<Evidence>) {
        if let Some(probe) = &mut Arc::make_mut(&mut self.node).probe {
            probe.last_heard = now;
            probe.evidence = evidence;
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
pub(super) mod tests {
    use mechanic_plan::{Claim, VmReference};

    use super::*;

    pub(in crate::fleet) fn view(version: &str, uid: &str, claim: ClaimOnNode) -> NodeView {
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

    pub(in crate::fleet) fn event(resource: &str) -> ScheduledEvent {
        ScheduledEvent {
            event_id: "E".into(),
            event_type: "Reboot".into(),
            status: "Scheduled".into(),
            not_before: String::new(),
            description: String::new(),
            resources: vec![resource.into()],
        }
    }

    pub(in crate::fleet) const NOW: Monotonic = Monotonic(std::time::Duration::ZERO);
    pub(in crate::fleet) const FIRST: SessionId = SessionId(1);

    fn record_with_document() -> Record {
        let mut record = Record::new(view("9", "u", ClaimOnNode::None), NOW);
        record.hello(NOW, "boot".into(), None);
        record.observe(NOW, (vec![event("VM"), event("vm2")], true), None);
        record
    }

    pub(in crate::fleet) fn own_events(node: &Node) -> Option<usize> {
        node.probe.as_ref()?.document.as_ref().map(|document| document.own_events.len())
    }

    #[test]
    fn a_new_stream_of_the_same_boot_keeps_the_events_and_another_boot_doesnt() {
        let mut record = record_with_document();
        let vm = Some(ProbeVm { vm_id: "id".into(), reference: None });
        record.hello(NOW, "boot".into(), vm.clone());
        assert_eq!(own_events(record.node()), Some(1), "a machine that becomes known is no other machine");
        record.hello(NOW, String::new(), None);
        assert_eq!(
            (own_events(record.node()), record.node().probe.as_ref().unwrap().vm.clone()),
            (Some(1), vm)
        );
        record.hello(NOW, "next boot".into(), None);
        assert_eq!(own_events(record.node()), None);
    }

    #[test]
    fn events_that_came_before_the_node_named_its_machine_are_not_lost() {
        let nameless = NodeView { vm: None, ..view("9", "u", ClaimOnNode::None) };
        let mut record = Record::new(nameless, NOW);
        record.hello(NOW, "boot".into(), None);
        record.observe(NOW, (vec![event("vm")], true), None);
        assert_eq!(own_events(record.node()), Some(0));
        record.update(view("10", "u", ClaimOnNode::None), NOW);
        assert_eq!(own_events(record.node()), Some(1));
    }

    #[test]
    fn a_drain_that_is_being_written_holds_its_slot_until_that_write_can_no_longer_land() {
        let mut record = record_with_document();
        record.drain_write_begins();
        assert!(record.node().drain_pending);
        record.update(view("9", "u", ClaimOnNode::None), NOW);
        assert!(record.node().drain_pending, "the version that the write named is still the newest");
        record.update(view("10", "u", ClaimOnNode::None), NOW);
        assert!(!record.node().drain_pending);
        record.drain_write_begins();
        record.drain_write_failed();
        assert!(!record.node().drain_pending);
    }

    #[test]
    fn a_past_drain_is_forgotten_once_the_claim_says_it_is_over() {
        let mut record = record_with_document();
        let ended = DrainProgress { clean: true, ended: true, ..DrainProgress::default() };
        let mut claim = Claim::new("u", "vm", "boot", 1, false);
        claim.phase = ClaimPhase::Draining;
        record.update(view("11", "u", ClaimOnNode::Readable(claim.clone())), NOW);
        record.drain_progress(ended.clone());
        assert_eq!(record.node().drain, Some(ended));
        claim.phase = ClaimPhase::Drained;
        record.update(view("12", "u", ClaimOnNode::Readable(claim)), NOW);
        assert_eq!(record.node().drain, None);
    }
}
