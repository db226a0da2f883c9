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
