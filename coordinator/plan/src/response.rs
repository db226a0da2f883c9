//! What is done about an event, by what is known of it.

use std::time::Duration;

use crate::event::{EventStatus, EventType, ScheduledEvent};

/// A pause that is known to be no longer than this is shorter than what moving a pod costs its users.
const TOLERATED_FREEZE: Duration = Duration::from_secs(10);

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
    /// The response to `event`, from its type, status, description and duration alone.
    #[must_use]
    pub fn to(event: &ScheduledEvent) -> Self {
        let of_machine =
            event.resource_type.is_empty() || event.resource_type.eq_ignore_ascii_case("VirtualMachine");
        let status = event.status();
        if !of_machine || status == EventStatus::Unknown {
            return Self::Show;
        }
        match event.event_type() {
            EventType::Unknown => Self::Cordon,
            EventType::Freeze if is_tolerable(event) => Self::Tolerate,
            // The pause comes at the beginning: who was there has been through it.
            EventType::Freeze if status == EventStatus::Started => Self::Cordon,
            EventType::Freeze
            | EventType::Reboot
            | EventType::Redeploy
            | EventType::Terminate
            | EventType::Preempt => Self::Drain,
        }
    }
}

/// A live migration slows the machine down for longer than its pause lasts, so its duration says too little.
fn is_tolerable(event: &ScheduledEvent) -> bool {
    !event.is_live_migration() && event.duration.is_some_and(|duration| duration <= TOLERATED_FREEZE)
}

#[cfg(test)]
mod tests {
    use super::*;

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
                assert_eq!(
                    Response::to(&event(event_type, status)),
                    Response::Drain,
                    "{event_type} {status}"
                );
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
            assert_eq!(Response::to(&freeze), expected, "{freeze:?}");
        }
    }

    #[test]
    fn a_freeze_under_way_is_not_drained_any_more() {
        let started = |freeze| ScheduledEvent { status: "Started".into(), ..freeze };
        assert_eq!(Response::to(&started(freeze(Some(5), LIVE_MIGRATION))), Response::Cordon);
        assert_eq!(Response::to(&started(freeze(None, ""))), Response::Cordon);
        assert_eq!(Response::to(&started(freeze(Some(9), ""))), Response::Tolerate);
    }

    #[test]
    fn an_unknown_type_is_cordoned_and_never_drained_and_an_unknown_status_is_shown() {
        assert_eq!(Response::to(&event("Rehydrate", "Scheduled")), Response::Cordon);
        assert_eq!(Response::to(&event("Rehydrate", "Started")), Response::Cordon);
        assert_eq!(Response::to(&event("SpotRebalanceRecommendation", "Advisory")), Response::Show);
        assert_eq!(Response::to(&event("Reboot", "Postponed")), Response::Show);
        assert_eq!(Response::to(&event("Reboot", "")), Response::Show);
    }

    #[test]
    fn what_happens_to_something_else_than_a_machine_is_shown() {
        let of = |resource_type: &str| ScheduledEvent {
            resource_type: resource_type.into(),
            ..event("Reboot", "Scheduled")
        };
        assert_eq!(Response::to(&of("BareMetalMachine")), Response::Show);
        assert_eq!(Response::to(&of("virtualmachine")), Response::Drain);
        assert_eq!(Response::to(&of("")), Response::Drain);
    }
}
