//! The clocks of this machine. Nothing else in this crate reads one.

use std::{
    ops::Add,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// A moment on `CLOCK_BOOTTIME`: the time since boot, suspended time included. The same for all processes of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boottime(Duration);

impl Boottime {
    /// The moment that is `since_boot` after boot.
    #[must_use]
    pub const fn from_boot(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// Time since boot.
    #[must_use]
    pub const fn since_boot(self) -> Duration {
        self.0
    }

    /// How long this moment is after `earlier`; zero if it is before it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Boottime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// For every duration.
    pub boot: Boottime,
    /// Only to tell people the time, and to notice that one of the two clocks stood still or was set.
    pub wall: Timestamp,
}

impl Reading {
    /// How much the wall clock and the boot clock have moved apart since `earlier`, in either direction.
    #[must_use]
    pub fn drift_since(&self, earlier: &Self) -> Duration {
        let boot = SignedDuration::try_from(self.boot.since(earlier.boot)).unwrap_or(SignedDuration::MAX);
        self.wall.duration_since(earlier.wall).saturating_sub(boot).unsigned_abs()
    }
}

/// This machine's clocks. Tests can set the wall clock wrong; the boot clock can't be touched.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    wall_offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The clocks as the kernel shows them.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// Clocks whose wall time is wrong by `offset`, in milliseconds. The offset may be changed while it runs, as by
    /// someone who sets the clock.
    #[must_use]
    pub fn with_wall_offset(offset_ms: Arc<AtomicI64>) -> Self {
        Self { wall_offset_ms: offset_ms }
    }

    /// Reads both clocks. A process that is stopped between the two readings gets a false drift, so that a Permit fails
    /// rather than holds.
    #[must_use]
    pub fn now(&self) -> Reading {
        let boot = Boottime(since_zero(clock_gettime(ClockId::Boottime)));
        let wall = SignedDuration::try_from(since_zero(clock_gettime(ClockId::Realtime)))
            .unwrap_or(SignedDuration::MAX)
            .saturating_add(SignedDuration::from_millis(self.wall_offset_ms.load(Ordering::Relaxed)));
        Reading { boot, wall: Timestamp::from_duration(wall).unwrap_or(Timestamp::UNIX_EPOCH) }
    }
}

/// The kernel answers with non-negative seconds and less than a second of nanoseconds for both clocks.
fn since_zero(time: Timespec) -> Duration {
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(boot_s: u64, wall_s: i64) -> Reading {
        Reading {
            boot: Boottime(Duration::from_secs(boot_s)),
            wall: Timestamp::from_second(wall_s).expect("within jiff's range"),
        }
    }

    #[test]
    fn drift_counts_in_both_directions() {
        let then = reading(100, 1_000_000);
        for (boot, wall, drift) in
            [(110, 1_000_010, 0), (110, 1_003_610, 3600), (110, 996_410, 3600), (100, 1_000_003, 3)]
        {
            assert_eq!(reading(boot, wall).drift_since(&then), Duration::from_secs(drift), "{boot} {wall}");
        }
    }

    #[test]
    fn an_offset_moves_the_wall_clock_and_not_the_boot_clock() {
        let offset = Arc::new(AtomicI64::new(0));
        let clock = Clock::with_wall_offset(Arc::clone(&offset));
        let before = clock.now();
        offset.store(-3_600_000, Ordering::Relaxed);
        let after = clock.now();
        assert!(after.boot >= before.boot);
        assert!(after.boot.since(before.boot) < Duration::from_mins(1));
        let drift = after.drift_since(&before);
        assert!(drift > Duration::from_secs(3500) && drift < Duration::from_secs(3700), "{drift:?}");
    }
}
