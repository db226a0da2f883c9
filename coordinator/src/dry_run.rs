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
        let code = decision.reason.code();
        let is_news = self.0.insert(name.to_owned(), code) != Some(code);
        if is_news && decision.phase != Phase::Idle {
            let event = event_ids([node]);
            tracing::info!(node = name, event, epoch, reason = %code, "dry run: {}", decision.reason);
        }
    }
}
