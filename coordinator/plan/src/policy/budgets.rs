//! Limits for some of the nodes, beside those of the whole cluster; the tightest counts.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    nodes::{NodeSelector, Nodes, Pools, Zones},
    rules::{WrittenRules, Wrong, present, value},
};
use crate::{config::Amount, fleet::Node};

pub(super) type WrittenBudgets = WrittenRules<WrittenBudget>;

/// A limit for some of the nodes. At least one of `maxCordoned`, `maxConcurrentDrains` and `maxUnavailableNodes`.
#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Budget", extend("anyOf" = [{"required": ["maxCordoned"]}, {"required": ["maxConcurrentDrains"]}, {"required": ["maxUnavailableNodes"]}])))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WrittenBudget {
    /// By which a node that waits for it says so. No two have the same.
    #[cfg_attr(test, schemars(extend("minLength" = 1)))]
    name: String,
    /// Nodes are counted apart by this. Absent: together.
    #[serde(default, deserialize_with = "present")]
    each: Option<Each>,
    #[serde(default)]
    pools: Pools,
    #[serde(default)]
    zones: Zones,
    #[serde(default)]
    node_selector: NodeSelector,
    /// How many of them mechanic may hold cordoned at once; a share is rounded up. Absent: any number.
    #[cfg_attr(test, schemars(with = "crate::config::schema::ShareOrNumber"))]
    #[serde(default, deserialize_with = "present")]
    max_cordoned: Option<Spanned<String>>,
    /// How many of them may be drained at once; a share is rounded down. Absent: any number.
    #[cfg_attr(test, schemars(with = "crate::config::schema::ShareOrNumber"))]
    #[serde(default, deserialize_with = "present")]
    max_concurrent_drains: Option<Spanned<String>>,
    /// No drain begins where it would leave more of them than this out of use; a share is rounded down. Absent: any
    /// number.
    #[cfg_attr(test, schemars(with = "crate::config::schema::ShareOrNumber"))]
    #[serde(default, deserialize_with = "present")]
    max_unavailable_nodes: Option<Spanned<String>>,
}

/// A limit for some nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBudget {
    /// By which reasons name it; no other has it.
    pub name: String,
    pub(super) line: u64,
    pub(super) nodes: Nodes,
    each: Option<Each>,
    /// How many of them mechanic may hold cordoned at once; a share is rounded up.
    pub max_cordoned: Option<Amount>,
    /// How many of them may be drained at once; a share is rounded down.
    pub max_concurrent_drains: Option<Amount>,
    /// No drain begins where it would leave more of them than this out of use; a share is rounded down.
    pub max_unavailable_nodes: Option<Amount>,
}

/// By what nodes are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum Each {
    /// Each node pool has the limit to itself.
    Pool,
    /// Each availability zone has.
    Zone,
}

impl NodeBudget {
    /// What `node` has in common with those that it is counted with; `None` where the budget isn't about it.
    pub(crate) fn in_common<'a>(&self, node: &'a Node) -> Option<&'a str> {
        self.nodes.contain(node).then(|| match self.each {
            None => "",
            Some(Each::Pool) => node.pool.as_str(),
            Some(Each::Zone) => node.zone(),
        })
    }

    /// The end of a sentence about the nodes that `node` is counted with.
    pub(crate) fn group_of(&self, node: &Node) -> String {
        let name = &self.name;
        match self.each {
            None => format!(" of budget {name}"),
            Some(Each::Pool) => format!(" of budget {name} in pool {}", node.pool),
            Some(Each::Zone) => format!(" of budget {name} in zone {}", node.zone()),
        }
    }

    fn of(written: WrittenBudget, line: u64) -> Result<Self, Wrong> {
        let WrittenBudget {
            name,
            each,
            pools,
            zones,
            node_selector,
            max_cordoned,
            max_concurrent_drains,
            max_unavailable_nodes,
        } = written;
        let budget = Self {
            line,
            nodes: Nodes::of(pools, zones, node_selector)?,
            max_cordoned: value("maxCordoned", max_cordoned)?,
            max_concurrent_drains: value("maxConcurrentDrains", max_concurrent_drains)?,
            max_unavailable_nodes: value("maxUnavailableNodes", max_unavailable_nodes)?,
            name,
            each,
        };
        let limits = [budget.max_cordoned, budget.max_concurrent_drains, budget.max_unavailable_nodes];
        if limits.iter().all(Option::is_none) {
            return Err("a budget says nothing: give it `maxCordoned`, `maxConcurrentDrains` or \
                        `maxUnavailableNodes`"
                .to_owned()
                .into());
        }
        Ok(budget)
    }
}

/// Takes the budgets, or says which of them makes no sense.
pub(super) fn read(written: WrittenBudgets) -> Result<Vec<NodeBudget>, String> {
    let mut budgets: Vec<NodeBudget> = Vec::with_capacity(written.len());
    for written in written {
        let line = written.referenced.line();
        let budget = NodeBudget::of(written.value, line).map_err(|wrong| wrong.at(line))?;
        if budget.name.is_empty() || budgets.iter().any(|other| other.name == budget.name) {
            return Err(format!("line {line}: a budget needs a name that no other has"));
        }
        budgets.push(budget);
    }
    Ok(budgets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{policy::Policy, testing::node};

    #[test]
    fn a_number_may_be_written_as_one() {
        let policy = Policy::parse(
            "budgets:
             - {name: gpu, pools: [gpu], maxConcurrentDrains: 2, maxCordoned: 25%}
             - {name: zones, each: Zone, maxUnavailableNodes: '3'}",
        )
        .unwrap();
        let [gpu, zones] = policy.budgets.as_slice() else { panic!("{policy:?}") };
        assert_eq!(
            (gpu.max_concurrent_drains, gpu.max_cordoned),
            (Some(Amount::Number(2)), Some(Amount::Percent(25)))
        );
        assert_eq!(zones.max_unavailable_nodes, Some(Amount::Number(3)));
        let node = |pool: &str| Node { pool: pool.into(), ..node("vm") };
        assert_eq!((gpu.in_common(&node("gpu")), gpu.in_common(&node("web"))), (Some(""), None));
        assert_eq!(zones.in_common(&node("web")), Some(""));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (text, parts) in [
            ("budgets:\n- name: a\n  pools: [a]", &["says nothing", "line 2"] as &[&str]),
            ("budgets:\n- maxCordoned: 1", &["line 2", "name"]),
            ("budgets:\n- {name: a, maxCordoned: 1}\n- {name: a, maxCordoned: 2}", &["line 3", "name"]),
            ("budgets:\n- {name: a, maxCordoned: 0}", &["`maxCordoned`", "`0`", "line 2"]),
            ("budgets:\n- {name: a, each: Node, maxCordoned: 1}", &["line 2", "Node", "Zone"]),
        ] {
            let refusal = Policy::parse(text).unwrap_err();
            assert!(parts.iter().all(|part| refusal.contains(part)), "{text}: {refusal}");
        }
    }
}
