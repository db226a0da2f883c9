//! How fast a probe may speak. One that sends more is read more slowly, so that it holds up itself and nobody else.

use std::time::Duration;

use tokio::time::Instant;

/// More than a probe ever sends at once.
const BURST: u32 = 20;
/// A probe sends at most one for each poll.
const EVERY: Duration = Duration::from_millis(200);

/// Lets so many messages pass at once, and then one after each interval.
#[derive(Debug)]
pub(super) struct Pace {
    /// When all that has passed has been paid off.
    even_at: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { even_at: now }
    }

    /// Counts a message; returns how long the next must wait.
    pub(super) fn count(&mut self, now: Instant) -> Duration {
        self.even_at = self.even_at.max(now) + EVERY;
        (self.even_at - now).saturating_sub(EVERY * BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_comes_down_to_five_a_second() {
        let mut now = Instant::now();
        let begun = now;
        let mut pace = Pace::new(now);
        for _ in 0..BURST {
            assert_eq!(pace.count(now), Duration::ZERO);
        }
        for _ in 0..100 {
            now += pace.count(now);
        }
        let rate = 100.0 / (now - begun).as_secs_f64();
        assert!((4.9..=5.1).contains(&rate), "{rate}");
        now += Duration::from_mins(1);
        assert_eq!(pace.count(now), Duration::ZERO, "who has been quiet may speak");
    }
}
