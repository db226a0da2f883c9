//! What people tune: the flat keys of the ConfigMap `mechanic`.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;

/// The settings in force. [`Config::default`] holds where nothing was ever set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `max-concurrent-drains`: how many nodes may be drained at once, as a number or a share of all nodes.
    pub max_concurrent_drains: Amount,
    /// `lead-time`: how long before `NotBefore` an event is acted on.
    pub lead_time: Duration,
    /// `release-hold`: how long valid polls in a row must have shown no event before a node is given back.
    pub release_hold: Duration,
    /// `release-hold-never-started`: the same for an event that was never seen `Started`.
    pub release_hold_never_started: Duration,
    /// `release-hold-after-boot`: how long the Instance Metadata Service must have been read without a sign
    /// that it began anew (a new probe, another boot, an incarnation that went back).
    pub release_hold_after_boot: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_concurrent_drains: Amount::Percent(10),
            lead_time: Duration::from_mins(30),
            release_hold: Duration::from_secs(10),
            release_hold_never_started: Duration::from_mins(1),
            release_hold_after_boot: Duration::from_mins(5),
        }
    }
}

/// A number of nodes, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Number(usize),
    /// So many of a hundred, rounded down, at least one. 1 to 100.
    Percent(usize),
}

impl Amount {
    /// How many that is of `total` nodes. Never 0.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => total.saturating_mul(percent) / 100,
        }
        .max(1)
    }
}

/// A key that was refused; what it had before stays in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The key.
    pub key: String,
    /// Why, as a sentence.
    pub why: String,
}

impl Config {
    /// Reads the ConfigMap's `data`. A key that isn't there has its default; one that is refused keeps the
    /// value it has in `in_force`.
    #[must_use]
    pub fn read(data: &BTreeMap<String, String>, in_force: &Self) -> (Self, Vec<Refusal>) {
        let mut config = Self::default();
        let mut refusals = Vec::new();
        for (key, value) in data {
            let outcome = match key.as_str() {
                "max-concurrent-drains" => {
                    set(&mut config.max_concurrent_drains, in_force.max_concurrent_drains, amount(value))
                }
                "lead-time" => set(&mut config.lead_time, in_force.lead_time, duration(value)),
                "release-hold" => set(&mut config.release_hold, in_force.release_hold, duration(value)),
                "release-hold-never-started" => set(
                    &mut config.release_hold_never_started,
                    in_force.release_hold_never_started,
                    duration(value),
                ),
                "release-hold-after-boot" => set(
                    &mut config.release_hold_after_boot,
                    in_force.release_hold_after_boot,
                    duration(value),
                ),
                _ => Err("there is no such key".to_owned()),
            };
            if let Err(why) = outcome {
                refusals.push(Refusal { key: key.clone(), why });
            }
        }
        (config, refusals)
    }
}

fn set<T>(field: &mut T, in_force: T, value: Result<T, String>) -> Result<(), String> {
    let (value, outcome) = match value {
        Ok(value) => (value, Ok(())),
        Err(why) => (in_force, Err(why)),
    };
    *field = value;
    outcome
}

fn amount(value: &str) -> Result<Amount, String> {
    let refusal = || format!("`{value}` is neither a whole number from 1 nor a share from 1% to 100%");
    let (digits, percent) = match value.strip_suffix('%') {
        Some(digits) => (digits, true),
        None => (value, false),
    };
    match (digits.parse(), percent) {
        (Ok(number @ 1..), false) => Ok(Amount::Number(number)),
        (Ok(number @ 1..=100), true) => Ok(Amount::Percent(number)),
        _ => Err(refusal()),
    }
}

/// The longest duration that makes sense anywhere here; more is a slip of the pen.
const LONGEST: Duration = Duration::from_hours(14 * 24);

fn duration(value: &str) -> Result<Duration, String> {
    value
        .parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| format!("`{value}` is no duration from 0s to 14 days, such as 45s, 10m or 1h30m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_key_is_read() {
        let (config, refusals) = Config::read(
            &data(&[
                ("max-concurrent-drains", "25%"),
                ("lead-time", "1h30m"),
                ("release-hold", "3s"),
                ("release-hold-never-started", "5s"),
                ("release-hold-after-boot", "8s"),
            ]),
            &Config::default(),
        );
        assert_eq!(refusals, []);
        assert_eq!(
            config,
            Config {
                max_concurrent_drains: Amount::Percent(25),
                lead_time: Duration::from_mins(90),
                release_hold: Duration::from_secs(3),
                release_hold_never_started: Duration::from_secs(5),
                release_hold_after_boot: Duration::from_secs(8),
            }
        );
    }

    #[test]
    fn a_bad_value_keeps_what_was_in_force_and_hurts_no_other_key() {
        let in_force = Config { max_concurrent_drains: Amount::Number(4), ..Config::default() };
        for bad in ["0", "-1", "0%", "101%", "two", "", "1.5", "99999999999999999999999"] {
            let (config, refusals) =
                Config::read(&data(&[("max-concurrent-drains", bad), ("lead-time", "10m")]), &in_force);
            assert_eq!(config.max_concurrent_drains, Amount::Number(4), "{bad}");
            assert_eq!(config.lead_time, Duration::from_mins(10), "{bad}");
            assert_eq!(refusals.len(), 1, "{bad}");
        }
        for bad in ["10", "-5s", "999999h", "", "soon"] {
            let (config, refusals) = Config::read(&data(&[("release-hold", bad)]), &in_force);
            assert_eq!((config.release_hold, refusals.len()), (Duration::from_secs(10), 1), "{bad}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_alone_and_a_removed_one_returns_to_its_default() {
        let in_force = Config { max_concurrent_drains: Amount::Number(4), ..Config::default() };
        let (config, refusals) = Config::read(&data(&[("max-drains", "3")]), &in_force);
        assert_eq!(config, Config::default());
        assert_eq!(refusals[0].key, "max-drains");
    }

    #[test]
    fn a_share_is_rounded_down_to_at_least_one() {
        assert_eq!(Amount::Percent(10).of(29), 2);
        assert_eq!(Amount::Percent(10).of(5), 1);
        assert_eq!(Amount::Number(3).of(2), 3);
        assert_eq!(Amount::Percent(50).of(usize::MAX), usize::MAX / 100);
    }
}
