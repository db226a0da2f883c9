//! Who leads after this process: it looks for another coordinator once its own node is held.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::ListParams};
use mechanic_plan::{Phase, Standby, Succession, succession};
use tokio::sync::watch;

use crate::{drain::is_ready, planner::Decided};

const COORDINATORS: &str = "app.kubernetes.io/name=mechanic-coordinator";
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LIST_TIMEOUT: Duration = Duration::from_secs(3);

/// What this process is, among the coordinators.
#[derive(Clone)]
pub(crate) struct Successors {
    pods: Api<Pod>,
    own_node: String,
    own_uid: String,
}

impl Successors {
    pub(crate) fn new(client: Client, namespace: &str, own_node: &str, own_uid: &str) -> Self {
        Self {
            pods: Api::namespaced(client, namespace),
            own_node: own_node.to_owned(),
            own_uid: own_uid.to_owned(),
        }
    }

    /// Returns when this process should no longer lead, with what to say of it.
    pub(crate) async fn wanted(&self, mut decided: watch::Receiver<Option<Decided>>) -> &'static str {
        // Who was started on a node that is drained already has nothing to end for.
        let mut seen_undrained = false;
        loop {
            let present = decided.borrow_and_update().clone();
            if let Some(Decided { fleet, plan, .. }) = present
                && let Some(own) = plan.get(&self.own_node)
                && own.phase != Phase::Idle
            {
                seen_undrained |= own.phase != Phase::Drained;
                match self.others().await {
                    Ok(others) => match succession(&fleet, &plan, &self.own_node, &others) {
                        Succession::HandOver => {
                            return "its own node is held, and another coordinator can lead";
                        }
                        Succession::End if seen_undrained => {
                            return "its own node is drained but for itself, and there is no other coordinator";
                        }
                        Succession::End | Succession::Stay => {}
                    },
                    Err(error) => {
                        tracing::warn!(error, "the other coordinators can't be listed; it is tried again");
                    }
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn others(&self) -> Result<Vec<Standby>, String> {
        let coordinators = ListParams::default().labels(COORDINATORS);
        let listed = tokio::time::timeout(LIST_TIMEOUT, self.pods.list(&coordinators)).await;
        let pods = listed.map_err(|_| "it took too long".to_owned())?.map_err(|error| error.to_string())?;
        let others = pods.items.into_iter().filter(|pod| {
            pod.uid().is_some_and(|uid| uid != self.own_uid) && pod.metadata.deletion_timestamp.is_none()
        });
        let standby = |pod: Pod| {
            let ready = is_ready(&pod);
            Some(Standby { node: pod.spec?.node_name?, ready })
        };
        Ok(others.filter_map(standby).collect())
    }
}
