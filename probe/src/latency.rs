//! How long valid polls took, kept until the next heartbeat carries it.

use std::{collections::VecDeque, time::Duration};

/// More polls than there are between two heartbeats; what nobody hears of for longer is left out.
const NEWEST: usize = 200;

/// The polls since the last heartbeat, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies(VecDeque<u32>);

impl Latencies {
    /// Notes one more.
    pub fn add(&mut self, took: Duration) {
        if self.0.len() == NEWEST {
            self.0.pop_front();
        }
        self.0.push_back(u32::try_from(took.as_millis()).unwrap_or(u32::MAX));
    }

    /// What was noted, the oldest first; noting starts anew.
    #[must_use]
    pub fn take(&mut self) -> Vec<u32> {
        self.0.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_until_they_are_taken() {
        let mut latencies = Latencies::default();
        for poll in 0..250 {
            latencies.add(Duration::from_micros(poll * 1000 + 999));
        }
        assert!(latencies.take().into_iter().eq(50..250));
        latencies.add(Duration::MAX);
        assert_eq!(latencies.take(), [u32::MAX]);
        assert!(latencies.take().is_empty());
    }
}
