//! Times as scripts write them, and the speed at which they pass.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;

/// The longest time that makes sense in a script; more is a slip of the pen.
const LONGEST: Duration = Duration::from_hours(24);

/// A time as a script writes it: `90s`, `2m`, `1m30s`, `500ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Time(Duration);

impl Time {
    /// So many seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As written, whatever the speed.
    #[must_use]
    pub const fn as_written(self) -> Duration {
        self.0
    }

    /// How long it takes at this speed.
    #[must_use]
    pub fn at(self, speed: Speed) -> Duration {
        self.0.div_f64(speed.0)
    }

    /// The same in whole seconds, rounded up, for what knows nothing finer.
    #[must_use]
    pub fn in_seconds_at(self, speed: Speed) -> Duration {
        let time = self.at(speed);
        Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
    }
}

impl std::ops::Add for Time {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<SignedDuration>()
            .ok()
            .and_then(|time| Duration::try_from(time).ok())
            .filter(|time| *time <= LONGEST)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no time from 0s to 24h, such as 90s, 2m or 1m30s"))
    }
}

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// How fast a script's times pass: 2 is twice as fast as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed(f64);

impl Default for Speed {
    fn default() -> Self {
        Self(1.0)
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let speed = text.parse().ok().filter(|speed| (0.1..=10.0).contains(speed));
        speed.map(Self).ok_or_else(|| "a speed is a number from 0.1 to 10; 2 is twice as fast".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_durations_with_units() {
        let read = |text: &str| text.parse::<Time>();
        assert_eq!(read("1m30s").unwrap(), Time::seconds(90));
        assert_eq!(read("500ms").unwrap().as_written(), Duration::from_millis(500));
        for bad in ["", "10", "-5s", "soon", "25h"] {
            assert!(read(bad).unwrap_err().contains("such as 90s"), "{bad}");
        }
    }

    #[test]
    fn twice_as_fast_takes_half_as_long() {
        let fast: Speed = "2".parse().unwrap();
        assert_eq!(Time::seconds(5).at(fast), Duration::from_millis(2500));
        assert_eq!(Time::seconds(5).in_seconds_at(fast), Duration::from_secs(3));
        assert_eq!(Time::seconds(5).at(Speed::default()), Duration::from_secs(5));
        for bad in ["0", "-1", "100", "fast", "NaN"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }
}
