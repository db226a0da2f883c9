//! Probes: what each machine's own one sees, and what of it reaches the coordinator.

use std::{sync::Arc, time::Duration};

use mechanic_plan::{
    Document, Evidence, Listed, Monotonic, Probe, ProbeVm, ScheduledEvent, VmEventCondition,
};

use super::{
    World,
    machines::{ConditionSays, reference},
    monotonic,
};

const HEARTBEAT: u64 = 10;
/// As many `EventId`s as the coordinator remembers of one probe.
const LISTED: usize = 256;

/// A machine's probe as it really is.
#[derive(Clone, Debug)]
// Each says something of its own, and all combinations occur.
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct ProbeOnMachine {
    /// It runs from then on; `None` while it doesn't.
    pub(crate) runs_since: Option<u64>,
    /// Its messages don't arrive.
    pub(crate) mute: bool,
    /// Its polls fail.
    pub(crate) failing: bool,
    /// The documents have an entry that nobody can read.
    pub(crate) garbled: bool,
    /// From when to when the documents were last empty, whatever was announced.
    pub(crate) last_empty: (u64, u64),
    /// Since when its polls are valid and every entry was readable; `None` while they aren't.
    pub(crate) valid_since: Option<u64>,
    /// The last row of such polls that has come to an end.
    pub(crate) last_row: (u64, u64),
    /// Since when the metadata service has not begun anew.
    pub(crate) continuous_since: u64,
    /// Since when valid polls show the present document.
    document_since: u64,
    /// Since when, in valid polls, the document says of the machine what it says, as far as this leader knows.
    own_since: u64,
    /// When its connection to this leader stands.
    pub(crate) connects_at: u64,
    connected: bool,
}

impl ProbeOnMachine {
    /// One that has been running for long.
    pub(super) fn new(time: u64) -> Self {
        let since = time.saturating_sub(7_200);
        Self {
            runs_since: Some(since),
            mute: false,
            failing: false,
            garbled: false,
            last_empty: (0, 0),
            valid_since: Some(since),
            last_row: (0, 0),
            continuous_since: since,
            document_since: since,
            own_since: since,
            connects_at: 0,
            connected: false,
        }
    }

    pub(super) fn stop(&mut self, time: u64) {
        self.runs_since = None;
        self.turn(time);
        self.connected = false;
    }

    pub(super) fn start(&mut self, at: u64, time: u64) {
        self.stop(time);
        self.runs_since = Some(at);
        self.continuous_since = at;
        self.connects_at = at.max(time);
        self.connected = false;
        (self.document_since, self.own_since) = (at, at);
        self.turn(at);
    }

    /// Polls have become valid or invalid.
    pub(super) fn turn(&mut self, time: u64) {
        let valid = self.runs_since.is_some() && !self.failing && !self.garbled;
        if let Some(since) = self.valid_since.filter(|_| !valid) {
            self.last_row = (since, time);
        }
        self.valid_since = valid.then(|| self.valid_since.unwrap_or(time));
        self.document_since = self.document_since.max(time);
        self.own_since = self.own_since.max(time);
    }

    /// The documents become empty, or show again what is announced.
    pub(super) fn set_empty(&mut self, empty: bool, time: u64) {
        self.last_empty = if empty { (time, u64::MAX) } else { (self.last_empty.0, time) };
        self.document_since = self.document_since.max(time);
    }

    fn is_speaking(&self, time: u64) -> bool {
        self.runs_since.is_some_and(|since| since <= time) && !self.mute && self.connects_at <= time
    }
}

impl World {
    /// A new leader hears every probe anew.
    pub(super) fn disconnect_probes(&mut self) {
        for machine in &mut self.machines {
            machine.probe.connects_at = self.time + self.random.below(12);
            machine.probe.connected = false;
        }
    }

    /// One second of all probes.
    pub(super) fn probes_speak(&mut self, all: bool) {
        let changed = std::mem::take(&mut self.changed_groups);
        for number in 0..self.machines.len() {
            let machine = &self.machines[number];
            let news = changed.contains(&machine.group);
            if news {
                self.set_condition(number);
                // One that starts a little later has seen nothing of it.
                let probe = &mut self.machines[number].probe;
                probe.document_since = probe.document_since.max(self.time);
            }
            let probe = &self.machines[number].probe;
            let speaks = self.machines[number].exists && probe.is_speaking(self.time);
            let beat = all || (self.time + number as u64).is_multiple_of(HEARTBEAT);
            // A document that couldn't be sent is sent as soon as there is a connection again.
            if speaks && (news || beat || !probe.connected) {
                self.probe_reports(number);
            }
        }
    }

