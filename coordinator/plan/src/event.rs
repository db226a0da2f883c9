//! Scheduled events as the probe hands them on: raw strings, read here.

use std::time::Duration;

use jiff::Timestamp;

use crate::{identity::VmReference, time::parse_not_before};

/// One scheduled event. The strings are as the Instance Metadata Service sent them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduledEvent {
    /// `EventId`, opaque.
    pub event_id: String,
    /// `EventType`.
    pub event_type: String,
    /// `EventStatus`.
    pub status: String,
    /// `NotBefore`; empty once the event has started.
    pub not_before: String,
    /// `Description`.
    pub description: String,
    /// `Resources`: the machines it hits.
    pub resources: Vec<String>,
    /// `ResourceType`; empty where it was missing.
    pub resource_type: String,
    /// `EventSource`; empty where it was missing.
    pub source: String,
    /// `DurationInSeconds`; `None` where Azure doesn't know it.
    pub duration: Option<Duration>,
}

impl ScheduledEvent {
    /// What kind of event it is.
    #[must_use]
    pub fn event_type(&self) -> EventType {
        EventType::parse(&self.event_type)
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> EventStatus {
        EventStatus::parse(&self.status)
    }

    /// When it may start at the earliest, where that can be read.
    #[must_use]
    pub fn not_before(&self) -> Option<Timestamp> {
        parse_not_before(&self.not_before)
    }

    /// Whether it is a pause while the machine moves to another host. Azure has no field for that, only these
    /// words in the description.
    #[must_use]
    pub fn is_live_migration(&self) -> bool {
        self.event_type() == EventType::Freeze
            && self.description.to_ascii_lowercase().contains("live migration")
    }

    /// Whether it hits `vm`.
    #[must_use]
    pub fn concerns(&self, vm: &VmReference) -> bool {
        self.resources.iter().any(|resource| vm.is_named(resource))
    }
}

/// `EventType`, as far as it is known, from what costs least to what costs most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// A type of a later API version.
    Unknown,
    /// A pause of some seconds.
    Freeze,
    /// Memory is lost, the machine comes back.
    Reboot,
    /// The machine moves; ephemeral disks are lost.
    Redeploy,
    /// The machine is deleted on somebody's request.
    Terminate,
    /// A Spot machine is taken away, half a minute after the notice.
    Preempt,
}

impl EventType {
    pub(crate) fn parse(raw: &str) -> Self {
        match raw {
            "Freeze" => Self::Freeze,
            "Reboot" => Self::Reboot,
            "Redeploy" => Self::Redeploy,
            "Preempt" => Self::Preempt,
            "Terminate" => Self::Terminate,
            _ => Self::Unknown,
        }
    }

    /// Whether the machine never comes back.
    #[must_use]
    pub fn destroys(self) -> bool {
        matches!(self, Self::Terminate | Self::Preempt)
    }

    /// Whether what is on the machine's own disks is still there afterwards.
    #[must_use]
    pub fn keeps_disks(self) -> bool {
        matches!(self, Self::Freeze | Self::Reboot | Self::Unknown)
    }
}

/// `EventStatus`, as far as it is known. There is no status for an end: the event just vanishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStatus {
    /// Announced.
    Scheduled,
    /// Under way.
    Started,
    /// A status of a later API version.
    Unknown,
}

impl EventStatus {
    pub(crate) fn parse(raw: &str) -> Self {
        match raw {
            "Scheduled" => Self::Scheduled,
            "Started" => Self::Started,
            _ => Self::Unknown,
        }
    }
}
