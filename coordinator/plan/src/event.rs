//! Scheduled events as the probe hands them on: raw strings, read here.

use jiff::Timestamp;

use crate::{identity::VmReference, time::parse_not_before};

/// One scheduled event. The strings are as the Instance Metadata Service sent them.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// Whether it hits `vm`.
    #[must_use]
    pub fn concerns(&self, vm: &VmReference) -> bool {
        self.resources.iter().any(|resource| vm.is_named(resource))
    }
}

/// `EventType`, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// A pause of some seconds.
    Freeze,
    /// Memory is lost, the machine comes back.
    Reboot,
    /// The machine moves; ephemeral disks are lost.
    Redeploy,
    /// A Spot machine is taken away.
    Preempt,
    /// The machine is deleted on somebody's request.
    Terminate,
    /// A type of a later API version.
    Unknown,
}

impl EventType {
    fn parse(raw: &str) -> Self {
        match raw {
            "Freeze" => Self::Freeze,
            "Reboot" => Self::Reboot,
            "Redeploy" => Self::Redeploy,
            "Preempt" => Self::Preempt,
            "Terminate" => Self::Terminate,
            _ => Self::Unknown,
        }
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
