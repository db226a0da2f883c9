//! The last call: where a machine is about to be destroyed, what budgets hold to the end is deleted with the time
//! that is left, since it would be lost in any case, and then with no time at all.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::event::{EventStatus, EventType, ScheduledEvent};

/// No pod is ever given less: a grace of 0 would take its object away while it may still run.
const LEAST: Duration = Duration::from_secs(1);

/// When a machine is destroyed, where people have allowed a last call for that kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastCall {
    /// Not before this.
    Before(Timestamp),
    /// It has begun.
    Now,
}

impl LastCall {
    /// The last call before the first of `events`, of those that are `allowed`. An event whose time nobody can read
    /// has none: it may be far away.
    pub(crate) fn for_events<'a>(
        events: impl IntoIterator<Item = &'a ScheduledEvent>,
        allowed: &BTreeSet<EventType>,
    ) -> Option<Self> {
        let destroying = events
            .into_iter()
            .filter(|event| event.event_type().destroys() && allowed.contains(&event.event_type()));
        let calls = destroying.filter_map(|event| match event.status() {
            EventStatus::Started => Some(Self::Now),
            _ => event.not_before().map(Self::Before),
        });
        calls.min_by_key(|call| match call {
            Self::Now => None,
            Self::Before(at) => Some(*at),
        })
    }

    /// Whether the machine is destroyed before a pod with this grace could stop in its own time.
    #[must_use]
    pub fn is_due(self, grace: Duration, now: Timestamp) -> bool {
        self.left(now) <= grace.max(LEAST)
    }

    /// The time until it is due for a pod with this grace.
    #[must_use]
    pub fn due_in(self, grace: Duration, now: Timestamp) -> Duration {
        self.left(now).saturating_sub(grace.max(LEAST))
    }

    /// What a pod is given: what is left, in whole seconds, and at least one.
    #[must_use]
    pub fn grace(self, now: Timestamp) -> Duration {
        Duration::from_secs(self.left(now).as_secs()).max(LEAST)
    }

    fn left(self, now: Timestamp) -> Duration {
        let left = match self {
            Self::Before(at) => at.duration_since(now),
            Self::Now => SignedDuration::ZERO,
        };
        Duration::try_from(left).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;

    const NOON: &str = "2026-11-26T12:00:00Z";

    #[test]
    fn the_first_destruction_that_is_allowed_counts() {
        let (terminate, later) =
            (event("Terminate", "Scheduled", NOON), event("Terminate", "Scheduled", "2026-11-26T13:00:00Z"));
        let call = |events: &[&ScheduledEvent], allowed: &[EventType]| {
            LastCall::for_events(events.iter().copied(), &allowed.iter().copied().collect())
        };
        let noon = LastCall::Before(NOON.parse().unwrap());
        assert_eq!(call(&[&later, &terminate], &[EventType::Terminate]), Some(noon));
        assert_eq!(call(&[&terminate], &[]), None);
        assert_eq!(call(&[&terminate], &[EventType::Preempt]), None);
        let started = event("Preempt", "Started", "");
        assert_eq!(
            call(&[&terminate, &started], &[EventType::Preempt, EventType::Terminate]),
            Some(LastCall::Now)
        );
        let unreadable = event("Terminate", "Scheduled", "soon");
        assert_eq!(call(&[&unreadable], &[EventType::Terminate]), None, "it may be far away");
        let reboot = event("Reboot", "Scheduled", NOON);
        assert_eq!(call(&[&reboot], &[EventType::Reboot]), None, "the machine comes back");
    }

    #[test]
    fn a_pod_gets_the_time_that_is_left_and_never_none() {
        let call = LastCall::Before(NOON.parse().unwrap());
        for (now, due_in, grace) in [
            ("2026-11-26T11:59:00Z", 30, 60),
            ("2026-11-26T11:59:48.3Z", 0, 11),
            ("2026-11-26T11:59:59.8Z", 0, 1),
            ("2026-11-26T12:00:30Z", 0, 1),
        ] {
            let now = now.parse().unwrap();
            let of_thirty = call.due_in(Duration::from_secs(30), now);
            assert_eq!((of_thirty.as_secs(), call.grace(now).as_secs()), (due_in, grace), "{now}");
            assert_eq!(call.is_due(Duration::from_secs(30), now), due_in == 0);
        }
        assert!(call.is_due(Duration::ZERO, "2026-11-26T11:59:59.5Z".parse().unwrap()));
        assert_eq!(LastCall::Now.grace(NOON.parse().unwrap()), LEAST);
    }
}
