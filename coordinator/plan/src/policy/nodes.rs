//! Which nodes a rule is for: three keys, the same in rules of every kind.

use serde::Deserialize;

use super::{
    labels::{LabelSelector, Labels, is_label_value},
    rules::{Named, present},
};
use crate::fleet::Node;

/// Names of node pools. Absent: all.
#[derive(Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline, extend("minItems" = 1)))]
#[serde(transparent)]
pub(super) struct Pools(#[serde(deserialize_with = "present")] Option<Vec<String>>);

/// Availability zones, as the label `topology.kubernetes.io/zone` names them. Absent: all.
#[derive(Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline, extend("minItems" = 1)))]
#[serde(transparent)]
pub(super) struct Zones(#[serde(deserialize_with = "present")] Option<Vec<String>>);

/// Labels of nodes. Absent: all nodes.
#[derive(Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(transparent)]
pub(super) struct NodeSelector(#[serde(deserialize_with = "present")] Option<LabelSelector>);

/// Which nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Nodes {
    pub(super) pools: Named<String>,
    pub(super) zones: Named<String>,
    pub(super) labels: Labels,
}

impl Nodes {
    pub(super) fn of(pools: Pools, zones: Zones, selector: NodeSelector) -> Result<Self, String> {
        let labels = selector.0.map(Labels::of).transpose()?.unwrap_or_default();
        let nodes = Self { pools: Named::of(pools.0)?, zones: Named::of(zones.0)?, labels };
        let is_wrong = |name: &&String| name.is_empty() || !is_label_value(name);
        if let Some(name) = nodes.pools.names().chain(nodes.zones.names()).find(is_wrong) {
            return Err(format!("`{name}` is no name that a pool or a zone can have"));
        }
        Ok(nodes)
    }

    pub(super) fn contain(&self, node: &Node) -> bool {
        self.pools.contains(node.pool.as_str())
            && self.zones.contains(node.zone())
            && self.labels.match_all(&node.labels)
    }

    pub(super) fn are_apart_from(&self, other: &Self) -> bool {
        self.pools.is_apart_from(&other.pools)
            || self.zones.is_apart_from(&other.zones)
            || self.labels.are_apart(&other.labels)
    }
}
