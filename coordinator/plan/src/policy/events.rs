//! Rules for what is done about events: by event type and node.

use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    nodes::{NodeSelector, Nodes, Pools, Zones},
    rules::{self, KnownEvent, Named, Rule, WrittenRules, Wrong, present, value},
};
use crate::{
    event::{EventType, ScheduledEvent},
    fleet::Node,
    response::{Handling, Response},
};

/// What is done about events, where that differs from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPolicy {
    rules: Vec<EventRule>,
}

pub(super) type EventRules = WrittenRules<WrittenEventRule>;

/// What is done about events of nodes. At least one of `respond`, `toleratedFreeze`, `liveMigration`, `leadTime` and
/// `neighboursWord`; what is absent of them stays as it is.
#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "EventRule", extend("anyOf" = [{"required": ["respond"]}, {"required": ["toleratedFreeze"]}, {"required": ["liveMigration"]}, {"required": ["leadTime"]}, {"required": ["neighboursWord"]}])))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WrittenEventRule {
    /// Types of events. Absent: all.
    #[cfg_attr(test, schemars(extend("minItems" = 1)))]
    #[serde(default, deserialize_with = "present")]
    events: Option<Vec<KnownEvent>>,
    #[serde(default)]
    pools: Pools,
    #[serde(default)]
    zones: Zones,
    #[serde(default)]
    node_selector: NodeSelector,
    /// What is done. Absent: Drain, but Cordon for an event of a type that mechanic doesn't know, which is never drained
    /// for.
    #[serde(default, deserialize_with = "present")]
    respond: Option<WrittenResponse>,
    /// A Freeze that is known to be no longer than this, and is no live migration, is tolerated. Absent: `10s`.
    #[cfg_attr(test, schemars(with = "crate::config::schema::Time"))]
    #[serde(default, deserialize_with = "present")]
    tolerated_freeze: Option<Spanned<String>>,
    /// What is done about a Freeze that is a live migration. Absent: as about another Freeze that isn't tolerated.
    #[serde(default, deserialize_with = "present")]
    live_migration: Option<WrittenResponse>,
    /// How long before its `NotBefore` the event is acted on. Absent: `lead-time` of the ConfigMap.
    #[cfg_attr(test, schemars(with = "crate::config::schema::Time"))]
    #[serde(default, deserialize_with = "present")]
    lead_time: Option<Spanned<String>>,
    /// What is done about an event that only another machine's probe shows, while the node's own is silent. No pod is
    /// moved on another's word, and no limit yields to it. Absent: Show.
    #[serde(default, deserialize_with = "present")]
    neighbours_word: Option<NeighboursWord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum NeighboursWord {
    /// It is shown.
    Show,
    /// No new pods, until no neighbour shows it any more, or the node's own probe says what is so.
    Cordon,
}

#[derive(Clone, Copy, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Response"))]
enum WrittenResponse {
    /// It is shown, and nothing else.
    Tolerate,
    /// No new pods; those that are there stay.
    Cordon,
    /// The pods that can be moved are moved.
    Drain,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct EventRule {
    line: u64,
    events: Named<EventType>,
    nodes: Nodes,
    respond: Option<Response>,
    tolerated_freeze: Option<Duration>,
    live_migration: Option<Response>,
    lead_time: Option<Duration>,
    neighbours_word: Option<NeighboursWord>,
}

impl EventPolicy {
    pub(super) fn of(written: EventRules) -> Result<Self, String> {
        Ok(Self { rules: rules::read(written)? })
    }

    /// For which nodes each rule is, with its line.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (u64, &Nodes)> {
        self.rules.iter().map(|rule| (rule.line, &rule.nodes))
    }

    /// What is done about `event` of `node`.
    #[must_use]
    pub fn response(&self, node: &Node, event: &ScheduledEvent) -> Response {
        let mut handling = Handling::default();
        for rule in self.about(node, event) {
            handling.respond = rule.respond.or(handling.respond);
            handling.tolerated_freeze = rule.tolerated_freeze.unwrap_or(handling.tolerated_freeze);
            handling.live_migration = rule.live_migration.or(handling.live_migration);
        }
        Response::to(event, handling)
    }

    /// The line of a rule that says what is done about `event` of `node`, where one does.
    #[must_use]
    pub fn rule_for(&self, node: &Node, event: &ScheduledEvent) -> Option<u64> {
        let decides = |rule: &&EventRule| {
            rule.respond.is_some()
                || (event.event_type() == EventType::Freeze
                    && (rule.tolerated_freeze.is_some() || rule.live_migration.is_some()))
        };
        self.about(node, event).find(decides).map(|rule| rule.line)
    }

    /// How long before its `NotBefore` the event of the node is acted on, where that isn't as for all.
    #[must_use]
    pub fn lead_time(&self, node: &Node, event: &ScheduledEvent) -> Option<Duration> {
        self.about(node, event).find_map(|rule| rule.lead_time)
    }

