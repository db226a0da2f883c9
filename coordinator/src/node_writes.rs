//! The only code that patches Nodes: one compare-and-swap for claim, phase and release.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use mechanic_plan::{CLAIM_ANNOTATION, CORDONED_LABEL, ClaimError, ClaimPhase, NodeWrite, Pending};
use serde_json::{Value, json};
use thiserror::Error;

use crate::gate::{Gate, Intent, WriteError};

/// Who the API server's managed fields say it was.
pub(crate) const FIELD_MANAGER: &str = "mechanic-coordinator";

/// Writes on Nodes.
#[derive(Clone)]
pub(crate) struct NodeWrites {
    nodes: Api<Node>,
    gate: Gate,
}

/// A Node was not written.
#[derive(Debug, Error)]
pub(crate) enum NodeWriteError {
    /// The claim can't be written; nothing was sent.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The Node has changed meanwhile; it is read and decided upon again.
    #[error("the Node has changed meanwhile")]
    Stale,
    /// The Node is gone.
    #[error("the Node is gone")]
    Gone,
    /// Anything else.
    #[error(transparent)]
    Write(WriteError),
}

impl NodeWrites {
    /// `client` must not retry by itself.
    pub(crate) fn new(client: Client, gate: Gate) -> Self {
        Self { nodes: Api::all(client), gate }
    }

    /// Writes on the Node as it was when that was decided, or not at all; answers with the Node as it is then.
    pub(crate) async fn write(
        &self,
        name: &str,
        node: &mechanic_plan::Node,
        write: &NodeWrite,
    ) -> Result<Node, NodeWriteError> {
        let patch = Patch::Merge(patch(&node.uid, &node.resource_version, write)?);
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let request = self.nodes.patch(name, &parameters, &patch);
        let intent = intent(name, node, write);
        let answer = if is_point_of_no_return(write) {
            self.gate.renew_then_write(intent, request).await
        } else {
            self.gate.write(intent, request).await
        };
        answer.map_err(|error| match error {
            WriteError::Refused(status) if status.code == 409 => NodeWriteError::Stale,
            WriteError::Refused(status) if status.code == 422 && names_uid(&status) => NodeWriteError::Stale,
            WriteError::Refused(status) if status.code == 404 => NodeWriteError::Gone,
            error => NodeWriteError::Write(error),
        })
    }

    /// The Node as it is now, by a list of one: the right to list is there already.
    pub(crate) async fn read(&self, name: &str) -> Result<Option<Node>, String> {
        let parameters = ListParams::default().fields(&format!("metadata.name={name}"));
        match tokio::time::timeout(READ_TIMEOUT, self.nodes.list(&parameters)).await {
            Ok(Ok(nodes)) => Ok(nodes.items.into_iter().next()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it took too long".to_owned()),
        }
    }
}

/// A server that fails must not hold up the node's next decision.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A cordon and a drain's beginning disrupt; all else says how things stand.
fn intent<'a>(name: &'a str, node: &mechanic_plan::Node, write: &NodeWrite) -> Intent<'a> {
    match write {
        NodeWrite::Hold { cordon: true, .. } => Intent::Disrupt(name),
        NodeWrite::Hold { .. } if write.pending(node) == Some(Pending::Drain) => Intent::Disrupt(name),
        NodeWrite::Hold { .. } | NodeWrite::Release { .. } => Intent::Tell,
    }
}

/// Before each drain and each release the Lease is renewed first.
fn is_point_of_no_return(write: &NodeWrite) -> bool {
    match write {
        NodeWrite::Hold { claim, .. } => claim.phase == ClaimPhase::Draining,
        NodeWrite::Release { .. } => true,
    }
}

/// A stale UID is a 422 on that field.
fn names_uid(status: &kube::core::Status) -> bool {
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.field == "metadata.uid")
}

fn patch(uid: &str, resource_version: &str, write: &NodeWrite) -> Result<Value, ClaimError> {
    let mut patch = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "uid": uid, "resourceVersion": resource_version },
    });
    match write {
        NodeWrite::Hold { claim, cordon } => {
            patch["metadata"]["labels"] = json!({ CORDONED_LABEL: "true" });
            patch["metadata"]["annotations"] = json!({ CLAIM_ANNOTATION: claim.to_annotation()? });
            if *cordon {
                patch["spec"] = json!({ "unschedulable": true });
            }
        }
        NodeWrite::Release { uncordon } => {
            patch["metadata"]["labels"] = json!({ CORDONED_LABEL: null });
            patch["metadata"]["annotations"] = json!({ CLAIM_ANNOTATION: null });
            if *uncordon {
                patch["spec"] = json!({ "unschedulable": null });
            }
        }
    }
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use mechanic_plan::Claim;

    use super::*;

    #[test]
    fn c4_edge_37_a_claim_and_its_cordon_are_one_patch_against_one_version_and_uid() {
        let claim = Claim::new("uid", "vm", "boot", 3, false);
        let patch =
            patch("uid", "42", &NodeWrite::Hold { claim: Box::new(claim.clone()), cordon: true }).unwrap();
        assert_eq!(
            patch,
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {
                    "uid": "uid", "resourceVersion": "42",
                    "labels": {"mechanic.cordoned": "true"},
                    "annotations": {"mechanic/claim": claim.to_annotation().unwrap()},
                },
                "spec": {"unschedulable": true},
            })
        );
    }

    #[test]
    fn c5_a_release_takes_off_what_is_ours_and_the_cordon_only_where_it_is_ours() {
        let ours = patch("uid", "42", &NodeWrite::Release { uncordon: true }).unwrap();
        assert_eq!(ours["spec"], json!({"unschedulable": null}));
        assert_eq!(ours["metadata"]["labels"], json!({"mechanic.cordoned": null}));
        assert_eq!(ours["metadata"]["annotations"], json!({"mechanic/claim": null}));
        let foreign = patch("uid", "42", &NodeWrite::Release { uncordon: false }).unwrap();
        assert_eq!(foreign.get("spec"), None);
    }

    #[test]
    fn the_lease_is_renewed_before_a_drain_and_before_a_release() {
        let mut claim = Claim::new("uid", "vm", "boot", 3, false);
        assert!(!is_point_of_no_return(&NodeWrite::Hold { claim: Box::new(claim.clone()), cordon: true }));
        claim.phase = ClaimPhase::Draining;
        assert!(is_point_of_no_return(&NodeWrite::Hold { claim: Box::new(claim), cordon: true }));
        assert!(is_point_of_no_return(&NodeWrite::Release { uncordon: true }));
    }
}
