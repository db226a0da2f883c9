//! What Prometheus is told. Names and labels are a public contract, documented in `docs/metrics.md`.

mod fleet;
mod imds;

use std::{fmt, sync::Arc};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Metric, Registry},
};
use strum::VariantNames;

use crate::callers::Refusal;

pub(crate) use fleet::FleetMetrics;
pub(crate) use imds::ImdsMetrics;

/// All of them; clones share what they count.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    pub(crate) fleet: FleetMetrics,
    pub(crate) imds: ImdsMetrics,
    connections: Gauge,
    failed_handshakes: Counters,
    token_reviews: Counters,
    streams: Gauge,
    refused_streams: Counters,
    ended_streams: Counters,
    messages: Counters,
    held_back_messages: Counter,
    refused_calls: Counters,
    refused_settings: Gauge,
    settings_version: Gauge,
    changed_settings: Counter,
}

/// Counters that one label tells apart.
type Counters = Family<[(&'static str, &'static str); 1], Counter>;

/// What the labels can be, so that each is there, as 0, before it first happens.
const FAILED_HANDSHAKES: [&str; 2] = ["tls", "timeout"];
const ENDED_STREAMS: [&str; 6] = ["closed", "replaced", "silent", "too_large", "not_leading", "node_gone"];
const RESULTS: [&str; 3] = ["accepted", "rejected", "failed"];
const KINDS: [&str; 3] = ["hello", "observation", "heartbeat"];

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("mechanic");
        let fleet = FleetMetrics::register(&mut registry);
        let imds = ImdsMetrics::register(&mut registry);
        let mut gauge = |name, help| registered(&mut registry, name, help, Gauge::default());
        let connections = gauge("connections", "Connections to the gRPC port that are open");
        let streams = gauge("probe_streams", "Probes that report now");
        let refused_settings =
            gauge("settings_refused", "Keys of the ConfigMap that are not in force as they stand there");
        let settings_version = gauge("settings_version", "The version of the ConfigMap that was read last");
        let mut counter = |name, help| registered(&mut registry, name, help, Counter::default());
        let held_back_messages = counter(
            "probe_messages_held_back",
            "Messages of probes that had to wait, since their probe sends too many",
        );
        let changed_settings =
            counter("settings_changes", "Versions of the ConfigMap that were read and put in force");
        let mut counters =
            |name, help, label, values: &[&'static str]| counters(&mut registry, name, help, label, values);
        let refusals = Refusal::VARIANTS;
        Self {
            fleet,
            imds,
            connections,
            streams,
            held_back_messages,
            refused_settings,
            settings_version,
            changed_settings,
            failed_handshakes: counters(
                "handshakes_failed",
                "TLS handshakes that failed",
                "reason",
                &FAILED_HANDSHAKES,
            ),
            refused_streams: counters(
                "probe_streams_refused",
                "Probes that were not let in",
                "reason",
                refusals,
            ),
            ended_streams: counters(
                "probe_streams_ended",
                "Probes' streams that have ended",
                "reason",
                &ENDED_STREAMS,
            ),
            refused_calls: counters(
                "fleet_calls_refused",
                "Calls of FleetService not answered",
                "reason",
                refusals,
            ),
            token_reviews: counters(
                "token_reviews",
                "Tokens that the API server was asked about",
                "result",
                &RESULTS,
            ),
            messages: counters("probe_messages", "Messages of probes", "kind", &KINDS),
            registry: Arc::new(registry),
        }
    }

    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Counts a connection until it is dropped.
    pub(crate) fn connection(&self) -> Open {
        Open::new(&self.connections)
    }

    pub(crate) fn handshake_failed(&self, reason: &'static str) {
        self.failed_handshakes.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn token_reviewed<T>(&self, answer: &Result<T, Refusal>) {
        let result = match answer {
            Ok(_) => "accepted",
            Err(Refusal::NotReviewed) => "failed",
            Err(_) => "rejected",
        };
        self.token_reviews.get_or_create(&[("result", result)]).inc();
    }

    /// Counts a probe's stream until it is dropped.
    pub(crate) fn stream(&self) -> Open {
        Open::new(&self.streams)
    }

    pub(crate) fn stream_refused(&self, refusal: &Refusal) {
        self.refused_streams.get_or_create(&[("reason", refusal.into())]).inc();
    }

    pub(crate) fn stream_ended(&self, reason: &'static str) {
        self.ended_streams.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn message(&self, kind: &'static str) {
        self.messages.get_or_create(&[("kind", kind)]).inc();
    }

    pub(crate) fn message_held_back(&self) {
        self.held_back_messages.inc();
    }

    /// `version` is the ConfigMap's, empty where there is none.
    pub(crate) fn settings_changed(&self, version: &str, refused: usize) {
        self.changed_settings.inc();
        self.settings_version.set(version.parse().unwrap_or_default());
        self.refused_settings.set(refused.try_into().unwrap_or(i64::MAX));
    }

    pub(crate) fn call_refused(&self, refusal: &Refusal) {
        self.refused_calls.get_or_create(&[("reason", refusal.into())]).inc();
    }
}

fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn counters(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: &[&'static str],
) -> Counters {
    let counters = registered(registry, name, help, Counters::default());
    for value in values {
        drop(counters.get_or_create(&[(label, value)]));
    }
    counters
}

/// Something that is counted as long as it is there.
pub(crate) struct Open(Gauge);

impl Open {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The first column of the table, in which counters have the `_total` of their samples.
    fn documented() -> BTreeSet<String> {
        let lines = include_str!("../../docs/metrics.md").lines();
        let names = lines.filter_map(|line| line.strip_prefix("| `mechanic_")?.split_once('`'));
        names.map(|(name, _)| format!("mechanic_{name}")).collect()
    }

    #[test]
    fn docs_metrics_md_lists_exactly_the_metrics_there_are() {
        let text = Metrics::new().text().unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let names = types.map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            _ => name.to_owned(),
        });
        assert_eq!(names.collect::<BTreeSet<_>>(), documented());
    }

    #[test]
    fn docs_metrics_md_names_every_value_of_a_label() {
        let docs = include_str!("../../docs/metrics.md");
        let text = Metrics::new().text().unwrap();
        let labelled = text.lines().filter(|line| !line.contains("{le="));
        let values = labelled.flat_map(|line| line.split('"').skip(1).step_by(2));
        for value in values {
            assert!(docs.contains(&format!("`{value}`")), "{value}");
        }
    }

    /// Beside those that are there from the start, each code of a reason may come.
    #[test]
    fn a_coordinator_has_no_more_series_than_docs_metrics_md_says() {
        let text = Metrics::new().text().unwrap();
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        let most = series + mechanic_plan::ReasonCode::VARIANTS.len();
        assert!((200..=300).contains(&most), "{series}, and at most {most}");
    }

    #[test]
    fn what_is_open_counts_until_it_is_dropped() {
        let metrics = Metrics::new();
        let open = metrics.stream();
        assert!(metrics.text().unwrap().contains("mechanic_probe_streams 1"));
        drop(open);
        assert!(metrics.text().unwrap().contains("mechanic_probe_streams 0"));
        metrics.stream_refused(&Refusal::NoToken);
        let text = metrics.text().unwrap();
        assert!(text.contains("mechanic_probe_streams_refused_total{reason=\"no_token\"} 1"), "{text}");
    }
}
