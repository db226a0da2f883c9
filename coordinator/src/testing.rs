//! What the tests of this crate share.

use std::sync::Arc;

use mechanic_plan::{ClaimOnNode, Monotonic, Node, Readiness};

/// A schedulable node that is Ready, and of which nothing else is known.
pub(crate) fn node() -> Node {
    Node {
        uid: "u".into(),
        resource_version: "1".into(),
        vm: None,
        covered: true,
        pool: String::new(),
        labels: Arc::default(),
        opted_out: false,
        unschedulable: false,
        cordon_owner: None,
        leaving: false,
        shut_down: false,
        readiness: Readiness { ready: true, since: Monotonic::default(), was_before: false },
        vm_event_condition: None,
        claim: ClaimOnNode::None,
        probe: None,
        drain: None,
        pending: None,
    }
}
