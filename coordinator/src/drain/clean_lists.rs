//! A node counts as empty after two lists of its pods, since one may have come too early.

use std::time::Duration;

use tokio::time::Instant;

/// The scheduler may still bind a pod for so long after the cordon, which came before the drain.
const SETTLE: Duration = Duration::from_secs(5);
/// Between two clean lists.
pub(super) const BETWEEN_LISTS: Duration = Duration::from_secs(1);

/// The clean lists in a row.
#[derive(Default)]
pub(super) struct CleanLists {
    last: Option<Instant>,
    count: usize,
}

impl CleanLists {
    /// A list that failed: none is clean.
    pub(super) fn failed(now: Instant) -> Self {
        Self { last: Some(now), count: 0 }
    }

    /// When the next list is due, where evictions have run since `started`.
    pub(super) fn next(&self, started: Instant) -> Instant {
        match (self.last, self.count) {
            (None, _) => Instant::now(),
            (Some(last), 0) => last + BETWEEN_LISTS,
            (Some(last), _) => (last + BETWEEN_LISTS).max(started + SETTLE),
        }
    }

    /// Counts one; true if it is the second, late enough.
    pub(super) fn add(&mut self, now: Instant, started: Instant) -> bool {
        let second = self.count > 0 && now >= started + SETTLE;
        self.last = Some(now);
        self.count += 1;
        second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edge_16_two_lists_in_a_row_the_second_five_seconds_after_evictions_began() {
        let started = Instant::now();
        let at = |seconds| started + Duration::from_secs(seconds);
        let mut lists = CleanLists::default();
        assert!(!lists.add(at(0), started), "one proves nothing");
        assert_eq!(lists.next(started), at(5));
        assert!(!lists.add(at(2), started), "the scheduler may still have bound a pod");
        assert!(lists.add(at(5), started));
        let mut late = CleanLists::default();
        assert!(!late.add(at(60), started));
        assert_eq!(late.next(started), at(61));
        let mut failed = CleanLists::failed(at(70));
        assert_eq!(failed.next(started), at(71));
        assert!(!failed.add(at(71), started), "a list that failed is none");
    }
}
