//! How long a Lease lasts, and how much of that a leader may use.

use std::time::Duration;

use thiserror::Error;

/// The margin between the end of a Permit and the moment when another process may take the Lease.
const LEAST_MARGIN: Duration = Duration::from_secs(1);

/// The durations of an election. All candidates for a Lease should use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    lease_duration: Duration,
    renew_interval: Duration,
    permit: Duration,
    settle: Duration,
}

/// Why a set of durations can't be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidTiming {
    /// The Lease object counts in whole seconds.
    #[error("the lease duration is {0:?}; it must be whole seconds, at least 3")]
    LeaseDuration(Duration),
    /// The old leader must have stopped before the next one starts.
    #[error(
        "a permit of {permit:?} leaves too little of a lease of {lease_duration:?}; the margin must be at least 1 s"
    )]
    Permit {
        /// As asked for.
        permit: Duration,
        /// As asked for.
        lease_duration: Duration,
    },
    /// One renewal that fails must not end the Permit.
    #[error(
        "a renewal each {renew_interval:?} comes too late for a permit of {permit:?}; at most half of it"
    )]
    RenewInterval {
        /// As asked for.
        renew_interval: Duration,
        /// As asked for.
        permit: Duration,
    },
}

impl Timing {
    /// `lease_duration`: how long the Lease must be unchanged before another candidate takes it (whole seconds).
    /// `renew_interval`: how often the leader renews it. `permit`: how long after a renewal was sent the leader may write.
    /// `settle`: how long a new leader waits before its first write, so that its predecessor's last requests have landed.
    pub fn new(
        lease_duration: Duration,
        renew_interval: Duration,
        permit: Duration,
        settle: Duration,
    ) -> Result<Self, InvalidTiming> {
        if lease_duration.subsec_nanos() != 0 || !(3..=3600).contains(&lease_duration.as_secs()) {
            return Err(InvalidTiming::LeaseDuration(lease_duration));
        }
        if permit.is_zero() || permit + LEAST_MARGIN > lease_duration {
            return Err(InvalidTiming::Permit { permit, lease_duration });
        }
        if renew_interval.is_zero() || renew_interval * 2 > permit {
            return Err(InvalidTiming::RenewInterval { renew_interval, permit });
        }
        Ok(Self { lease_duration, renew_interval, permit, settle })
    }

    /// How long the Lease must be unchanged before another candidate takes it.
    #[must_use]
    pub fn lease_duration(&self) -> Duration {
        self.lease_duration
    }

    /// How often the leader renews.
    #[must_use]
    pub fn renew_interval(&self) -> Duration {
        self.renew_interval
    }

    /// How long after a renewal was sent the leader may write.
    #[must_use]
    pub fn permit(&self) -> Duration {
        self.permit
    }

    /// How long a new leader waits before its first write.
    #[must_use]
    pub fn settle(&self) -> Duration {
        self.settle
    }

    /// The same where the Lease was given back: whoever held it had an answer to each request before.
    #[must_use]
    pub fn settle_after_hand_over(&self) -> Duration {
        self.settle / 2
    }

    /// How long a candidate that stands back leaves a free Lease to others.
    pub(crate) fn stand_back(&self) -> Duration {
        self.lease_duration / 5
    }

    /// The longest that one call to the API server may take.
    pub(crate) fn call_timeout(&self) -> Duration {
        self.lease_duration / 3
    }
}

impl Default for Timing {
    /// Lease 15 s, renewed every 4 s, Permit 10 s, settle 2 s.
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_interval: Duration::from_secs(4),
            permit: Duration::from_secs(10),
            settle: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(lease_ms: u64, renew_ms: u64, permit_ms: u64) -> Result<Timing, InvalidTiming> {
        let ms = Duration::from_millis;
        Timing::new(ms(lease_ms), ms(renew_ms), ms(permit_ms), ms(2000))
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(timing(15_000, 4000, 10_000), Ok(Timing::default()));
    }

    #[test]
    fn refuses_what_could_make_two_leaders() {
        assert!(matches!(timing(15_500, 4000, 10_000), Err(InvalidTiming::LeaseDuration(_))));
        assert!(matches!(timing(2000, 500, 1000), Err(InvalidTiming::LeaseDuration(_))));
        assert!(matches!(timing(15_000, 4000, 14_500), Err(InvalidTiming::Permit { .. })));
        assert!(matches!(timing(15_000, 4000, 0), Err(InvalidTiming::Permit { .. })));
        assert!(matches!(timing(15_000, 6000, 10_000), Err(InvalidTiming::RenewInterval { .. })));
        assert!(matches!(timing(15_000, 0, 10_000), Err(InvalidTiming::RenewInterval { .. })));
    }
}
