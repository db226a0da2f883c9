//! What people tune: the keys of the ConfigMap `mechanic`.

mod log_level;
mod nearest;
mod value;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

pub use log_level::LogLevel;
pub(crate) use nearest::may_be_meant;
pub use value::Amount;
pub(crate) use value::Value;
#[cfg(test)]
pub(crate) use value::schema;

use crate::{event::EventType, policy::Policy};

/// The settings in force: each is the key of its name, with dashes. [`Config::default`] holds where nothing was ever
/// set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename_all = "kebab-case", deny_unknown_fields, description = "The settings.")
)]
pub struct Config {
    /// No new cordon and no new drain; drains that run stop at the next pod; releases go on.
    #[cfg_attr(test, schemars(with = "schema::Flag"))]
    pub paused: bool,
    /// Everything is decided and shown, and nothing is written to nodes and pods.
    #[cfg_attr(test, schemars(with = "schema::Flag"))]
    pub dry_run: bool,
    /// How long before `NotBefore` an event is acted on.
    #[cfg_attr(test, schemars(with = "schema::Time"))]
    pub lead_time: Duration,
    /// How many nodes of a pool mechanic may hold cordoned at once: a number from 1 or a share, rounded up.
    #[cfg_attr(test, schemars(with = "schema::Share"))]
    pub max_cordoned: Amount,
    /// How many nodes may be drained at once: a number from 1 or a share, rounded down.
    #[cfg_attr(test, schemars(with = "schema::Share"))]
    pub max_concurrent_drains: Amount,
    /// No drain begins where it would leave more nodes than this out of use: a number from 1 or a share, rounded
    /// down.
    #[cfg_attr(test, schemars(with = "schema::Share"))]
    pub max_unavailable_nodes: Amount,
    /// How many nodes may be drained at once where machines are about to be destroyed (Terminate, Preempt): a number
    /// from 1 or a share, rounded down.
    #[cfg_attr(test, schemars(with = "schema::Share"))]
    pub emergency_concurrent_drains: Amount,
    /// For how long none of the pods that must leave a node can, before another gets its slot; the node stays
    /// cordoned.
    #[cfg_attr(test, schemars(with = "schema::Time"))]
    pub set_aside_after: Duration,
    /// Events of these types (Preempt, Terminate), before which pods that a budget holds to the end are deleted with the time
    /// that is left. Needs the rights of `deploy/components/last-call`.
    #[cfg_attr(test, schemars(with = "schema::Destroying"))]
    pub last_call: BTreeSet<EventType>,
    /// How long valid polls in a row must have shown no event before a node is given back.
    #[cfg_attr(test, schemars(with = "schema::Time"))]
    pub release_hold: Duration,
    /// The same for an event that was never seen `Started`.
    #[cfg_attr(test, schemars(with = "schema::Time"))]
    pub release_hold_never_started: Duration,
    /// How long the Instance Metadata Service must have been read without a sign
    /// that it began anew (a new probe, another boot, an incarnation that went back).
    #[cfg_attr(test, schemars(with = "schema::Time"))]
    pub release_hold_after_boot: Duration,
    /// How long a machine must have been alive and its Node Ready after a
    /// Terminate has vanished.
    #[cfg_attr(test, schemars(with = "schema::Time"))]
    pub release_hold_after_terminate: Duration,
    /// How much the coordinators log: error, warn, info, debug or trace. Where it is `info`, `--log` (`MECHANIC_LOG`) may say more or less.
    #[cfg_attr(test, schemars(with = "schema::Level"))]
    pub log_level: LogLevel,
    /// Rules for events, nodes and pods, and budgets for some of the nodes, where the defaults don't fit:
    /// `docs/configuration.md`.
    #[cfg_attr(test, schemars(rename = "policy.yaml", with = "crate::policy::schema::Yaml"))]
    pub policy: Arc<Policy>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            paused: false,
            dry_run: false,
            lead_time: Duration::from_mins(10),
            max_cordoned: Amount::Percent(50),
            max_concurrent_drains: Amount::Percent(10),
            max_unavailable_nodes: Amount::Percent(50),
            emergency_concurrent_drains: Amount::Percent(50),
            set_aside_after: Duration::from_mins(2),
            last_call: BTreeSet::new(),
            release_hold: Duration::from_secs(10),
            release_hold_never_started: Duration::from_mins(1),
            release_hold_after_boot: Duration::from_mins(5),
            release_hold_after_terminate: Duration::from_mins(10),
            log_level: LogLevel::default(),
            policy: Arc::default(),
        }
    }
}

