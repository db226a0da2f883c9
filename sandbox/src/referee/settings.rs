//! What mechanic may do at a time, as the ConfigMap says: read here anew, since the referee believes nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::SignedDuration;

/// The settings that promises depend on. The defaults are the documented ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Nodes that may be drained at once, of all.
    pub max_concurrent_drains: Amount,
    /// The same where VMs are about to be destroyed.
    pub emergency_concurrent_drains: Amount,
    /// Nodes that may be out of use when a drain begins, of all.
    pub max_unavailable_nodes: Amount,
    /// Nodes that may be cordoned for what is to come, of a pool.
    pub max_cordoned: Amount,
    /// No event is acted on longer than this before its `NotBefore`.
    pub lead_time: Duration,
    /// No node is given back sooner than this after its event has vanished,
    pub release_hold: Duration,
    /// where it had never started,
    pub release_hold_never_started: Duration,
    /// where it was a `Terminate` and the VM lives,
    pub release_hold_after_terminate: Duration,
    /// and so long after its VM booted.
    pub release_hold_after_boot: Duration,
    /// Types of events before which pods that a budget holds may be deleted.
    pub last_call: BTreeSet<String>,
    /// Nothing new is begun.
    pub paused: bool,
    /// Nothing is written.
    pub dry_run: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_concurrent_drains: Amount::Percent(10),
            emergency_concurrent_drains: Amount::Percent(50),
            max_unavailable_nodes: Amount::Percent(50),
            max_cordoned: Amount::Percent(50),
            lead_time: Duration::from_mins(10),
            release_hold: Duration::from_secs(10),
            release_hold_never_started: Duration::from_mins(1),
            release_hold_after_terminate: Duration::from_mins(10),
            release_hold_after_boot: Duration::from_mins(5),
            last_call: BTreeSet::new(),
            paused: false,
            dry_run: false,
        }
    }
}

impl Settings {
    /// What the ConfigMap's data say. A key that isn't there is as in `usual`; one that can't be read is as it was
    /// `before`, since a slip of somebody's pen changes nothing.
    pub(super) fn read(data: &BTreeMap<String, String>, usual: &Self, before: &Self) -> Self {
        let mut settings = usual.clone();
        for (key, value) in data {
            match key.as_str() {
                "max-concurrent-drains" => {
                    settings.max_concurrent_drains =
                        Amount::read(value).unwrap_or(before.max_concurrent_drains);
                }
                "emergency-concurrent-drains" => {
                    settings.emergency_concurrent_drains =
                        Amount::read(value).unwrap_or(before.emergency_concurrent_drains);
                }
                "max-unavailable-nodes" => {
                    settings.max_unavailable_nodes =
                        Amount::read(value).unwrap_or(before.max_unavailable_nodes);
                }
                "max-cordoned" => settings.max_cordoned = Amount::read(value).unwrap_or(before.max_cordoned),
                "lead-time" => settings.lead_time = time(value).unwrap_or(before.lead_time),
                "release-hold" => settings.release_hold = time(value).unwrap_or(before.release_hold),
                "release-hold-never-started" => {
                    settings.release_hold_never_started =
                        time(value).unwrap_or(before.release_hold_never_started);
                }
                "release-hold-after-terminate" => {
                    settings.release_hold_after_terminate =
                        time(value).unwrap_or(before.release_hold_after_terminate);
                }
                "release-hold-after-boot" => {
                    settings.release_hold_after_boot = time(value).unwrap_or(before.release_hold_after_boot);
                }
                "last-call" => {
                    settings.last_call = last_call(value).unwrap_or_else(|| before.last_call.clone());
                }
                "paused" => settings.paused = value.parse().unwrap_or(before.paused),
                "dry-run" => settings.dry_run = value.parse().unwrap_or(before.dry_run),
                _ => {}
            }
        }
        settings
    }
}

/// A number of nodes, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Number(usize),
    /// So many of a hundred.
    Percent(usize),
}

impl Amount {
    fn read(text: &str) -> Option<Self> {
        let number = |digits: &str| digits.parse().ok().filter(|number| *number >= 1);
        match text.strip_suffix('%') {
            Some(digits) => number(digits).filter(|share| *share <= 100).map(Self::Percent),
            None => number(text).map(Self::Number),
        }
    }

    /// Shares are rounded down, and at least one is meant.
    pub(super) fn rounded_down(self, total: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Percent(share) => (total * share / 100).max(1),
        }
    }

    /// Shares are rounded up.
    pub(super) fn rounded_up(self, total: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Percent(share) => (total * share).div_ceil(100),
        }
    }
}

/// Types of events that destroy a machine, between commas.
fn last_call(text: &str) -> Option<BTreeSet<String>> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| matches!(word, "Preempt" | "Terminate").then(|| word.to_owned())).collect()
}

fn time(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok().and_then(|time| time.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_key_that_is_missing_has_its_default_and_a_broken_one_stays_as_it_was() {
        let usual = Settings::default();
        let before = Settings { max_concurrent_drains: Amount::Number(3), paused: true, ..usual.clone() };
        let broken = data(&[("max-concurrent-drains", "many"), ("release-hold", "2s")]);
        let settings = Settings::read(&broken, &usual, &before);
        let expected = Settings {
            max_concurrent_drains: Amount::Number(3),
            release_hold: Duration::from_secs(2),
            ..usual.clone()
        };
        assert_eq!(settings, expected);
        let fine = data(&[("max-cordoned", "20%"), ("paused", "true"), ("dry-run", "yes"), ("what", "ever")]);
        let settings = Settings::read(&fine, &usual, &usual);
        assert_eq!(
            (settings.max_cordoned, settings.paused, settings.dry_run),
            (Amount::Percent(20), true, false)
        );
    }

    #[test]
    fn shares_are_rounded_to_what_is_promised() {
        assert_eq!(Amount::Percent(10).rounded_down(29), 2);
        assert_eq!(Amount::Percent(10).rounded_down(5), 1);
        assert_eq!(Amount::Percent(50).rounded_up(5), 3);
        assert_eq!(Amount::Number(2).rounded_up(100), 2);
        assert_eq!([Amount::read("0"), Amount::read("101%"), Amount::read("-1")], [None; 3]);
    }
}
