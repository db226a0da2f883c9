//! From a script's words to nodes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};

use super::which::{Nodes, Which};
use crate::nodes::NodeSpec;
use crate::world::World;

/// What the words have meant so far.
#[derive(Debug, Default)]
pub(super) struct Picks {
    names: BTreeMap<String, Vec<NodeSpec>>,
    used: BTreeSet<String>,
}

impl Picks {
    pub(super) fn name(&mut self, name: &str, nodes: Vec<NodeSpec>) {
        self.names.insert(name.to_owned(), nodes);
    }

    /// The nodes that these words mean now, each once.
    pub(super) async fn nodes(&mut self, nodes: &Nodes, world: &World) -> Result<Vec<NodeSpec>> {
        let mut all: Vec<NodeSpec> = Vec::new();
        for which in &nodes.0 {
            for node in self.one(which, world).await? {
                self.used.insert(node.name.clone());
                if !all.iter().any(|known| known.name == node.name) {
                    all.push(node);
                }
            }
        }
        Ok(all)
    }

    /// The same for words that don't depend on what runs where.
    pub(super) fn known(&self, nodes: &Nodes, world: &World) -> Vec<NodeSpec> {
        nodes.0.iter().flat_map(|which| self.fixed(which, world).unwrap_or_default()).collect()
    }

    async fn one(&self, which: &Which, world: &World) -> Result<Vec<NodeSpec>> {
        if let Some(nodes) = self.fixed(which, world) {
            return Ok(nodes);
        }
        let coordinators = world.installation.coordinators();
        let runs_one = |node: &&NodeSpec| coordinators.iter().any(|pod| pod.node == node.name);
        let picked = match which {
            Which::OfTheLeader => {
                let leader = world.leader().await?.node;
                world.nodes.iter().find(|node| node.name == leader)
            }
            Which::OfAFollower => {
                let leader = world.leader().await?.node;
                world.nodes.iter().filter(runs_one).find(|node| node.name != leader)
            }
            Which::WithoutCoordinator(pool) => {
                let fits = |node: &&NodeSpec| pool.as_ref().is_none_or(|pool| node.pool.name == *pool);
                let new = |node: &&NodeSpec| !self.used.contains(&node.name);
                world.nodes.iter().filter(fits).filter(new).find(|node| !runs_one(node))
            }
            Which::Instances { .. } | Which::All(_) | Which::Named(_) => None,
        };
        let picked = picked.cloned().with_context(|| format!("there is no node `{which}` now"))?;
        Ok(vec![picked])
    }

    fn fixed(&self, which: &Which, world: &World) -> Option<Vec<NodeSpec>> {
        let of = |takes: &dyn Fn(&NodeSpec) -> bool| {
            Some(world.nodes.iter().filter(|node| takes(node)).cloned().collect())
        };
        match which {
            Which::Instances { pool, first, last } => {
                of(&|node| node.pool.name == *pool && (*first..=*last).contains(&node.instance))
            }
            Which::All(pool) => of(&|node| node.pool.name == *pool),
            Which::Named(name) => self.names.get(name).cloned(),
            Which::OfTheLeader | Which::OfAFollower | Which::WithoutCoordinator(_) => None,
        }
    }
}

/// All of them in one pool, which is what one event can hit.
pub(super) fn in_one_pool(nodes: &[NodeSpec]) -> Result<()> {
    let pools: BTreeSet<&str> = nodes.iter().map(|node| node.pool.name.as_str()).collect();
    if pools.len() > 1 {
        bail!("an event hits VMs of one pool, not of {pools:?}");
    }
    Ok(())
}
