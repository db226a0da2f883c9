//! How the fleet stands, as the leader sees it at each decision, and what became of the steps that it has seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use mechanic_plan::{Claim, Config, Coverage, EventType, Fleet, Phase, Plan, ReasonCode, parse_not_before};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use strum::VariantNames;

use super::{Counters, counters, registered};
use crate::outcomes::Outcome;

/// From half a second to an hour and a half.
const SECONDS: [f64; 14] =
    [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 2_400.0, 5_400.0];
/// How much time was left; what is late counts as 0.
const LEFT: [f64; 8] = [0.0, 5.0, 15.0, 30.0, 60.0, 180.0, 420.0, 900.0];
const STEPS: [&str; 5] = ["Cordoned", "DrainStarted", "DrainStopped", "DrainFinished", "Released"];
const PHASES: [&str; 6] = ["idle", "noticed", "cordoned", "draining", "drained", "held"];
const COVERAGE: [&str; 8] =
    ["covered", "disagrees", "unknown", "absent", "mute", "failing", "mismatched", "not_covered"];
const LIMITS: [&str; 3] = ["max-concurrent-drains", "emergency-concurrent-drains", "max-unavailable-nodes"];
const EVICTIONS: [&str; 7] = ["accepted", "budget", "refused", "gone", "overloaded", "unknown", "not_sent"];

const EVENT_TYPES: [EventType; 6] = [
    EventType::Freeze,
    EventType::Reboot,
    EventType::Redeploy,
    EventType::Terminate,
    EventType::Preempt,
    EventType::Unknown,
];

type Ended = Family<[(&'static str, &'static str); 2], Counter>;

/// All of it; clones share what they count.
#[derive(Clone)]
pub(crate) struct FleetMetrics {
    leader: Gauge,
    epoch: Gauge,
    phases: Tally,
    reasons: Tally,
    coverage: Tally,
    pods: Tally,
    limits: Tally,
    steps: Counters,
    evictions: Counters,
    ended: Ended,
    until_cordoned: Histogram,
    until_drained: Histogram,
    left_when_drained: Histogram,
}

