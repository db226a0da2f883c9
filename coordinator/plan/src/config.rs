//! What people tune: the keys of the ConfigMap `mechanic`.

mod log_level;
mod nearest;
#[cfg(test)]
mod tests;
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
    /// Of the ConfigMap; where there is no ConfigMap, its kind and name.
    pub key: String,
    /// For people, with the nearest name that there is and the line of `policy.yaml`; without a full stop, since what
    /// holds follows it.
    pub why: String,
    /// Decided key by key: one slip changes nothing of the others.
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

    /// What is set otherwise than by default, for a log: each key with its value as people write it, and how many rules
    /// `policy.yaml` has.
    #[must_use]
    pub fn in_brief(accepted: &Accepted) -> String {
        let default = Self::default();
        let differing = accepted.iter().filter_map(|(key, text)| {
            let mut alone = Self::default();
            alone.set(key, text).ok().filter(|()| alone != default)?;
            Some(match key.as_str() {
                "policy.yaml" => format!("{key} (rules: {})", alone.policy.count()),
                _ => format!("{key}={}", text.trim()),
            })
        });
        let differing: Vec<String> = differing.collect();
        if differing.is_empty() { "the defaults".to_owned() } else { differing.join("; ") }
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
