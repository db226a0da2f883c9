//! What the leader does about the settings: keeps what is accepted, and tells what is wrong with them.

use std::{
    collections::{BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use mechanic_plan::{Accepted, Fleet as Snapshot, Monotonic, Policy, ReasonCode, Refusal, UnmatchedRule};

use super::{Act, Purpose};
use crate::{
    clock,
    events::{Subject, Telling},
    fleet::{FleetState, SETTINGS, Settings},
};

/// Whether rules have their nodes is looked at after a change of the policy, and so often: to say what a name may be
/// meant to be goes through the labels of all nodes.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What was kept and told last, so that nothing is twice.
#[derive(Default)]
pub(super) struct SettingsTold {
    /// The settings whose keeping was begun last.
    kept: Option<Accepted>,
    refused: Vec<Refusal>,
    /// Where rules are told of, and of which policy they are.
    rules_of: (Option<String>, Arc<Policy>),
    /// By their lines.
    unmatched: BTreeSet<u64>,
    looked_at: Option<Monotonic>,
}

impl SettingsTold {
    /// Those that are to be told now: a rule whose pools empty again and again is told once.
    fn news(&mut self, fleet: &Snapshot, config_map: Option<&str>, now: Monotonic) -> Vec<UnmatchedRule> {
        let rules_of = (config_map.map(str::to_owned), Arc::clone(&fleet.config.policy));
        if self.rules_of != rules_of {
            self.rules_of = rules_of;
            self.unmatched.clear();
            self.looked_at = None;
        }
        if self.looked_at.is_some_and(|at| now.since(at) < LOOK_EVERY) {
            return Vec::new();
        }
        self.looked_at = Some(now);
        let unmatched = fleet.unmatched_rules().into_iter();
        unmatched.filter(|rule| self.unmatched.insert(rule.line)).collect()
    }
}

impl Act {
    pub(super) fn keep_and_tell_settings(&mut self, fleet: &Snapshot) {
        let Settings { accepted, refused, config_map, .. } = self.effects.fleet.read(FleetState::settings);
        self.keep_settings(accepted);
        // In a dry run the log alone tells.
        let config_map = config_map.filter(|_| !fleet.config.dry_run);
        self.tell_refused_settings(refused, config_map.as_deref());
        self.tell_unmatched_rules(fleet, config_map.as_deref());
    }

    /// A next leader must not fall back on older settings than these.
    fn keep_settings(&mut self, accepted: Accepted) {
        if self.settings.kept.as_ref() != Some(&accepted) {
            self.settings.kept = Some(accepted.clone());
            let effects = Arc::clone(&self.effects);
            self.spawn(Purpose::Other, async move { effects.keep(&accepted).await });
        }
    }

    fn tell_refused_settings(&mut self, refused: Vec<Refusal>, config_map: Option<&str>) {
        let Some(uid) = config_map.filter(|_| refused != self.settings.refused) else { return };
        for refusal in &refused {
            let note = format!("{}: {refusal}", refusal.key);
            self.tell_of_settings(uid, ReasonCode::SettingRefused, note);
        }
        self.settings.refused = refused;
    }

    fn tell_unmatched_rules(&mut self, fleet: &Snapshot, config_map: Option<&str>) {
        for rule in self.settings.news(fleet, config_map, clock::monotonic()) {
            tracing::warn!(epoch = fleet.epoch, reason = %ReasonCode::RuleUnmatched, "{rule}");
            if let Some(uid) = config_map {
                self.tell_of_settings(uid, ReasonCode::RuleUnmatched, rule.to_string());
            }
        }
    }

    fn tell_of_settings(&mut self, config_map_uid: &str, code: ReasonCode, note: String) {
        let (effects, uid) = (Arc::clone(&self.effects), config_map_uid.to_owned());
        let telling = of_settings(&uid, code, note);
        self.spawn(Purpose::Other, async move {
            let subject = Subject::ConfigMap { namespace: &effects.namespace, name: SETTINGS, uid: &uid };
            effects.events.publish(subject, telling).await;
        });
    }
}

/// Told once, whichever leader tells it.
fn of_settings(config_map_uid: &str, code: ReasonCode, note: String) -> Telling {
    let mut once = DefaultHasher::new();
    (config_map_uid, &note).hash(&mut once);
    Telling { code, note, warning: true, key: Some(once.finish()), place: String::new() }
}

#[cfg(test)]
mod tests {
    use mechanic_plan::{Config, Node};

    use super::*;
    use crate::testing::node;

    fn fleet(policy: &str, pools: &[&str]) -> Snapshot {
        let node = |pool: &&str| Arc::new(Node { pool: (*pool).to_owned(), ..node() });
        Snapshot {
            config: Config { policy: Policy::parse(policy).unwrap().into(), ..Config::default() },
            epoch: 1,
            nodes: pools.iter().map(|pool| ((*pool).to_owned(), node(pool))).collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_rule_is_told_once_however_often_its_pool_empties_and_anew_for_another_policy_or_place() {
        let mut told = SettingsTold::default();
        let gpu = "events: [{pools: [gpu], respond: Cordon}]";
        let (empty, full) = (fleet(gpu, &["web"]), fleet(gpu, &["gpu", "web"]));
        let both = "events: [{pools: [gpu, cpu], respond: Cordon}]";
        let looks = [
            ("a dry run", &empty, None, 1),
            ("it is over", &empty, Some("u"), 1),
            ("nothing new", &empty, Some("u"), 0),
            ("the pool has nodes", &full, Some("u"), 0),
            ("it is empty again", &empty, Some("u"), 0),
            ("the same, read again", &fleet(gpu, &["web"]), Some("u"), 0),
            ("another rule", &fleet("events: [{pools: [gpu], respond: Drain}]", &["web"]), Some("u"), 1),
            ("no rule", &fleet("", &["web"]), Some("u"), 0),
            ("the first again", &empty, Some("u"), 1),
            ("one of two pools is empty", &fleet(both, &["cpu", "web"]), Some("u"), 1),
            ("now the other", &fleet(both, &["gpu", "web"]), Some("u"), 0),
        ];
        let mut now = Duration::ZERO;
        for (name, fleet, config_map, expected) in looks {
            now += LOOK_EVERY;
            assert_eq!(told.news(fleet, config_map, Monotonic(now)).len(), expected, "{name}");
        }
    }

    #[test]
    fn a_rule_is_looked_at_when_the_policy_changes_and_every_few_seconds() {
        let mut told = SettingsTold::default();
        let gpu = "events: [{pools: [gpu], respond: Cordon}]";
        let mut count = |policy, pools: &[&str], seconds| {
            told.news(&fleet(policy, pools), Some("u"), Monotonic(Duration::from_secs(seconds))).len()
        };
        assert_eq!(count(gpu, &["gpu"], 0), 0);
        assert_eq!(count(gpu, &["web"], 9), 0, "not yet");
        assert_eq!(count(gpu, &["web"], 10), 1);
        assert_eq!(
            count("events: [{pools: [cpu], respond: Cordon}]", &["web"], 11),
            1,
            "a new rule, at once"
        );
    }

    #[test]
    fn what_is_told_of_the_settings_has_one_name_whoever_tells_it() {
        let key = |uid, note: &str| of_settings(uid, ReasonCode::SettingRefused, note.to_owned()).key;
        assert_eq!(key("u", "a"), key("u", "a"));
        assert!(key("u", "a") != key("u", "b") && key("u", "a") != key("other", "a"));
    }
}
