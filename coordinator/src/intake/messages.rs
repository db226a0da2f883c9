//! From the wire to what the plan works on.

use std::time::Duration;

use mechanic_plan::{Evidence, ProbeVm, ScheduledEvent, VmReference};
use mechanic_proto::v1;

pub(super) fn vm(message: &v1::VirtualMachine) -> ProbeVm {
    ProbeVm { vm_id: message.vm_id.clone(), reference: VmReference::parse(&message.resource_id) }
}

/// An age or span that is missing or negative counts as zero: it then proves nothing.
pub(super) fn evidence(message: &v1::Evidence) -> Evidence {
    let duration = |field: Option<&prost_types::Duration>| {
        field.and_then(|duration| Duration::try_from(*duration).ok()).unwrap_or_default()
    };
    Evidence {
        consecutive_polls: message.consecutive_polls,
        span: duration(message.span.as_ref()),
        continuous_for: duration(message.continuous_for.as_ref()),
    }
}

pub(super) fn event(message: v1::ScheduledEvent) -> ScheduledEvent {
    ScheduledEvent {
        event_id: message.event_id,
        event_type: message.r#type,
        status: message.status,
        not_before: message.not_before,
        description: message.description,
        resources: message.resources,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_that_is_missing_or_negative_proves_nothing() {
        let negative = prost_types::Duration { seconds: -5, nanos: 0 };
        let message = v1::Evidence {
            consecutive_polls: 9,
            span: Some(negative),
            newest_age: None,
            continuous_for: None,
        };
        assert_eq!(
            evidence(&message),
            Evidence { consecutive_polls: 9, span: Duration::ZERO, continuous_for: Duration::ZERO }
        );
    }
}