    fn probe_reports(&mut self, number: usize) {
        let time = self.time;
        let now = monotonic(time);
        let document = self.document_of(number);
        let machine = &mut self.machines[number];
        let hello = !std::mem::replace(&mut machine.probe.connected, true);
        let boot_id = format!("boot-{number}-{}", machine.boot);
        let vm = ProbeVm { vm_id: machine.vm_id.clone(), reference: reference(&machine.vm) };
        let reported = machine.probe.clone();
        let mut own_since = reported.own_since;
        let Some(node) = self.fleet.nodes.get_mut(&machine.node) else { return };
        let node = Arc::make_mut(node);
        let known = node.probe.take();
        let listed = known.as_ref().map(|probe| Arc::clone(&probe.listed)).unwrap_or_default();
        let same_boot = known.filter(|probe| probe.boot_id == boot_id && probe.vm.as_ref() == Some(&vm));
        let mut probe = same_boot.unwrap_or(Probe {
            last_heard: now,
            boot_id,
            vm: Some(vm),
            document: None,
            unchanged_since: now,
            evidence: None,
            evidence_of_document: None,
            proved_last: now,
            listed,
        });
        probe.last_heard = now;
        if hello {
            // What other machines' events did before is nothing that this leader has seen.
            own_since = reported.document_since;
        }
        if let Some(document) = document.filter(|_| !reported.failing) {
            note_listed(&mut probe, &document, now);
            let same = probe.document.as_ref().is_some_and(|known| {
                known.own_events == document.own_events && known.complete == document.complete
            });
            if !same {
                (probe.unchanged_since, own_since) = (now, reported.document_since);
            }
            if probe.document.as_deref() != Some(&document) {
                probe.document = Some(Arc::new(document));
            }
            let polls = time - own_since;
            let continuous_for = Duration::from_secs(time.saturating_sub(reported.continuous_since));
            let evidence = |polls: u64| {
                let consecutive_polls = u32::try_from(polls + 1).unwrap_or(u32::MAX);
                Some(Evidence { consecutive_polls, span: Duration::from_secs(polls), continuous_for })
            };
            probe.evidence = evidence(polls);
            probe.evidence_of_document = evidence(time - reported.document_since);
            probe.proved_last = now;
        } else {
            probe.evidence = None;
            probe.evidence_of_document = None;
        }
        node.probe = Some(probe);
        machine.probe.own_since = own_since;
    }

    /// What a valid poll shows on the machine now.
    fn document_of(&self, number: usize) -> Option<Document> {
        let machine = &self.machines[number];
        let listed =
            self.azure.listed.get(&machine.group).filter(|_| machine.probe.last_empty.1 <= self.time);
        let listed = listed.map_or(&[][..], Vec::as_slice);
        let events = listed.iter().map(|id| &self.azure.events[id]);
        let (own, other): (Vec<_>, Vec<_>) = events.partition(|event| event.machines.contains(&number));
        let plain = |events: Vec<&super::Announcement>| -> Vec<ScheduledEvent> {
            events.into_iter().map(|event| event.event.clone()).collect()
        };
        machine.up.then(|| Document {
            own_events: plain(own),
            other_events: plain(other),
            complete: !machine.probe.garbled,
        })
    }

    pub(super) fn set_condition(&mut self, number: usize) {
        if !self.machines[number].exists {
            return;
        }
        let event = self.events_of(number).next().is_some();
        let since = monotonic(self.time);
        let says = match self.machines[number].condition {
            ConditionSays::Nothing => None,
            ConditionSays::TheTruth => Some(event),
            ConditionSays::TheOpposite => Some(!event),
        };
        let known = self.node(number).vm_event_condition;
        if known.map(|known| known.event) != says {
            let condition = says.map(|event| VmEventCondition { event, since });
            self.change_node(number, |node| node.vm_event_condition = condition);
        }
    }
}

fn note_listed(probe: &mut Probe, document: &Document, now: Monotonic) {
    for event in document.own_events.iter().chain(&document.other_events) {
        if !probe.listed.iter().any(|listed| listed.event_id == event.event_id) {
            let listed = Arc::make_mut(&mut probe.listed);
            listed.push(Listed { event_id: event.event_id.clone(), since: now });
            listed.drain(..listed.len().saturating_sub(LISTED));
        }
    }
}

/// How long ago the probe was heard, as the coordinator knows it.
pub(crate) fn silent_for(probe: &Probe, now: Monotonic) -> u64 {
    now.since(probe.last_heard).as_secs()
}

impl ProbeOnMachine {
    /// Its connection stands again.
    pub(super) fn reconnect(&mut self, time: u64) {
        self.connects_at = time;
        self.connected = false;
    }
}

impl World {
    pub(super) fn report_soon(&mut self, number: usize) {
        let time = self.time;
        if self.machines[number].exists && self.machines[number].probe.is_speaking(time) {
            self.probe_reports(number);
        }
    }
}