/// The text of the keys that were accepted: what is in force, and what a next leader falls back on.
pub type Accepted = BTreeMap<String, String>;

/// What of the settings is not in force as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The key, or what else is meant.
    pub key: String,
    /// Why, as a sentence.
    pub why: String,
    /// What holds instead.
    pub holds: Holds,
}

/// What holds in place of what was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// What was accepted last.
    Accepted,
    /// The default, since nothing was ever accepted.
    Default,
    /// Nothing: there is no such setting.
    Nothing,
}

/// The sentence, without the key.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, holds, .. } = self;
        let holds = match holds {
            Holds::Accepted => "what was accepted last stays in force",
            Holds::Default => "the default holds, since nothing was ever accepted",
            Holds::Nothing => "it changes nothing",
        };
        write!(f, "{why}; {holds}")
    }
}

/// All keys, in the order of what is installed.
pub(crate) const KEYS: [&str; 15] = [
    "paused",
    "dry-run",
    "lead-time",
    "max-cordoned",
    "max-concurrent-drains",
    "max-unavailable-nodes",
    "emergency-concurrent-drains",
    "set-aside-after",
    "last-call",
    "release-hold",
    "release-hold-never-started",
    "release-hold-after-boot",
    "release-hold-after-terminate",
    "log-level",
    "policy.yaml",
];

impl Config {
    /// Reads the ConfigMap's `data`. A key that isn't there has its default; one that is refused keeps what
    /// was accepted of it last. Returns the settings and the text that they come from.
    #[must_use]
    pub fn read(data: &BTreeMap<String, String>, accepted: &Accepted) -> (Self, Accepted, Vec<Refusal>) {
        let mut config = Self::default();
        let mut in_force = Accepted::new();
        let mut refusals = Vec::new();
        for (key, text) in data {
            let mut candidates = [Some(text), accepted.get(key)].into_iter().flatten();
            let mut refused = None;
            let good = candidates.find(|text| match config.set(key, text) {
                Ok(()) => true,
                Err(why) => {
                    refused.get_or_insert(why);
                    false
                }
            });
            let holds = match good {
                Some(_) => Holds::Accepted,
                None if KEYS.contains(&key.as_str()) => Holds::Default,
                None => Holds::Nothing,
            };
            in_force.extend(good.map(|text| (key.clone(), text.clone())));
            refusals.extend(refused.map(|why| Refusal { key: key.clone(), why, holds }));
        }
        (config, in_force, refusals)
    }

