//! How a scenario's own expectations turned out, beside the referee's promises.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Expectations;
use super::pick::Picks;
use super::which::Nodes;
use crate::nodes::NodeSpec;
use crate::referee::{Fact, History, NodeSeen, Promises, Verdict};
use crate::world::World;

/// Something that must have come about in a run, or must not have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MustHappen {
    /// A PodDisruptionBudget refused an eviction and later allowed it.
    BudgetSaysNoThenYes,
    /// The Lease had more than one holder.
    LeaderChanges,
    /// At some moment so many nodes were drained at once.
    DrainsAtOnce(usize),
    /// mechanic held each of these nodes at some time.
    Held(Nodes),
    /// mechanic never held any of these nodes.
    NotHeld(Nodes),
    /// A pod was evicted from each of these nodes.
    Evicted(Nodes),
    /// No pod was evicted from any of these nodes.
    NotEvicted(Nodes),
}

/// What a played script expects of the world that it leaves.
#[derive(Debug)]
pub struct Outcome {
    must_happen: Vec<(MustHappen, Vec<NodeSpec>)>,
    may_stay_held: BTreeSet<String>,
    workloads_that_may_stay: BTreeSet<String>,
    missing: Vec<String>,
}

impl Outcome {
    pub(super) fn new(expect: &Expectations, picks: &Picks, world: &World, missing: Vec<String>) -> Self {
        let nodes_of = |fact: &MustHappen| match fact {
            MustHappen::Held(nodes)
            | MustHappen::NotHeld(nodes)
            | MustHappen::Evicted(nodes)
            | MustHappen::NotEvicted(nodes) => picks.known(nodes, world),
            MustHappen::BudgetSaysNoThenYes | MustHappen::LeaderChanges | MustHappen::DrainsAtOnce(_) => {
                Vec::new()
            }
        };
        let names = |nodes: Vec<NodeSpec>| nodes.into_iter().map(|node| node.name).collect();
        Self {
            must_happen: expect.must_happen.iter().map(|fact| (fact.clone(), nodes_of(fact))).collect(),
            may_stay_held: names(picks.known(&expect.may_stay_held, world)),
            workloads_that_may_stay: expect.may_stay_on_node.iter().cloned().collect(),
            missing,
        }
    }

    /// What the referee lets pass because the script says so.
    pub fn excuse(&self, promises: &mut Promises) {
        promises.may_stay_held.extend(self.may_stay_held.iter().cloned());
        promises.workloads_that_may_stay.extend(self.workloads_that_may_stay.iter().cloned());
    }

    /// What didn't come about, a sentence each.
    #[must_use]
    pub fn missing(&self, verdict: &Verdict, history: &History) -> Vec<String> {
        let mut missing = self.missing.clone();
        for (fact, nodes) in &self.must_happen {
            let evicted = |node: &NodeSpec| verdict.facts.drains.iter().any(|drain| drain.node == node.name);
            let held = |node: &NodeSpec| history.was_held(&node.name);
            let each = |ought: bool, is: &dyn Fn(&NodeSpec) -> bool| {
                let wrong: Vec<&str> =
                    nodes.iter().filter(|node| is(node) != ought).map(|node| node.name.as_str()).collect();
                (!wrong.is_empty()).then(|| wrong.join(", "))
            };
            missing.extend(match fact {
                MustHappen::BudgetSaysNoThenYes => verdict
                    .facts
                    .refused_then_accepted
                    .is_empty()
                    .then(|| "no PodDisruptionBudget said no to an eviction and yes later".to_owned()),
                MustHappen::LeaderChanges => {
                    let leaders: BTreeSet<&String> = verdict.facts.leaders.iter().collect();
                    (leaders.len() < 2).then(|| "the leader never changed".to_owned())
                }
                MustHappen::DrainsAtOnce(number) => (verdict.facts.most_drains_at_once < *number)
                    .then(|| format!("never were {number} nodes drained at once")),
                MustHappen::Held(_) => each(true, &held).map(|nodes| format!("mechanic never held {nodes}")),
                MustHappen::NotHeld(_) => each(false, &held).map(|nodes| format!("mechanic held {nodes}")),
                MustHappen::Evicted(_) => {
                    each(true, &evicted).map(|nodes| format!("no pod was evicted from {nodes}"))
                }
                MustHappen::NotEvicted(_) => {
                    each(false, &evicted).map(|nodes| format!("pods were evicted from {nodes}"))
                }
            });
        }
        missing
    }

    /// No node that exists carries mechanic's label or claim, except where it may.
    #[must_use]
    pub(super) fn all_given_back(&self, history: &History) -> Option<()> {
        let mut last: BTreeMap<&str, &NodeSeen> = BTreeMap::new();
        for record in &history.records {
            match &record.fact {
                Fact::Node(seen) => drop(last.insert(&seen.name, seen)),
                Fact::NodeGone(name) => drop(last.remove(name.as_str())),
                _ => {}
            }
        }
        last.values().all(|node| !node.held() || self.may_stay_held.contains(&node.name)).then_some(())
    }
}