    /// Whether `node` is cordoned for an event that only another machine's probe shows.
    #[must_use]
    pub fn trusts_neighbours(&self, node: &Node, event: &ScheduledEvent) -> bool {
        let word = self.about(node, event).find_map(|rule| rule.neighbours_word);
        word == Some(NeighboursWord::Cordon) && self.response(node, event) >= Response::Cordon
    }

    fn about(&self, node: &Node, event: &ScheduledEvent) -> impl Iterator<Item = &EventRule> {
        let event_type = event.event_type();
        self.rules.iter().filter(move |rule| rule.events.contains(&event_type) && rule.nodes.contain(node))
    }
}

impl Rule for EventRule {
    type Written = WrittenEventRule;
    const APART_BY: &'static str = "events, pools, zones or labels";

    fn of(written: WrittenEventRule, line: u64) -> Result<Self, Wrong> {
        let WrittenEventRule {
            events,
            pools,
            zones,
            node_selector,
            respond,
            tolerated_freeze,
            live_migration,
            lead_time,
            neighbours_word,
        } = written;
        let rule = Self {
            line,
            events: Named::of(events)?,
            nodes: Nodes::of(pools, zones, node_selector)?,
            respond: respond.map(Response::from),
            tolerated_freeze: value("toleratedFreeze", tolerated_freeze)?,
            live_migration: live_migration.map(Response::from),
            lead_time: value("leadTime", lead_time)?,
            neighbours_word,
        };
        if rule.says().is_empty() {
            return Err(
                "a rule says nothing: give it `respond`, `toleratedFreeze`, `liveMigration`, `leadTime` or \
                        `neighboursWord`"
                    .to_owned()
                    .into(),
            );
        }
        let about_freezes = rule.tolerated_freeze.is_some() || rule.live_migration.is_some();
        if about_freezes && !rule.events.contains(&EventType::Freeze) {
            return Err(
                "`toleratedFreeze` and `liveMigration` are about Freeze events only, and `events` names none"
                    .to_owned()
                    .into(),
            );
        }
        Ok(rule)
    }

    fn is_apart_from(&self, other: &Self) -> bool {
        self.events.is_apart_from(&other.events) || self.nodes.are_apart_from(&other.nodes)
    }

