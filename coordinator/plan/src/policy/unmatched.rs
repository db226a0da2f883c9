//! Rules that name what no present node has: a pool that is empty today, or a slip in its name.

use std::{collections::BTreeSet, fmt};

use super::{Policy, nodes::Nodes};
use crate::{config::may_be_meant, fleet::Node};

/// A rule that names nodes of which none is there. It holds as it stands, since one may come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnmatchedRule {
    /// Its line in `policy.yaml`.
    pub line: u64,
    /// What of it no node has, and what may be meant.
    pub why: String,
}

impl fmt::Display for UnmatchedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, why } = self;
        write!(f, "the rule at line {line} of policy.yaml: {why}")
    }
}

impl Policy {
    /// The rules that name a pool, a zone or labels that none of `nodes` has, in the order of their lines.
    #[must_use]
    pub fn unmatched(&self, nodes: &[&Node]) -> Vec<UnmatchedRule> {
        // Where there is no node at all, no name is more likely a slip than another.
        if nodes.is_empty() {
            return Vec::new();
        }
        let Self { events, budgets, pods, .. } = self;
        let budgets = budgets.iter().map(|budget| (budget.line, &budget.nodes));
        let rules = events.nodes().chain(budgets).chain(pods.nodes());
        let mut unmatched: Vec<_> = rules
            .filter_map(|(line, named)| Some(UnmatchedRule { line, why: missing(named, nodes)? }))
            .collect();
        unmatched.sort();
        unmatched
    }
}

/// What no node has of all that is named.
fn missing(named: &Nodes, nodes: &[&Node]) -> Option<String> {
    let pools = || nodes.iter().map(|node| node.pool.as_str());
    let zones = || nodes.iter().map(|node| node.zone());
    let mut why = Vec::new();
    for name in named.pools.names().filter(|name| !pools().any(|pool| pool == name.as_str())) {
        why.push(format!("no node is in pool `{name}`{}", nearest(name, pools())));
    }
    for name in named.zones.names().filter(|name| !zones().any(|zone| zone == name.as_str())) {
        why.push(format!("no node is in zone `{name}`{}", nearest(name, zones())));
    }
    for (label, values) in named.labels.each() {
        if nodes.iter().any(|node| values.contain(node.labels.get(label))) {
            continue;
        }
        let there = || nodes.iter().filter_map(|node| node.labels.get(label).map(String::as_str));
        why.push(if there().next().is_none() {
            let labels = nodes.iter().flat_map(|node| node.labels.keys().map(String::as_str));
            format!("no node has a label `{label}`{}", nearest(label, labels))
        } else {
            let meant: String = values.named().map(|value| nearest(value, there())).collect();
            format!("the label `{label}` of no node is as the rule asks{meant}")
        });
    }
    if why.is_empty() && !nodes.iter().any(|node| named.contain(node)) {
        why.push("no node is all that it asks for at once".to_owned());
    }
    (!why.is_empty()).then(|| why.join("; "))
}

fn nearest<'a>(name: &str, there: impl Iterator<Item = &'a str>) -> String {
    may_be_meant(name, there.collect::<BTreeSet<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node_in as on;

    fn cluster() -> [Node; 3] {
        [
            on("system", "westeurope-1", &[]),
            on("batch", "westeurope-1", &[("workload", "jobs")]),
            on("web", "westeurope-2", &[("workload", "database")]),
        ]
    }

    fn told(policy: &str) -> Vec<String> {
        let unmatched = Policy::parse(policy).unwrap().unmatched(&cluster().each_ref());
        unmatched.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_no_node_has_is_named_with_what_may_be_meant() {
        for (rule, expected) in [
            ("pools: [btach]", "no node is in pool `btach`; `batch` may be meant"),
            ("pools: [web, gpu]", "no node is in pool `gpu`"),
            ("zones: [westeurope1]", "no node is in zone `westeurope1`; `westeurope-1` may be meant"),
            (
                "nodeSelector: {matchLabels: {worklaod: jobs}}",
                "no node has a label `worklaod`; `workload` may be meant",
            ),
            (
                "nodeSelector: {matchLabels: {workload: databse}}",
                "the label `workload` of no node is as the rule asks; `database` may be meant",
            ),
            (
                "nodeSelector: {matchExpressions: [{key: topology.kubernetes.io/zone, operator: DoesNotExist}]}",
                "the label `topology.kubernetes.io/zone` of no node is as the rule asks",
            ),
            ("pools: [web], zones: [westeurope-1]", "no node is all that it asks for at once"),
            (
                "pools: [gpu], zones: [westeurope-3]",
                "no node is in pool `gpu`; no node is in zone `westeurope-3`; `westeurope-2` may be meant",
            ),
        ] {
            let sentence = format!("the rule at line 3 of policy.yaml: {expected}");
            for policy in [
                format!("# one of each kind\nevents:\n- {{{rule}, respond: Cordon}}"),
                format!("# one of each kind\nbudgets:\n- {{{rule}, name: a, maxCordoned: 1}}"),
                format!("# one of each kind\npods:\n- {{{rule}, unmanaged: Leave}}"),
            ] {
                assert_eq!(told(&policy), [sentence.as_str()], "{policy}");
            }
        }
    }

    #[test]
    fn a_rule_that_has_its_nodes_or_is_for_all_is_not_told() {
        for rule in [
            "events: [{respond: Cordon}]",
            "events: [{pools: [web, batch], zones: [westeurope-2], respond: Cordon}]",
            "budgets: [{name: a, each: Zone, maxCordoned: 1}]",
            "pods: [{nodeSelector: {matchExpressions: [{key: gpu, operator: DoesNotExist}]}, unmanaged: Leave}]",
            "pods: [{nodeSelector: {matchExpressions: [{key: workload, operator: In, values: [jobs, none]}]}, unmanaged: Leave}]",
        ] {
            assert_eq!(told(rule), [""; 0], "{rule}");
        }
    }

    #[test]
    fn rules_are_told_in_the_order_of_their_lines_and_none_where_there_are_no_nodes() {
        let policy = "pods:\n- {pools: [a], unmanaged: Leave}\nevents:\n- {pools: [b], respond: Drain}\n- {pools: [web], respond: Cordon}";
        let policy = Policy::parse(policy).unwrap();
        let lines = |nodes: &[&Node]| policy.unmatched(nodes).iter().map(|rule| rule.line).collect();
        assert_eq!((lines(&cluster().each_ref()), lines(&[])), (vec![2, 4], vec![]));
    }
}
