//! Leaves an API server alone that sheds load.

use std::time::Duration;

use tokio::time::Instant;

use super::answer::Outcome;

const LONGEST: Duration = Duration::from_secs(30);

/// How long all evictions wait since the API server sheds load: twice as long each time, until one is answered.
#[derive(Debug, Default)]
pub(super) struct Slowdown {
    pub(super) until: Option<Instant>,
    /// In a row.
    times: u32,
}

impl Slowdown {
    /// Takes note of an answer.
    pub(super) fn heed(&mut self, outcome: &Outcome, now: Instant) {
        match outcome {
            // Those that were on their way together count once.
            Outcome::Overloaded { again_in } if self.until.is_none_or(|until| until <= now) => {
                let wait = (*again_in * 2_u32.pow(self.times.min(5))).min(LONGEST).max(*again_in);
                self.until = Some(now + wait);
                self.times += 1;
            }
            Outcome::Evicted | Outcome::Gone | Outcome::Refused { .. } => self.times = 0,
            Outcome::Overloaded { .. } | Outcome::Unknown(_) | Outcome::NotSent(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_wait_longer_and_longer_while_the_server_sheds_load() {
        let (mut slowdown, now) = (Slowdown::default(), Instant::now());
        let second = Duration::from_secs(1);
        let overloaded = Outcome::Overloaded { again_in: second };
        slowdown.heed(&overloaded, now);
        slowdown.heed(&overloaded, now);
        assert_eq!(slowdown.until, Some(now + second), "those on their way together count once");
        slowdown.heed(&overloaded, now + second);
        assert_eq!(slowdown.until, Some(now + second + 2 * second));
        for minute in 1..10 {
            slowdown.heed(&overloaded, now + 60 * minute * second);
        }
        assert_eq!(slowdown.until, Some(now + 540 * second + LONGEST));
        slowdown.heed(&Outcome::Evicted, now + 600 * second);
        slowdown.heed(&overloaded, now + 601 * second);
        assert_eq!(slowdown.until, Some(now + 602 * second));
    }
}
