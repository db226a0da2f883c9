//! One Node with what its probe says of it: kept up to date by views of the Node and by the probe's messages.

use std::sync::Arc;

use mechanic_plan::{
    ClaimOnNode, ClaimPhase, Document, Listed, Monotonic, Node, Pending, Probe, ProbeVm, Readiness,
    ScheduledEvent, VmEventCondition,
};

use super::{
    NodeVersion, NodeView, SessionId,
    polls::{OwnRow, Polls},
};

/// `EventId`s that are remembered of what a probe has listed: many times what a placement group has at once.
const LISTED: usize = 256;

/// A document as a probe sent it: which of its events are the node's own depends on the Node, too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) events: Vec<ScheduledEvent>,
    pub(crate) complete: bool,
    pub(crate) document_number: u64,
}

#[derive(Debug)]
pub(super) struct Record {
    pub(super) node: Arc<Node>,
    pub(super) version: NodeVersion,
    pub(super) session: Option<SessionId>,
    seen: Option<Seen>,
    own_row: Option<OwnRow>,
    /// A write against this version would use up a limit, and may still land.
    pending: Option<(NodeVersion, Pending)>,
}

impl Record {
    /// `listed` says whether the Nodes had been listed before.
    pub(super) fn new(view: NodeView, now: Monotonic, listed: bool) -> Self {
        let node = Node {
            uid: view.uid,
            resource_version: view.version.as_str().to_owned(),
            vm: view.vm,
            covered: view.covered,
            pool: view.pool,
            labels: view.labels,
            opted_out: view.opted_out,
            unschedulable: view.unschedulable,
            cordon_owner: view.cordon_owner,
            leaving: view.leaving,
            shut_down: view.shut_down,
            readiness: Readiness { ready: view.ready, since: now, was_before: !listed },
            vm_event_condition: view.vm_event.map(|event| VmEventCondition { event, since: now }),
            claim: view.claim,
            probe: None,
            drain: None,
            pending: None,
        };
        let version = view.version;
        Self { node: Arc::new(node), version, session: None, seen: None, own_row: None, pending: None }
    }

    /// Takes in a newer view of the same Node.
    pub(super) fn update(&mut self, view: NodeView, now: Monotonic) {
        // Another version than a write named: that write can't land any more.
        if self.pending.as_ref().is_some_and(|(against, _)| view.version > *against) {
            self.pending = None;
        }
        let draining =
            matches!(&view.claim, ClaimOnNode::Readable(claim) if claim.phase == ClaimPhase::Draining);
        let node = Arc::make_mut(&mut self.node);
        let moved = node.vm != view.vm;
        view.version.as_str().clone_into(&mut node.resource_version);
        node.vm = view.vm;
        node.covered = view.covered;
        node.pool = view.pool;
        // Most news of a Node is about something else; snapshots share what stays.
        if node.labels != view.labels {
            node.labels = view.labels;
        }
        node.opted_out = view.opted_out;
        node.unschedulable = view.unschedulable;
        node.cordon_owner = view.cordon_owner;
        node.leaving = view.leaving;
        node.shut_down = view.shut_down;
        if node.readiness.ready != view.ready {
            node.readiness = Readiness { ready: view.ready, since: now, was_before: false };
        }
        let known = node.vm_event_condition.filter(|known| Some(known.event) == view.vm_event);
        node.vm_event_condition = known.or(view.vm_event.map(|event| VmEventCondition { event, since: now }));
        node.claim = view.claim;
        node.pending = self.pending.as_ref().map(|(_, pending)| *pending);
        // What a past drain found must not answer for the next one.
        if !draining && node.drain.as_ref().is_some_and(|drain| drain.stage.has_ended()) {
            node.drain = None;
        }
        self.version = view.version;
        if moved {
            self.show(now);
        }
    }

    /// A write that uses up a limit is about to be sent.
    pub(super) fn write_begins(&mut self, pending: Pending) {
        self.pending = Some((self.version.clone(), pending));
        Arc::make_mut(&mut self.node).pending = Some(pending);
    }

