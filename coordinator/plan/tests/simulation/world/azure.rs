//! Azure's side: events, as a placement group's documents list them.

use std::{collections::BTreeMap, time::Duration};

use jiff::fmt::rfc2822;
use mechanic_plan::ScheduledEvent;

use super::{Change, World, wall};

/// What an event does to its machines once it has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Impact {
    /// Nothing that ends a process.
    None,
    /// They are down for so many seconds, and boot.
    Reboot(u64),
    /// The same, and other machines come back behind the same Nodes.
    Replace(u64),
    /// They are gone; so are their Nodes after so many seconds.
    Destroy(u64),
}

/// An event from its announcement to its end. Times are seconds of the simulation.
#[derive(Clone, Debug)]
pub(crate) struct Announcement {
    pub(crate) event: ScheduledEvent,
    pub(crate) machines: Vec<usize>,
    pub(crate) announced: u64,
    /// When it may begin at the earliest, whatever its text says.
    pub(crate) not_before: u64,
    /// When it begins; `None` for one that never does.
    pub(crate) begins: Option<u64>,
    /// When it vanishes.
    pub(crate) ends: u64,
    pub(crate) impact: Impact,
}

#[derive(Debug, Default)]
pub(crate) struct Azure {
    pub(crate) events: BTreeMap<String, Announcement>,
    /// By placement group: the events that its documents list now.
    pub(crate) listed: BTreeMap<usize, Vec<String>>,
    /// When each vanished from the documents.
    pub(crate) vanished: BTreeMap<String, u64>,
    /// When each was first listed as `Started`.
    pub(crate) started: BTreeMap<String, u64>,
}

impl Announcement {
    /// An event of that type with `notice` seconds, on `machines`, that comes and goes as usual.
    pub(crate) fn new(event_type: &str, machines: &[usize], announced: u64, notice: u64) -> Self {
        let not_before = announced + notice;
        let (lasts, impact) = match event_type {
            "Reboot" => (300, Impact::Reboot(60)),
            "Redeploy" => (600, Impact::Reboot(240)),
            "Terminate" | "Preempt" => (60, Impact::Destroy(45)),
            _ => (300, Impact::None),
        };
        let event = ScheduledEvent {
            event_type: event_type.into(),
            status: "Scheduled".into(),
            not_before: rfc_1123(not_before),
            resource_type: "VirtualMachine".into(),
            source: "Platform".into(),
            ..ScheduledEvent::default()
        };
        let begins = Some(not_before);
        let machines = machines.to_vec();
        Self { event, machines, announced, not_before, begins, ends: not_before + lasts, impact }
    }

    /// It vanishes at `at`, and nothing happens.
    pub(crate) fn cancelled(mut self, at: u64) -> Self {
        self.begins = None;
        self.ends = at;
        self
    }

    /// It is listed as begun from the first.
    pub(crate) fn started_at_first_sight(mut self) -> Self {
        self.event.status = "Started".into();
        self.event.not_before = String::new();
        self.ends = self.announced + (self.ends - self.not_before);
        self.not_before = self.announced;
        self.begins = Some(self.announced);
        self
    }

    pub(crate) fn lasting(mut self, duration: Option<u64>, description: &str) -> Self {
        self.event.duration = duration.map(Duration::from_secs);
        self.event.description = description.into();
        self
    }

    /// It begins `early` seconds after the announcement, as a person's own does that AKS approves.
    pub(crate) fn approved_after(mut self, early: u64) -> Self {
        self.event.source = "User".into();
        self.ends = self.announced + early + (self.ends - self.not_before);
        self.begins = Some(self.announced + early);
        self
    }
}

/// `NotBefore` as Azure writes it.
pub(crate) fn rfc_1123(time: u64) -> String {
    rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&wall(time)).unwrap_or_default()
}

impl World {
    /// Puts an event on the agenda; its `EventId` is returned.
    pub(crate) fn announce(&mut self, mut announcement: Announcement) -> String {
        if announcement.event.event_id.is_empty() {
            announcement.event.event_id = format!("E-{:04}", self.azure.events.len());
        }
        let id = announcement.event.event_id.clone();
        announcement.event.resources =
            announcement.machines.iter().map(|machine| self.machines[*machine].vm.clone()).collect();
        self.at(announcement.announced, Change::Announced(id.clone()));
        if let Some(begins) = announcement.begins {
            self.at(begins, Change::Begins(id.clone()));
        }
        self.at(announcement.ends, Change::Vanishes(id.clone()));
        self.azure.events.insert(id.clone(), announcement);
        id
    }

    fn groups_of(&self, id: &str) -> Vec<usize> {
        let machines = &self.azure.events[id].machines;
        let mut groups: Vec<usize> = machines.iter().map(|machine| self.machines[*machine].group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    pub(super) fn event_is_announced(&mut self, id: &str) {
        for group in self.groups_of(id) {
            self.azure.listed.entry(group).or_default().push(id.to_owned());
            self.changed_groups.insert(group);
        }
        let started = self.azure.events[id].event.status == "Started";
        if started {
            self.azure.started.insert(id.to_owned(), self.time);
        }
    }

    pub(super) fn event_begins(&mut self, id: &str) {
        self.changed_groups.extend(self.groups_of(id));
        self.azure.started.entry(id.to_owned()).or_insert(self.time);
        let Some(announcement) = self.azure.events.get_mut(id) else { return };
        announcement.event.status = "Started".into();
        announcement.event.not_before = String::new();
        let (machines, impact) = (announcement.machines.clone(), announcement.impact);
        // The first seconds pass before the machine notices.
        let at = self.time + 2;
        for machine in machines {
            match impact {
                Impact::None => {}
                Impact::Reboot(seconds) | Impact::Replace(seconds) => {
                    let another = matches!(impact, Impact::Replace(_));
                    self.at(at, Change::Down(machine));
                    self.at(at + seconds, Change::Up { machine, another });
                }
                Impact::Destroy(seconds) => {
                    self.at(at, Change::Down(machine));
                    self.at(at + seconds, Change::NodeDeleted(machine));
                }
            }
        }
    }

    /// Azure changes what it says of an event that is listed.
    pub(super) fn event_changes(&mut self, id: &str, change: impl FnOnce(&mut ScheduledEvent)) {
        self.changed_groups.extend(self.groups_of(id));
        if let Some(announcement) = self.azure.events.get_mut(id) {
            change(&mut announcement.event);
        }
    }

    pub(super) fn event_vanishes(&mut self, id: &str) {
        for group in self.groups_of(id) {
            self.azure.listed.entry(group).or_default().retain(|listed| listed != id);
            self.changed_groups.insert(group);
        }
        self.azure.vanished.insert(id.to_owned(), self.time);
    }

    /// The events that are really listed for a machine now.
    pub(crate) fn events_of(&self, machine: usize) -> impl Iterator<Item = &Announcement> {
        let listed = self.azure.listed.get(&self.machines[machine].group).into_iter().flatten();
        listed.map(|id| &self.azure.events[id]).filter(move |event| event.machines.contains(&machine))
    }
}