    /// Sets one key, or changes nothing and says why.
    fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
        match key {
            "paused" => self.paused = Value::parse(text)?,
            "dry-run" => self.dry_run = Value::parse(text)?,
            "lead-time" => self.lead_time = Value::parse(text)?,
            "max-cordoned" => self.max_cordoned = Value::parse(text)?,
            "max-concurrent-drains" => self.max_concurrent_drains = Value::parse(text)?,
            "max-unavailable-nodes" => self.max_unavailable_nodes = Value::parse(text)?,
            "emergency-concurrent-drains" => self.emergency_concurrent_drains = Value::parse(text)?,
            "set-aside-after" => self.set_aside_after = Value::parse(text)?,
            "last-call" => self.last_call = Value::parse(text)?,
            "release-hold" => self.release_hold = Value::parse(text)?,
            "release-hold-never-started" => self.release_hold_never_started = Value::parse(text)?,
            "release-hold-after-boot" => self.release_hold_after_boot = Value::parse(text)?,
            "release-hold-after-terminate" => self.release_hold_after_terminate = Value::parse(text)?,
            "log-level" => self.log_level = Value::parse(text)?,
            "policy.yaml" => self.policy = Arc::new(Policy::parse(text)?),
            _ => return Err(nearest::no_such_key(key)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_key_is_read() {
        let text = data(&[
            ("paused", "true"),
            ("dry-run", "true"),
            ("lead-time", "1h30m"),
            ("max-cordoned", "30%"),
            ("max-concurrent-drains", "25%"),
            ("max-unavailable-nodes", "7"),
            ("emergency-concurrent-drains", "40%"),
            ("set-aside-after", "90s"),
            ("last-call", "Preempt, Terminate"),
            ("release-hold", "3s"),
            ("release-hold-never-started", "5s"),
            ("release-hold-after-boot", "8s"),
            ("release-hold-after-terminate", "20m"),
            ("log-level", "debug"),
            ("policy.yaml", "pods: [{unmanaged: Leave}]"),
        ]);
        let (config, accepted, refusals) = Config::read(&text, &Accepted::new());
        assert_eq!(refusals, []);
        assert_eq!(accepted, text);
        assert_eq!(
            config,
            Config {
                paused: true,
                dry_run: true,
                lead_time: Duration::from_mins(90),
                max_cordoned: Amount::Percent(30),
                max_concurrent_drains: Amount::Percent(25),
                max_unavailable_nodes: Amount::Number(7),
                emergency_concurrent_drains: Amount::Percent(40),
                set_aside_after: Duration::from_secs(90),
                last_call: [EventType::Preempt, EventType::Terminate].into(),
                release_hold: Duration::from_secs(3),
                release_hold_never_started: Duration::from_secs(5),
                release_hold_after_boot: Duration::from_secs(8),
                release_hold_after_terminate: Duration::from_mins(20),
                log_level: LogLevel::Debug,
                policy: Arc::new(Policy::parse("pods: [{unmanaged: Leave}]").unwrap()),
            }
        );
    }

    #[derive(serde::Deserialize)]
    struct Installed {
        data: BTreeMap<String, String>,
    }

    #[test]
    fn the_config_map_that_is_installed_sets_every_key_to_its_default() {
        let installed = include_str!("../../../deploy/coordinator/config-map.yaml");
        let installed: Installed = serde_saphyr::from_str(installed).unwrap();
        let (config, _, refusals) = Config::read(&installed.data, &Accepted::new());
        assert_eq!((config, refusals), (Config::default(), vec![]));
        let keys: BTreeSet<&str> = installed.data.keys().map(String::as_str).collect();
        assert_eq!(keys, KEYS.into(), "what is installed names each key");
    }

    #[test]
    fn a_bad_value_keeps_what_was_accepted_and_hurts_no_other_key() {
        let before = data(&[("max-concurrent-drains", "4"), ("dry-run", "true")]);
        for bad in ["0", "-1", "+1", "0%", "101%", "two", "", "1.5", "99999999999999999999999"] {
            let now = data(&[("max-concurrent-drains", bad), ("lead-time", "10m"), ("dry-run", "yes")]);
            let (config, accepted, refusals) = Config::read(&now, &before);
            assert_eq!(config.max_concurrent_drains, Amount::Number(4), "{bad}");
            assert_eq!(config.lead_time, Duration::from_mins(10), "{bad}");
            assert!(config.dry_run, "a slip of the pen ends a dry run");
            assert_eq!(refusals.len(), 2, "{bad}");
            assert_eq!(accepted["max-concurrent-drains"], "4", "{bad}");
            assert!(refusals.iter().all(|refusal| refusal.holds == Holds::Accepted), "{bad}");
            // Whoever reads the same with what is in force now gets the same.
            assert_eq!(Config::read(&now, &accepted).0, config);
        }
    }

    #[test]
    fn a_bad_value_with_nothing_accepted_has_its_default() {
        let (config, accepted, refusals) = Config::read(&data(&[("lead-time", "soon")]), &Accepted::new());
        assert_eq!((config, accepted.len(), refusals.len()), (Config::default(), 0, 1));
        assert_eq!(refusals[0].holds, Holds::Default);
    }

    #[test]
    fn an_unknown_key_is_refused_alone_and_a_removed_one_returns_to_its_default() {
        let before = data(&[("max-concurrent-drains", "4")]);
        let (config, accepted, refusals) = Config::read(&data(&[("max-drains", "3")]), &before);
        assert_eq!((config, accepted), (Config::default(), Accepted::new()));
        assert_eq!((refusals[0].key.as_str(), refusals[0].holds), ("max-drains", Holds::Nothing));
    }
}
