//! What fuzz targets call: a probe's messages, from their bytes to the plan.

use std::{collections::HashSet, time::Duration};

use jiff::{Timestamp, ToSpan};
use mechanic_plan::{Monotonic, Now, plan};
use mechanic_proto::v1::ReportRequest;
use prost::Message;
use serde_json::json;

use crate::{
    fleet::{FleetState, NodeView, SessionId, Settings},
    intake::session::take_in,
};

/// The Node whose probe speaks.
pub const OWN_NODE: &str = "a";
/// Its machine.
pub const OWN_MACHINE: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm-a";

/// Takes in what the probe of [`OWN_NODE`] says, one encoded message after the other, and plans. Returns the Nodes, of
/// three, on which anything would be written.
#[must_use]
pub fn written_after(messages: &[Vec<u8>]) -> Vec<String> {
    let session = SessionId(1);
    let mut now = Monotonic(Duration::from_hours(1));
    let mut wall = Timestamp::UNIX_EPOCH + 498_000.hours();
    let mut state = FleetState::default();
    state.set_settings(Settings::default());
    for view in [OWN_NODE, "b", "c"].into_iter().filter_map(view) {
        state.apply_node(view, now);
    }
    state.retain_listed(&[OWN_NODE, "b", "c"].map(str::to_owned).into());
    state.begin_session(OWN_NODE, "uid-a", session);
    for message in messages {
        (now, wall) = (Monotonic(now.0 + Duration::from_secs(5)), wall + 5.seconds());
        if let Ok(ReportRequest { message: Some(message) }) = ReportRequest::decode(message.as_slice()) {
            take_in(&mut state, OWN_NODE, session, now, message);
        }
    }
    let snapshot = state.snapshot(1, Monotonic::default(), "");
    let plan = plan(&snapshot, Now { wall, monotonic: now });
    let written: HashSet<String> =
        plan.into_iter().filter(|(_, decision)| decision.write.is_some()).map(|(name, _)| name).collect();
    written.into_iter().collect()
}

/// As the API server would show it.
fn view(name: &str) -> Option<NodeView> {
    let machine = OWN_MACHINE.replace("vm-a", &format!("vm-{name}"));
    let node = json!({
        "metadata": {
            "name": name, "uid": format!("uid-{name}"), "resourceVersion": "1",
            "labels": { "kubernetes.io/os": "linux", "agentpool": "pool" },
        },
        "spec": { "providerID": format!("azure://{machine}") },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    NodeView::of(&serde_json::from_value(node).ok()?)
}
