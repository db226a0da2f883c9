//! How long to wait before the next connection, so that thousands of probes don't come at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5);
/// A probe that has something announced goes first.
const LONGEST_URGENT: Duration = Duration::from_secs(1);

/// Full jitter over a span that doubles.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The next pause; `random` lies in 0..1.
    pub(super) fn next(&mut self, urgent: bool, random: f64) -> Duration {
        let attempts = self.attempts;
        self.attempts = attempts.saturating_add(1);
        let span = FIRST * (1 << attempts.min(4));
        match (urgent, attempts) {
            (true, 0) => Duration::ZERO,
            (true, _) => LONGEST_URGENT.mul_f64(0.2 + 0.8 * random.clamp(0.0, 1.0)),
            (false, _) => span.min(LONGEST).mul_f64(random.clamp(0.0, 1.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds_and_urgent_ones_stay_within_one() {
        let (mut calm, mut urgent) = (Backoff::default(), Backoff::default());
        let longest: Vec<_> = (0..40).map(|_| calm.next(false, 1.0).as_secs()).collect();
        assert_eq!(longest[..5], [1, 2, 4, 5, 5]);
        assert_eq!(longest[39], 5);
        assert_eq!(urgent.next(true, 1.0), Duration::ZERO);
        assert_eq!(urgent.next(true, 1.0), Duration::from_secs(1));
        assert_eq!(urgent.next(true, 0.0), Duration::from_millis(200), "never a tight loop");
        calm.reset();
        assert_eq!(calm.next(false, 0.5), Duration::from_millis(500));
    }
}
