//! What a probe's heartbeats add to the metrics about the metadata service: no more than it can have polled, whatever it
//! says.

use std::time::Duration;

use mechanic_proto::v1::Heartbeat;
use tokio::time::Instant;

use crate::metrics::ImdsMetrics;

/// No probe polls more often.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
/// Polls from before the stream: a minute of the usual ones.
const BEFORE: u32 = 60;
/// Polls between two heartbeats, which come each 20 s at least.
const MOST: u32 = 200;

/// Counts what one stream may still add.
#[derive(Debug)]
pub(super) struct PollsTold {
    left: u32,
    /// When it last grew.
    at: Instant,
}

impl PollsTold {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BEFORE, at: now }
    }

    /// Counts what the heartbeat says, as far as that can be.
    pub(super) fn count(&mut self, heartbeat: &Heartbeat, now: Instant, metrics: &ImdsMetrics) {
        let since = now.saturating_duration_since(self.at).as_millis() / LEAST_INTERVAL.as_millis();
        let grown = u32::try_from(since).unwrap_or(MOST);
        self.at += LEAST_INTERVAL * grown;
        self.left = self.left.saturating_add(grown).min(MOST);
        for failures in &heartbeat.failures {
            let count = failures.count.min(self.left);
            self.left -= count;
            if count > 0 {
                metrics.failed(failures.kind(), count);
            }
        }
        for &milliseconds in heartbeat.poll_milliseconds.iter().take(self.left as usize) {
            self.left -= 1;
            metrics.polled(Duration::from_millis(milliseconds.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use mechanic_proto::v1::{PollFailureKind, PollFailures};

    use super::*;
    use crate::metrics::Metrics;

    fn failures(kind: i32, count: u32) -> PollFailures {
        PollFailures { kind, count, detail: String::new() }
    }

    #[test]
    fn a_probe_that_exaggerates_adds_no_more_than_it_can_have_polled() {
        let (metrics, begun) = (Metrics::new(), Instant::now());
        let mut told = PollsTold::new(begun);
        let wild = Heartbeat {
            failures: vec![failures(PollFailureKind::Timeout.into(), u32::MAX), failures(4711, u32::MAX)],
            poll_milliseconds: vec![u32::MAX; 100_000],
            ..Heartbeat::default()
        };
        told.count(&wild, begun, &metrics.imds);
        told.count(&wild, begun + Duration::from_millis(950), &metrics.imds);
        told.count(&wild, begun + Duration::from_secs(1), &metrics.imds);
        told.count(&wild, begun + Duration::from_hours(1), &metrics.imds);
        let text = metrics.text().unwrap();
        assert!(text.contains("mechanic_imds_polls_failed_total{kind=\"timeout\"} 270\n"), "{text}");
        assert!(text.contains("mechanic_imds_polls_failed_total{kind=\"other\"} 0\n"), "{text}");
        assert!(text.contains("mechanic_imds_poll_seconds_count 0\n"), "{text}");
    }

    #[test]
    fn what_is_plausible_is_counted_whole() {
        let (metrics, begun) = (Metrics::new(), Instant::now());
        let honest = Heartbeat {
            failures: vec![failures(PollFailureKind::Throttled.into(), 2), failures(4711, 1)],
            poll_milliseconds: vec![3, 4, 700, u32::MAX],
            ..Heartbeat::default()
        };
        PollsTold::new(begun).count(&honest, begun, &metrics.imds);
        let text = metrics.text().unwrap();
        for sample in [
            "mechanic_imds_polls_failed_total{kind=\"throttled\"} 2\n",
            "mechanic_imds_polls_failed_total{kind=\"other\"} 1\n",
            "mechanic_imds_poll_seconds_bucket{le=\"0.005\"} 2\n",
            "mechanic_imds_poll_seconds_bucket{le=\"1.0\"} 3\n",
            "mechanic_imds_poll_seconds_count 4\n",
            "mechanic_imds_poll_seconds_sum 130.707\n",
        ] {
            assert!(text.contains(sample), "{sample} in {text}");
        }
    }
}
