//! The coordinator's clocks: the only place that reads them for the plan.

use mechanic_leadership::clock::Clock;
use mechanic_plan::{Monotonic, Now};

/// The present on the clock that counts suspension.
pub(crate) fn monotonic() -> Monotonic {
    now().monotonic
}

/// Both clocks.
pub(crate) fn now() -> Now {
    let reading = Clock::system().now();
    Now { wall: reading.wall, monotonic: Monotonic(reading.boot.since_boot()) }
}
