//! What acting takes, and the single effects.

use std::{sync::Arc, time::Duration};

use kube::Client;
use mechanic_plan::{Accepted, Node, NodeWrite};

use crate::{
    clock,
    drain::Evictions,
    events::Events,
    fleet::{AcceptedSettings, Fleet, NodeView},
    gate::Gate,
    log::event_ids,
    metrics::FleetMetrics,
    node_writes::{NodeWriteError, NodeWrites},
    outcomes::Ended,
};

/// Before what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is needed to act.
pub(crate) struct Effects {
    pub(crate) fleet: Arc<Fleet>,
    /// The leader's own pod, which no drain evicts.
    pub(crate) leader_pod_uid: String,
    /// For lists and watches of pods.
    pub(crate) reading: Client,
    pub(crate) gate: Gate,
    pub(crate) node_writes: NodeWrites,
    pub(crate) evictions: Evictions,
    pub(crate) events: Events,
    pub(crate) accepted_settings: AcceptedSettings,
    pub(crate) metrics: FleetMetrics,
    /// Of the settings.
    pub(crate) namespace: String,
}

impl Effects {
    pub(super) fn count(&self, ended: &[Ended], epoch: u64) {
        for Ended { node, event_id, event_type, outcome } in ended {
            let outcome = outcome.into();
            self.metrics.ended(*event_type, outcome);
            tracing::info!(node, event = event_id, epoch, outcome, "the event is over for this node");
        }
    }

    /// Writes what was decided on `node` as it was then, or nothing.
    pub(super) async fn write(self: Arc<Self>, name: String, node: Arc<Node>, write: NodeWrite, epoch: u64) {
        let event = || event_ids([&*node]);
        let again_in = match self.node_writes.write(&name, &node, &write).await {
            Ok(written) => {
                if let Some(view) = NodeView::of(&written) {
                    self.fleet.change(|state| state.apply_answer(view, clock::monotonic()));
                }
                return;
            }
            Err(NodeWriteError::Stale | NodeWriteError::Gone) => Duration::from_millis(20),
            Err(NodeWriteError::Write(error)) if error.is_unknown() => {
                tracing::warn!(
                    node = name, event = event(), epoch, %error,
                    "node not written, as far as is known; it is read again"
                );
                self.read_again(&name, &node).await;
                tokio::time::sleep(AGAIN).await;
                return;
            }
            Err(error) => {
                tracing::warn!(
                    node = name, event = event(), epoch, %error,
                    "node not written; it is decided upon again"
                );
                AGAIN
            }
        };
        self.fleet.change(|state| state.write_failed(&name, &node.uid));
        self.read_again(&name, &node).await;
        tokio::time::sleep(again_in).await;
    }

    /// The watch may lag behind or be broken: what was refused must not be tried again on the same view.
    async fn read_again(&self, name: &str, node: &Node) {
        match self.node_writes.read(name).await {
            Ok(read) => self.fleet.take_in(name, &node.uid, read.as_ref()),
            Err(error) => tracing::warn!(node = name, error, "node not read again; the watch will show it"),
        }
    }

    pub(super) async fn keep(&self, accepted: &Accepted) {
        while let Err(error) = self.accepted_settings.keep(&self.gate, accepted).await {
            tracing::warn!(error, "the settings that are accepted are not kept yet; it is tried again");
            tokio::time::sleep(AGAIN).await;
        }
    }
}
