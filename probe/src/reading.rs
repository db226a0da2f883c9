//! What the probe knows at this moment. The newest value is all that anybody needs, so it lives in a watch
//! channel: the poller writes, the uplink reads, and neither ever waits for the other.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    document::Document,
    evidence::{Evidence, Polled},
    failure::{PollFailure, Tally},
    identity::Identity,
    latency::Latencies,
};

/// Where readings are written, and read by whoever subscribes.
pub type Readings = Arc<watch::Sender<Reading>>;

/// What the probe knows.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// On which machine it runs, as far as known.
    pub identity: Identity,
    /// What the polls showed and prove.
    pub evidence: Evidence,
    /// Whether the newest poll failed.
    pub failing: bool,
    /// Failures that no heartbeat has carried yet.
    pub failures: Tally,
    /// How long valid polls took that no heartbeat has carried yet.
    pub latencies: Latencies,
}

impl Reading {
    /// Takes in a valid poll. Returns the document it replaces if something changed; see [`Evidence::valid`].
    pub fn valid(&mut self, document: Document, polled: Polled) -> Option<Option<Arc<Document>>> {
        self.failing = false;
        self.latencies.add(polled.answered.saturating_duration_since(polled.asked));
        self.evidence.valid(document, polled)
    }

    /// Takes in a poll that failed.
    pub fn failed(&mut self, failure: &PollFailure) {
        self.failing = true;
        self.evidence.failed();
        self.failures.add(failure);
    }

    /// Whether the coordinator should hear of this node before others.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.evidence.shown().is_some_and(|shown| shown.document.announces_something())
    }
}
