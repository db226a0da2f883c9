//! What a pod has been through, and how long a crash loop waits.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use jiff::Timestamp;

use super::status::Ended;

/// A kubelet starts a crash loop's waits over after ten minutes of running.
pub(super) const BACKOFF_FORGOTTEN: Duration = Duration::from_mins(10);
/// The longest wait of a crash loop.
const LONGEST_BACKOFF: Duration = Duration::from_mins(5);
/// The status of a process that SIGKILL ended, as container runtimes say it.
pub(super) const KILLED: i32 = 137;

/// What a pod has been through.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) started: Timestamp,
    pub(super) restarts: u32,
    pub(super) crashes: u32,
    pub(super) last: Option<Ended>,
    pub(super) ready: bool,
    pub(super) ready_since: Timestamp,
}

impl Default for Course {
    fn default() -> Self {
        let now = Timestamp::now();
        Self { started: now, restarts: 0, crashes: 0, last: None, ready: false, ready_since: now }
    }
}

/// The first restart comes at once, the next ones after `base`, doubled each time.
pub(super) fn backoff(base: Duration, crashes: u32) -> Duration {
    match crashes {
        0 | 1 => Duration::ZERO,
        more => base.saturating_mul(2_u32.saturating_pow(more - 2)).min(LONGEST_BACKOFF),
    }
}

pub(super) fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(KILLED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_waits_longer_and_longer() {
        let waits = [1, 2, 3, 7, 40].map(|crashes| backoff(Duration::from_secs(10), crashes).as_secs());
        assert_eq!(waits, [0, 10, 20, 300, 300]);
    }
}