impl FleetMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let gauge = |registry: &mut Registry, name, help| registered(registry, name, help, Gauge::default());
        let histogram = |registry: &mut Registry, name, help, buckets: &[f64]| {
            registered(registry, name, help, Histogram::new(buckets.iter().copied()))
        };
        Self {
            leader: gauge(registry, "leader", "Whether this coordinator leads"),
            epoch: gauge(registry, "leader_epoch", "The epoch in which it leads"),
            phases: Tally::register(
                registry,
                "nodes",
                "Nodes by how far mechanic is with them",
                "phase",
                &PHASES,
            ),
            reasons: Tally::register(
                registry,
                "nodes_with_reason",
                "Nodes with something announced or held, by the code of the reason why they are as they are",
                "reason",
                &["WaitingForSlot"],
            ),
            coverage: Tally::register(
                registry,
                "nodes_covered",
                "Nodes by whether their probe is heard",
                "coverage",
                &COVERAGE,
            ),
            pods: Tally::register(
                registry,
                "pods_to_leave",
                "Pods that are to leave their node, by the code of what is done with them",
                "reason",
                &["BlockedByBudget", "BlockedForGood"],
            ),
            limits: Tally::register(
                registry,
                "limit_nodes",
                "What the limits of the settings come to, in nodes",
                "limit",
                &LIMITS,
            ),
            steps: counters(registry, "steps", "Steps taken with nodes", "step", &STEPS),
            evictions: counters(registry, "evictions", "Evictions sent", "result", &EVICTIONS),
            ended: {
                let ended = registered(
                    registry,
                    "events",
                    "Scheduled events that are over, once for each node",
                    Ended::default(),
                );
                for event_type in EVENT_TYPES {
                    for outcome in Outcome::VARIANTS {
                        drop(ended.get_or_create(&labels(event_type, outcome)));
                    }
                }
                ended
            },
            until_cordoned: histogram(
                registry,
                "notice_to_cordon_seconds",
                "From the first sight of an event to the claim on its node",
                &SECONDS,
            ),
            until_drained: histogram(
                registry,
                "notice_to_drained_seconds",
                "From the first sight of an event to the end of its drain",
                &SECONDS,
            ),
            left_when_drained: histogram(
                registry,
                "left_when_drained_seconds",
                "How long before NotBefore a drain has ended",
                &LEFT,
            ),
        }
    }

    /// Called by a leader only, so it says that, too.
    pub(crate) fn show(&self, fleet: &Fleet, plan: &Plan) {
        self.leader.set(1);
        self.epoch.set(fleet.epoch.try_into().unwrap_or(i64::MAX));
        self.phases.show(&count(plan.values().map(|decision| phase(decision.phase))));
        let told = plan.values().filter(|decision| decision.phase != Phase::Idle);
        self.reasons.show(&count(told.map(|decision| decision.reason.code().as_str())));
        self.coverage.show(&count(plan.values().map(|decision| coverage(decision.coverage))));
        let drains = fleet.nodes.values().filter_map(|node| node.drain.as_ref());
        let pods = drains.flat_map(|drain| &drain.pods).filter(|pod| pod.verdict.must_leave());
        self.pods.show(&count(pods.map(|pod| pod.verdict.code().as_str())));
        let Config { max_concurrent_drains, emergency_concurrent_drains, max_unavailable_nodes, .. } =
            fleet.config;
        let limits = [max_concurrent_drains, emergency_concurrent_drains, max_unavailable_nodes];
        let in_nodes = limits.map(|limit| limit.of(fleet.nodes.len()).try_into().unwrap_or(i64::MAX));
        self.limits.show(&LIMITS.into_iter().zip(in_nodes).collect());
    }

    /// This process doesn't lead any more, and knows nothing of the fleet.
    pub(crate) fn show_nothing(&self) {
        self.leader.set(0);
        for tally in [&self.phases, &self.reasons, &self.coverage, &self.pods, &self.limits] {
            tally.show(&BTreeMap::new());
        }
    }

    pub(crate) fn evicted(&self, result: &'static str) {
        self.evictions.get_or_create(&[("result", result)]).inc();
    }

    pub(crate) fn ended(&self, event_type: EventType, outcome: &'static str) {
        self.ended.get_or_create(&labels(event_type, outcome)).inc();
    }

    /// A step that this leader has seen to be taken, with the claim as it stands since.
    pub(crate) fn step(&self, step: ReasonCode, claim: Option<&Claim>, now: Timestamp) {
        self.steps.get_or_create(&[("step", step.into())]).inc();
        let Some(claim) = claim else { return };
        let noticed =
            claim.events.values().filter_map(|event| event.first_seen.parse::<Timestamp>().ok()).min();
        let since_notice = noticed.map(|noticed| now.duration_since(noticed).as_secs_f64().max(0.0));
        match step {
            ReasonCode::Cordoned => {
                observe(&self.until_cordoned, since_notice);
            }
            ReasonCode::DrainFinished => {
                observe(&self.until_drained, since_notice);
                let due = claim.events.values().filter_map(|event| parse_not_before(&event.not_before)).min();
                // A sum that falls is none that Prometheus can work with.
                observe(
                    &self.left_when_drained,
                    due.map(|due| due.duration_since(now).as_secs_f64().max(0.0)),
                );
            }
            _ => {}
        }
    }
}

fn labels(event_type: EventType, outcome: &'static str) -> [(&'static str, &'static str); 2] {
    let event_type = match event_type {
        EventType::Freeze => "Freeze",
        EventType::Reboot => "Reboot",
        EventType::Redeploy => "Redeploy",
        EventType::Terminate => "Terminate",
        EventType::Preempt => "Preempt",
        EventType::Unknown => "other",
    };
    [("type", event_type), ("outcome", outcome)]
}

fn observe(histogram: &Histogram, seconds: Option<f64>) {
    if let Some(seconds) = seconds {
        histogram.observe(seconds);
    }
}

fn count(labels: impl Iterator<Item = &'static str>) -> BTreeMap<&'static str, i64> {
    let mut counts = BTreeMap::new();
    labels.for_each(|label| *counts.entry(label).or_default() += 1);
    counts
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Noticed => "noticed",
        Phase::Cordoned => "cordoned",
        Phase::Draining => "draining",
        Phase::Drained => "drained",
        Phase::Held => "held",
    }
}

