//! What a dry run would do, in the log: it writes no Events to look at.

use std::collections::HashMap;

use mechanic_plan::{Decision, Node, Phase, ReasonCode};

use crate::log::event_ids;

/// The reason that was logged last for each node.
#[derive(Default)]
pub(crate) struct DryRun(HashMap<String, ReasonCode>);

impl DryRun {
    /// Forgets nodes that are gone, and all once this is no dry run any more.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| is_there(name));
    }

    /// Logs what is decided for the node, once for as long as it stays the same.
    pub(crate) fn log(&mut self, name: &str, node: &Node, decision: &Decision, epoch: u64) {
        if decision.phase == Phase::Idle {
            self.0.remove(name);
            return;
        }
        let code = decision.reason.code();
        if self.0.get(name) != Some(&code) {
            self.0.insert(name.to_owned(), code);
            let event = event_ids([node]);
            tracing::info!(node = name, event, epoch, reason = %code, "dry run: {}", decision.reason);
        }
    }
}
