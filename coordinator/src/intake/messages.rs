//! From the wire to what the plan works on.

use std::time::Duration;

use mechanic_plan::{ProbeVm, ScheduledEvent, VmReference};
use mechanic_proto::v1;

use crate::fleet::{Polls, Row, Seen};

/// Events of one document, and machines of one event: a scale set has at most 1,000.
const MOST_EVENTS: usize = 1000;
const MOST_RESOURCES: usize = 1000;

pub(super) fn vm(message: &v1::VirtualMachine) -> ProbeVm {
    ProbeVm { vm_id: message.vm_id.clone(), reference: VmReference::parse(&message.resource_id) }
}

/// An age or span that is missing or negative counts as zero: it then proves nothing.
pub(super) fn polls(message: &v1::Evidence) -> Polls {
    Polls {
        document: Row { polls: message.consecutive_polls, span: duration(message.span.as_ref()) },
        unbroken: Row { polls: message.unbroken_polls, span: duration(message.unbroken_span.as_ref()) },
        unbroken_row: message.unbroken_row,
        continuous_for: duration(message.continuous_for.as_ref()),
        shown_late: Duration::ZERO,
    }
}

/// The same of an observation, which says when its document was first read, too.
pub(super) fn polls_of(message: &v1::Observation) -> Option<Polls> {
    let evidence = message.evidence.as_ref()?;
    let [asked, read] = [&evidence.newest_age, &message.age].map(|age| duration(age.as_ref()));
    Some(Polls { shown_late: asked.saturating_sub(read), ..polls(evidence) })
}

fn duration(field: Option<&prost_types::Duration>) -> Duration {
    field.and_then(|duration| Duration::try_from(*duration).ok()).unwrap_or_default()
}

/// A document that is longer than any of Azure's is read in part, and then proves nothing absent.
pub(super) fn seen(message: v1::Observation) -> Seen {
    let events = message.events.len();
    let whole =
        events <= MOST_EVENTS && message.events.iter().all(|event| event.resources.len() <= MOST_RESOURCES);
    Seen {
        complete: whole && message.unreadable_entries.is_empty(),
        document_number: message.document_number,
        events: message.events.into_iter().take(MOST_EVENTS).map(event).collect(),
    }
}

fn event(message: v1::ScheduledEvent) -> ScheduledEvent {
    ScheduledEvent {
        event_id: message.event_id,
        event_type: message.r#type,
        status: message.status,
        not_before: message.not_before,
        description: message.description,
        resources: message.resources.into_iter().take(MOST_RESOURCES).collect(),
        resource_type: message.resource_type,
        source: message.source,
        // Negative is unknown, as in the document itself.
        duration: message.duration.and_then(|duration| Duration::try_from(duration).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_that_is_missing_or_negative_proves_nothing() {
        let negative = prost_types::Duration { seconds: -5, nanos: 0 };
        let message = v1::Evidence { consecutive_polls: 9, span: Some(negative), ..v1::Evidence::default() };
        let expected = Polls { document: Row { polls: 9, span: Duration::ZERO }, ..Polls::default() };
        assert_eq!(polls(&message), expected);
    }

    #[test]
    fn a_document_that_the_newest_poll_showed_first_was_shown_when_that_was_answered() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let shown = |asked, read| {
            let evidence = v1::Evidence { newest_age: seconds(asked), ..v1::Evidence::default() };
            let observation =
                v1::Observation { age: seconds(read), evidence: Some(evidence), ..Default::default() };
            polls_of(&observation).unwrap().shown_late.as_secs()
        };
        assert_eq!(shown(4, 1), 3, "asked 4 s ago, answered 1 s ago");
        assert_eq!(shown(1, 60), 0, "an earlier poll had shown it");
        assert_eq!(polls_of(&v1::Observation::default()), None);
    }

    #[test]
    fn a_duration_of_an_event_that_is_missing_or_negative_is_unknown() {
        let with =
            |duration| event(v1::ScheduledEvent { duration, ..v1::ScheduledEvent::default() }).duration;
        assert_eq!(with(None), None);
        assert_eq!(with(Some(prost_types::Duration { seconds: -1, nanos: 0 })), None);
        assert_eq!(with(Some(prost_types::Duration { seconds: 9, nanos: 0 })), Some(Duration::from_secs(9)));
    }

    #[test]
    fn what_is_too_long_is_cut_and_proves_nothing_absent() {
        let with = |events: usize, resources: usize| {
            let event = v1::ScheduledEvent { resources: vec!["vm".into(); resources], ..Default::default() };
            seen(v1::Observation { events: vec![event; events], ..Default::default() })
        };
        assert!(with(MOST_EVENTS, 1).complete);
        let long = with(MOST_EVENTS + 1, 1);
        assert_eq!((long.complete, long.events.len()), (false, MOST_EVENTS));
        let wide = with(1, MOST_RESOURCES + 1);
        assert_eq!((wide.complete, wide.events[0].resources.len()), (false, MOST_RESOURCES));
    }
}
