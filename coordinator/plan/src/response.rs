//! What is done about an event, by what is known of it.

use std::time::Duration;

use crate::event::{EventStatus, EventType, ScheduledEvent};

/// What is done about an event, where nothing forbids it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handling {
    /// `None`: an event of a known type is drained for, one of another is cordoned for.
    pub respond: Option<Response>,
    /// A pause that is known to be no longer than this is tolerated.
    pub tolerated_freeze: Duration,
    /// About a live migration, which is a Freeze; `None`: as about another.
    pub live_migration: Option<Response>,
}

impl Default for Handling {
    /// A pause of ten seconds is shorter than what moving a pod costs its users.
    fn default() -> Self {
        Self { respond: None, tolerated_freeze: Duration::from_secs(10), live_migration: None }
    }
}

/// What is done about an event, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Response {
    /// It is shown: nothing is known of what it does.
    Show,
    /// It is shown: what it does is not worth moving a pod for.
    Tolerate,
    /// No new pods; those that are there stay.
    Cordon,
    /// The pods that can be moved are moved.
    Drain,
}

impl Response {
    /// The response to `event`, from its type, status, description and duration, and what people want.
    #[must_use]
    pub fn to(event: &ScheduledEvent, handling: Handling) -> Self {
        let of_machine =
            event.resource_type.is_empty() || event.resource_type.eq_ignore_ascii_case("VirtualMachine");
        let status = event.status();
        if !of_machine || status == EventStatus::Unknown {
            return Self::Show;
        }
        let wanted = handling.respond;
        match event.event_type() {
            // No pod is moved for what nobody knows.
            EventType::Unknown => wanted.unwrap_or(Self::Cordon).min(Self::Cordon),
            EventType::Freeze if is_tolerable(event, handling.tolerated_freeze) => Self::Tolerate,
            EventType::Freeze => {
                let of_migration = handling.live_migration.filter(|_| event.is_live_migration());
                let response = of_migration.or(wanted).unwrap_or(Self::Drain);
                // The pause comes at the beginning: who was there has been through it.
                if status == EventStatus::Started { response.min(Self::Cordon) } else { response }
            }
            EventType::Reboot | EventType::Redeploy | EventType::Terminate | EventType::Preempt => {
                wanted.unwrap_or(Self::Drain)
            }
        }
    }
}

/// A live migration slows the machine down for longer than its pause lasts, so its duration says too little.
fn is_tolerable(event: &ScheduledEvent, tolerated: Duration) -> bool {
    !event.is_live_migration() && event.duration.is_some_and(|duration| duration <= tolerated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(event: &ScheduledEvent) -> Response {
        Response::to(event, Handling::default())
    }

    fn event(event_type: &str, status: &str) -> ScheduledEvent {
        ScheduledEvent { event_type: event_type.into(), status: status.into(), ..ScheduledEvent::default() }
    }

    fn freeze(seconds: Option<u64>, description: &str) -> ScheduledEvent {
        let duration = seconds.map(Duration::from_secs);
        ScheduledEvent { duration, description: description.into(), ..event("Freeze", "Scheduled") }
    }

    const LIVE_MIGRATION: &str =
        "Virtual machine is being paused because of a memory-preserving Live Migration operation.";

    #[test]
    fn events_that_end_what_runs_are_drained_whether_announced_or_under_way() {
        for event_type in ["Reboot", "Redeploy", "Terminate", "Preempt"] {
            for status in ["Scheduled", "Started"] {
                assert_eq!(to(&event(event_type, status)), Response::Drain, "{event_type} {status}");
            }
        }
    }

    #[test]
    fn a_freeze_is_tolerated_where_it_is_known_to_be_short_and_no_live_migration() {
        let maintenance = "Host server is undergoing maintenance.";
        for (freeze, expected) in [
            (freeze(Some(9), maintenance), Response::Tolerate),
            (freeze(Some(10), maintenance), Response::Tolerate),
            (freeze(Some(0), ""), Response::Tolerate),
            (freeze(Some(11), maintenance), Response::Drain),
            (freeze(None, maintenance), Response::Drain),
            (freeze(Some(5), LIVE_MIGRATION), Response::Drain),
            (freeze(Some(5), "LIVE MIGRATION"), Response::Drain),
        ] {
            assert_eq!(to(&freeze), expected, "{freeze:?}");
        }
    }

    #[test]
    fn a_freeze_under_way_is_not_drained_any_more() {
        let started = |freeze| ScheduledEvent { status: "Started".into(), ..freeze };
        assert_eq!(to(&started(freeze(Some(5), LIVE_MIGRATION))), Response::Cordon);
        assert_eq!(to(&started(freeze(None, ""))), Response::Cordon);
        assert_eq!(to(&started(freeze(Some(9), ""))), Response::Tolerate);
    }

    #[test]
    fn an_unknown_type_is_cordoned_and_never_drained_and_an_unknown_status_is_shown() {
        assert_eq!(to(&event("Rehydrate", "Scheduled")), Response::Cordon);
        assert_eq!(to(&event("Rehydrate", "Started")), Response::Cordon);
        assert_eq!(to(&event("SpotRebalanceRecommendation", "Advisory")), Response::Show);
        assert_eq!(to(&event("Reboot", "Postponed")), Response::Show);
        assert_eq!(to(&event("Reboot", "")), Response::Show);
    }

    #[test]
    fn what_happens_to_something_else_than_a_machine_is_shown() {
        let of = |resource_type: &str| ScheduledEvent {
            resource_type: resource_type.into(),
            ..event("Reboot", "Scheduled")
        };
        assert_eq!(to(&of("BareMetalMachine")), Response::Show);
        assert_eq!(to(&of("virtualmachine")), Response::Drain);
        assert_eq!(to(&of("")), Response::Drain);
    }
}