    fn says(&self) -> Vec<(&'static str, String)> {
        let said = [
            ("respond", self.respond.map(|response| format!("{response:?}"))),
            ("toleratedFreeze", self.tolerated_freeze.map(|duration| format!("{duration:?}"))),
            ("liveMigration", self.live_migration.map(|response| format!("{response:?}"))),
            ("leadTime", self.lead_time.map(|duration| format!("{duration:?}"))),
            ("neighboursWord", self.neighbours_word.map(|word| format!("{word:?}"))),
        ];
        said.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

impl From<WrittenResponse> for Response {
    fn from(written: WrittenResponse) -> Self {
        match written {
            WrittenResponse::Tolerate => Self::Tolerate,
            WrittenResponse::Cordon => Self::Cordon,
            WrittenResponse::Drain => Self::Drain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::Policy,
        testing::{node, node_in as on},
    };

    fn event(event_type: &str, seconds: Option<u64>, description: &str) -> ScheduledEvent {
        let duration = seconds.map(Duration::from_secs);
        ScheduledEvent {
            description: description.into(),
            duration,
            ..crate::testing::event(event_type, "Scheduled", "")
        }
    }

    const MIGRATION: &str = "memory-preserving Live Migration operation";

    #[test]
    fn a_rule_is_for_the_nodes_and_events_that_it_names() {
        let policy = Policy::parse(
            "events:
             - events: [Reboot, Freeze]
               pools: [gpu]
               zones: [westeurope-1, westeurope-2]
               nodeSelector: {matchLabels: {team: vision}}
               respond: Cordon
             - events: [Redeploy]
               respond: Tolerate
               leadTime: 1h",
        )
        .unwrap();
        let vision = [("team", "vision")];
        let gpu = on("gpu", "westeurope-1", &vision);
        let reboot = event("Reboot", None, "");
        for (name, node, event, expected) in [
            ("all of it", &gpu, &reboot, Response::Cordon),
            ("another event", &gpu, &event("Terminate", None, ""), Response::Drain),
            ("another pool", &on("system", "westeurope-1", &vision), &reboot, Response::Drain),
            ("another zone", &on("gpu", "westeurope-3", &vision), &reboot, Response::Drain),
            ("no zone", &node("vm"), &reboot, Response::Drain),
            ("another label", &on("gpu", "westeurope-1", &[("team", "speech")]), &reboot, Response::Drain),
            ("any node", &node("vm"), &event("Redeploy", None, ""), Response::Tolerate),
        ] {
            assert_eq!(policy.events.response(node, event), expected, "{name}");
        }
        assert_eq!(policy.events.rule_for(&gpu, &reboot), Some(2));
        assert_eq!(policy.events.rule_for(&node("vm"), &reboot), None);
        let redeploy = event("Redeploy", None, "");
        assert_eq!(policy.events.rule_for(&gpu, &redeploy), Some(7));
        assert_eq!(policy.events.lead_time(&gpu, &redeploy), Some(Duration::from_hours(1)));
        assert_eq!(policy.events.lead_time(&gpu, &reboot), None);
    }

    #[test]
    fn freezes_are_told_apart_by_how_long_they_last_and_by_what_they_are_for() {
        let policy = Policy::parse(
            "events:
             - {toleratedFreeze: 30s}
             - {events: [Freeze], pools: [batch], liveMigration: Tolerate}
             - {events: [Freeze], pools: [web], liveMigration: Drain, respond: Cordon}
             - {events: [Freeze], pools: [calm], respond: Tolerate}",
        )
        .unwrap();
        let started = |event| ScheduledEvent { status: "Started".into(), ..event };
        for (pool, event, expected) in [
            ("other", event("Freeze", Some(30), ""), Response::Tolerate),
            ("other", event("Freeze", Some(31), ""), Response::Drain),
            ("other", event("Freeze", None, ""), Response::Drain),
            ("other", event("Freeze", Some(5), MIGRATION), Response::Drain),
            ("batch", event("Freeze", Some(5), MIGRATION), Response::Tolerate),
            ("batch", event("Freeze", None, ""), Response::Drain),
            ("web", event("Freeze", None, ""), Response::Cordon),
            ("web", event("Freeze", Some(5), MIGRATION), Response::Drain),
            ("web", started(event("Freeze", Some(5), MIGRATION)), Response::Cordon),
            ("calm", event("Freeze", Some(5), MIGRATION), Response::Tolerate),
            ("calm", event("Reboot", Some(5), ""), Response::Drain),
        ] {
            assert_eq!(policy.events.response(&on(pool, "", &[]), &event), expected, "{pool} {event:?}");
        }
    }

    #[test]
    fn no_rule_moves_pods_for_what_nobody_knows() {
        let always = Policy::parse("events: [{respond: Drain}]").unwrap();
        let never = Policy::parse("events: [{respond: Tolerate}]").unwrap();
        let unknown = event("Rehydrate", None, "");
        assert_eq!(always.events.response(&node("vm"), &unknown), Response::Cordon);
        assert_eq!(never.events.response(&node("vm"), &unknown), Response::Tolerate);
        let advisory = ScheduledEvent { status: "Advisory".into(), ..event("Reboot", None, "") };
        assert_eq!(always.events.response(&node("vm"), &advisory), Response::Show);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (text, parts) in [
            ("events:\n- pools: [a]", &["says nothing", "line 2"] as &[&str]),
            ("events:\n- respond: Drain\n- pools: []\n  respond: Cordon", &["empty list", "line 3"]),
            ("events:\n- pools:\n  respond: Cordon", &["line 2"]),
            ("events:\n- respond: Evict", &["line 2", "Evict", "Tolerate"]),
            ("events:\n- respond: drain", &["line 2", "`drain`", "; `Drain` may be meant"]),
            ("events:\n- nodeSelektor: {}\n  respond: Drain", &["line 2", "; `nodeSelector` may be meant"]),
            ("evnts: []", &["line 1", "; `events` may be meant"]),
            ("events:\n- events: [Restart]\n  respond: Drain", &["line 2", "Restart", "Reboot"]),
            ("events:\n- leadTime: soon", &["`leadTime`", "`soon`", "10m", "line 2"]),
            ("events:\n- events: [Reboot]\n  toleratedFreeze: 1m", &["Freeze events only", "line 2"]),
            ("events:\n- pool: [a]\n  respond: Drain", &["line 2", "`pool`"]),
            (
                "events:\n- respond: Drain\n- pools: [a]\n  respond: Cordon",
                &["line 2", "line 3", "`respond`", "pools, zones"],
            ),
            ("optOutLabel: not a label", &["`optOutLabel`", "not a label"]),
        ] {
            let refusal = Policy::parse(text).unwrap_err();
            assert!(parts.iter().all(|part| refusal.contains(part)), "{text}: {refusal}");
        }
        for apart in [
            "events: [{pools: [a], respond: Drain}, {pools: [b], respond: Cordon}]",
            "events: [{zones: [a], respond: Drain}, {zones: [b], respond: Cordon}]",
            "events: [{respond: Drain}, {pools: [b], leadTime: 5m}]",
        ] {
            assert!(Policy::parse(apart).is_ok(), "{apart}: {:?}", Policy::parse(apart));
        }
    }

    #[test]
    fn a_node_may_be_opted_out_by_a_label_that_people_choose() {
        let policy = Policy::parse("optOutLabel: example.com/leave-alone").unwrap();
        let labelled = |value| on("", "", &[("example.com/leave-alone", value)]);
        let chosen = Some("example.com/leave-alone");
        assert_eq!(
            (policy.opted_out_by(&labelled("")), policy.opted_out_by(&labelled("true"))),
            (chosen, chosen)
        );
        assert_eq!((policy.opted_out_by(&labelled("false")), policy.opted_out_by(&node("vm"))), (None, None));
        let usual = Node { opted_out: true, ..node("vm") };
        assert_eq!(policy.opted_out_by(&usual), Some("mechanic/opt-out"));
        assert_eq!(Policy::default().opted_out_by(&labelled("true")), None);
    }
}
