//! How the Instance Metadata Service answers, over all nodes, as their probes say.

use std::time::Duration;

use mechanic_proto::v1::PollFailureKind;
use prometheus_client::{metrics::histogram::Histogram, registry::Registry};

use super::{Counters, counters, registered};

/// Most answers take some milliseconds; the probe gives up after five seconds, but for the first of a machine.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0];
/// No poll is waited for longer, so a probe that says more is not to be believed.
const LONGEST: Duration = Duration::from_secs(130);
const KINDS: [&str; 9] = [
    "unreachable",
    "timeout",
    "throttled",
    "http_status",
    "empty_body",
    "not_json",
    "not_a_document",
    "too_large",
    "other",
];

/// All of it; clones share what they count.
#[derive(Clone)]
pub(crate) struct ImdsMetrics {
    polls: Histogram,
    failed: Counters,
}

impl ImdsMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let help = "How long valid polls of the metadata service took, as probes say";
        Self {
            polls: registered(registry, "imds_poll_seconds", help, Histogram::new(SECONDS)),
            failed: counters(
                registry,
                "imds_polls_failed",
                "Polls of the metadata service that failed, as probes say",
                "kind",
                &KINDS,
            ),
        }
    }

    pub(crate) fn polled(&self, took: Duration) {
        self.polls.observe(took.min(LONGEST).as_secs_f64());
    }

    pub(crate) fn failed(&self, kind: PollFailureKind, count: u32) {
        self.failed.get_or_create(&[("kind", label(kind))]).inc_by(count.into());
    }
}

fn label(kind: PollFailureKind) -> &'static str {
    match kind {
        PollFailureKind::Unreachable => "unreachable",
        PollFailureKind::Timeout => "timeout",
        PollFailureKind::Throttled => "throttled",
        PollFailureKind::HttpStatus => "http_status",
        PollFailureKind::EmptyBody => "empty_body",
        PollFailureKind::NotJson => "not_json",
        PollFailureKind::NotADocument => "not_a_document",
        PollFailureKind::TooLarge => "too_large",
        // Not said, or of a later version.
        PollFailureKind::Unspecified => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_is_there_from_the_start() {
        let kinds = (0..).map_while(|number| PollFailureKind::try_from(number).ok());
        let mut labels: Vec<_> = kinds.map(label).collect();
        labels.rotate_left(1);
        assert_eq!(labels, KINDS);
    }
}