    /// That write can't take effect any more.
    pub(super) fn write_failed(&mut self) {
        self.pending = None;
        Arc::make_mut(&mut self.node).pending = None;
    }

    /// A probe has introduced itself. What an earlier one said of the same boot of the same machine stays
    /// known; its polls prove nothing any more.
    pub(super) fn hello(&mut self, now: Monotonic, boot_id: String, vm: Option<ProbeVm>) {
        let node = Arc::make_mut(&mut self.node);
        let another_boot = |probe: &Probe| {
            !probe.boot_id.is_empty() && !boot_id.is_empty() && probe.boot_id != boot_id
                || matches!((&probe.vm, &vm), (Some(old), Some(new)) if old != new)
        };
        let known = node.probe.take();
        let listed = known.as_ref().map(|probe| Arc::clone(&probe.listed)).unwrap_or_default();
        let known = known.filter(|probe| !another_boot(probe));
        if known.is_none() {
            self.seen = None;
        }
        self.own_row = None;
        let (old_boot, old_vm, document, unchanged_since, proved_last) = match known {
            Some(probe) => {
                (probe.boot_id, probe.vm, probe.document, probe.unchanged_since, probe.proved_last)
            }
            None => (String::new(), None, None, now, now),
        };
        node.probe = Some(Probe {
            last_heard: now,
            boot_id: if boot_id.is_empty() { old_boot } else { boot_id },
            vm: vm.or(old_vm),
            document,
            unchanged_since,
            evidence: None,
            evidence_of_document: None,
            proved_last,
            listed,
        });
    }

    /// The probe shows a document.
    pub(super) fn observe(&mut self, now: Monotonic, seen: Seen, polls: Option<Polls>) {
        let document_number = seen.document_number;
        self.seen = Some(seen);
        let says_the_same = self.show(now);
        self.own_row = polls.map(|polls| match self.own_row.filter(|_| says_the_same) {
            Some(row) => row.go_on(&polls, document_number),
            None => OwnRow::begin(&polls, document_number),
        });
        self.heartbeat(now, polls);
    }

    /// The probe lives, and its polls prove so much.
    pub(super) fn heartbeat(&mut self, now: Monotonic, polls: Option<Polls>) {
        let own_row = self.own_row;
        if let Some(probe) = &mut Arc::make_mut(&mut self.node).probe {
            probe.last_heard = now;
            probe.evidence = polls.zip(own_row).map(|(polls, row)| row.evidence(&polls));
            probe.evidence_of_document = polls.map(|polls| polls.of_document());
            if probe.evidence_of_document.is_some_and(|evidence| evidence.consecutive_polls > 0) {
                probe.proved_last = now;
            }
        }
    }

    /// Picks the node's own events from the document; false if they are others than before.
    fn show(&mut self, now: Monotonic) -> bool {
        let node = Arc::make_mut(&mut self.node);
        let (Some(probe), Some(seen)) = (&mut node.probe, &self.seen) else { return false };
        let concerns = |event: &ScheduledEvent| node.vm.as_ref().is_some_and(|vm| event.concerns(vm));
        let (own_events, other_events): (Vec<_>, Vec<_>) = seen.events.iter().cloned().partition(concerns);
        let listed = Arc::make_mut(&mut probe.listed);
        for event in &seen.events {
            if !listed.iter().any(|listed| listed.event_id == event.event_id) {
                listed.push(Listed { event_id: event.event_id.clone(), since: now });
            }
        }
        listed.drain(..listed.len().saturating_sub(LISTED));
        let known = probe.document.as_ref();
        let says_the_same =
            known.is_some_and(|known| known.own_events == own_events && known.complete == seen.complete);
        if !says_the_same {
            probe.unchanged_since = now;
        }
        probe.document = Some(Arc::new(Document { own_events, other_events, complete: seen.complete }));
        says_the_same
    }
}