fn coverage(coverage: Coverage) -> &'static str {
    match coverage {
        Coverage::Covered => "covered",
        Coverage::Disagrees => "disagrees",
        Coverage::Unknown => "unknown",
        Coverage::Absent => "absent",
        Coverage::Mute => "mute",
        Coverage::Failing => "failing",
        Coverage::Mismatched => "mismatched",
        Coverage::NotCovered => "not_covered",
    }
}

/// Gauges that one label tells apart. What has never occurred is there only where it is named at the start; what no
/// longer does is 0.
#[derive(Clone)]
struct Tally {
    label: &'static str,
    gauges: Family<[(&'static str, &'static str); 1], Gauge>,
    occurred: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Tally {
    fn register(
        registry: &mut Registry,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[&'static str],
    ) -> Self {
        let gauges = registered(registry, name, help, Family::default());
        let occurred = Arc::new(Mutex::new(values.iter().copied().collect()));
        let tally = Self { label, gauges, occurred };
        tally.show(&BTreeMap::new());
        tally
    }

    fn show(&self, counts: &BTreeMap<&'static str, i64>) {
        let mut occurred = self.occurred.lock().unwrap_or_else(PoisonError::into_inner);
        occurred.extend(counts.keys());
        for value in occurred.iter() {
            let count = counts.get(value).copied().unwrap_or_default();
            self.gauges.get_or_create(&[(self.label, *value)]).set(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn what_no_longer_occurs_is_nought_and_what_never_did_is_not_there() {
        let mut registry = Registry::default();
        let tally = Tally::register(&mut registry, "nodes", "Nodes", "phase", &["held"]);
        let text = |registry: &Registry| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
            text
        };
        assert!(text(&registry).contains("nodes{phase=\"held\"} 0") && !text(&registry).contains("idle"));
        tally.show(&count(["idle", "held", "idle"].into_iter()));
        assert!(text(&registry).contains("nodes{phase=\"idle\"} 2"));
        tally.show(&count(["held"].into_iter()));
        assert!(text(&registry).contains("nodes{phase=\"idle\"} 0"));
        assert!(text(&registry).contains("nodes{phase=\"held\"} 1"));
    }

    #[test]
    fn each_phase_and_state_of_coverage_is_there_from_the_start() {
        let of = [Phase::Idle, Phase::Noticed, Phase::Cordoned, Phase::Draining, Phase::Drained, Phase::Held];
        assert_eq!(of.map(phase), PHASES);
        let of = [
            Coverage::Covered,
            Coverage::Disagrees,
            Coverage::Unknown,
            Coverage::Absent,
            Coverage::Mute,
            Coverage::Failing,
            Coverage::Mismatched,
            Coverage::NotCovered,
        ];
        assert_eq!(of.map(coverage), COVERAGE);
    }

    #[test]
    fn a_drain_counts_from_its_first_event_and_against_the_earliest_deadline() {
        let claim = r#"{"v":1,"nodeUID":"n","vmId":"vm","bootId":"b","epoch":7,"wasUnschedulable":false,"phase":"drained",
            "events":{"A":{"type":"Reboot","status":"Scheduled","notBefore":"Thu, 26 Nov 2026 12:10:00 GMT","firstSeen":"2026-11-26T12:00:00Z"},
            "B":{"type":"Reboot","status":"Scheduled","notBefore":"","firstSeen":"2026-11-26T12:01:00Z"}}}"#;
        let claim: Claim = serde_json::from_str(claim).unwrap();
        let metrics = Metrics::new();
        metrics.fleet.step(ReasonCode::DrainFinished, Some(&claim), "2026-11-26T12:02:30Z".parse().unwrap());
        let text = metrics.text().unwrap();
        for sample in [
            "mechanic_notice_to_drained_seconds_sum 150",
            "mechanic_left_when_drained_seconds_sum 450",
            "mechanic_notice_to_cordon_seconds_count 0",
            "mechanic_steps_total{step=\"DrainFinished\"} 1",
        ] {
            assert!(text.contains(sample), "{sample} in {text}");
        }
        metrics.fleet.step(ReasonCode::Released, None, Timestamp::now());
        assert!(metrics.text().unwrap().contains("mechanic_steps_total{step=\"Released\"} 1"));
    }
}
