//! Two kinds of time that never mix: wall time for `NotBefore`, monotonic time for every duration.

use std::time::Duration;

use jiff::{
    Timestamp,
    fmt::{rfc2822, strtime, temporal},
};

const LAST_YEAR: i16 = 9999;

/// A moment on the coordinator's own clock that counts suspension (`CLOCK_BOOTTIME`), as time since that
/// clock's start. Only moments of the same process may be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// How long ago `earlier` was; zero where it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `age` before this one, not before the clock's start.
    #[must_use]
    pub fn before(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(age))
    }
}

/// The present, handed in.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Compared with `NotBefore` and nothing else.
    pub wall: Timestamp,
    /// For every duration.
    pub monotonic: Monotonic,
}

/// Reads a `NotBefore`: RFC 1123 with any weekday (Microsoft's own sample has a wrong one) and one or two
/// digits for the day, or RFC 3339. `None` for anything else, the empty string of a started event included.
#[must_use]
pub fn parse_not_before(raw: &str) -> Option<Timestamp> {
    static RFC_1123: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let raw = raw.trim();
    let exact = RFC_1123.parse_timestamp(raw).ok().or_else(|| raw.parse().ok());
    exact.or_else(|| is_in_last_year(raw).then_some(Timestamp::MAX))
}

/// The last day of the last year is more than a [`Timestamp`] can hold. It must not count as unreadable, which is now.
fn is_in_last_year(raw: &str) -> bool {
    let rfc_1123 = strtime::parse("%a, %d %b %Y %H:%M:%S GMT", raw).ok().and_then(|time| time.year());
    let rfc_3339 = || temporal::Pieces::parse(raw).ok().map(|pieces| pieces.date().year());
    rfc_1123.or_else(rfc_3339) == Some(LAST_YEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_before_is_read_in_every_documented_form() {
        let expected: Timestamp = "2026-11-22T14:45:10Z".parse().unwrap();
        for raw in [
            "Sun, 22 Nov 2026 14:45:10 GMT",
            "Mon, 22 Nov 2026 14:45:10 GMT",
            "2026-11-22T14:45:10Z",
            " Sun, 22 Nov 2026 14:45:10 GMT ",
        ] {
            assert_eq!(parse_not_before(raw), Some(expected), "{raw}");
        }
        assert!(parse_not_before("Tue, 1 Dec 2026 08:00:00 GMT").is_some());
    }

    #[test]
    fn the_end_of_the_last_year_is_far_away_and_not_unreadable() {
        let expected: Timestamp = "9999-06-01T00:00:00Z".parse().unwrap();
        for raw in ["Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59Z", "9999-06-01T00:00:00Z"] {
            assert!(parse_not_before(raw).is_some_and(|time| time >= expected), "{raw}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for raw in ["", "soon", "22 Nov", "Sun, 31 Nov 2026 14:45:10 GMT", "99999-01-01T00:00:00Z", "\u{0}"] {
            assert_eq!(parse_not_before(raw), None, "{raw:?}");
        }
    }

    #[test]
    fn durations_never_go_below_zero() {
        let early = Monotonic(Duration::from_secs(1));
        let late = Monotonic(Duration::from_secs(3));
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.before(Duration::from_secs(9)), Monotonic::default());
    }
}
