//! Waits until the referee has seen what a script waits for.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;

use super::Actor;
use crate::referee::{Fact, History, Request};
use crate::scenario::action::WaitFor;
use crate::scenario::which::Nodes;

/// What is waited for where the script doesn't say how long.
const USUALLY: Duration = Duration::from_mins(1);

impl Actor<'_> {
    /// Goes on in any case: that something didn't come about is told at the end.
    pub(super) async fn wait_for(&mut self, wait: &WaitFor) -> Result<()> {
        let within = wait.within.map_or(USUALLY, crate::scenario::Time::as_written);
        if let Some(fault) = &wait.fault {
            let met = match self.faults.handle(fault) {
                Some(handle) => handle.hit(within).await.is_ok(),
                None => false,
            };
            if !met {
                self.missing.push(format!("the fault {fault} met no request within {} s", within.as_secs()));
            }
            return Ok(());
        }
        let sights: [(&Option<Nodes>, &str, Sight); 4] = [
            (&wait.held, "not all are held", all_held),
            (&wait.evicting, "no eviction was accepted", eviction_accepted),
            (&wait.refused, "no eviction was refused by a budget", eviction_refused),
            (&wait.given_back, "not all are given back", all_given_back),
        ];
        for (nodes, otherwise, sight) in sights {
            let Some(nodes) = nodes else { continue };
            let names: Vec<String> = self.nodes(nodes).await?.into_iter().map(|node| node.name).collect();
            let seen = |history: &History| sight(history, &names).then_some(());
            if self.world.referee.see("what the script waits for", within, seen).await.is_err() {
                self.missing.push(format!("{nodes}: {otherwise} within {} s", within.as_secs()));
            }
        }
        Ok(())
    }
}

type Sight = fn(&History, &[String]) -> bool;

fn all_held(history: &History, nodes: &[String]) -> bool {
    nodes.iter().all(|node| last_held(history, node) == Some(true))
}

fn all_given_back(history: &History, nodes: &[String]) -> bool {
    nodes.iter().all(|node| last_held(history, node) == Some(false) && history.was_held(node))
}

fn last_held(history: &History, node: &str) -> Option<bool> {
    history.records.iter().rev().find_map(|record| match &record.fact {
        Fact::Node(seen) if seen.name == node => Some(seen.held()),
        _ => None,
    })
}

fn eviction_accepted(history: &History, nodes: &[String]) -> bool {
    eviction(history, nodes, Request::accepted)
}

fn eviction_refused(history: &History, nodes: &[String]) -> bool {
    eviction(history, nodes, |request| request.code == 429)
}

fn eviction(history: &History, nodes: &[String], answered: impl Fn(&Request) -> bool) -> bool {
    let mut there: BTreeSet<&str> = BTreeSet::new();
    history.records.iter().any(|record| match &record.fact {
        Fact::Pod(seen) => {
            if seen.node.as_ref().is_some_and(|node| nodes.contains(node)) {
                there.insert(&seen.uid);
            }
            false
        }
        Fact::Request(request) => {
            request.is_eviction()
                && answered(request)
                && request.uid_precondition().is_some_and(|uid| there.contains(uid))
        }
        _ => false,
    })
}
