//! What people decide by rules: the key `policy.yaml` of the ConfigMap `mechanic`. Only what differs from the defaults
//! stands there.

mod budgets;
mod events;
mod labels;
mod nodes;
mod pods;
mod rules;
mod slip;
mod unmatched;

use serde::Deserialize;

pub use budgets::NodeBudget;
use budgets::WrittenBudgets;
pub use events::EventPolicy;
use events::EventRules;
use pods::WrittenPodRules;
pub use pods::{Fate, Fates, PodPolicy, PodRules};
pub use unmatched::UnmatchedRule;

use crate::{claim::OPT_OUT_LABEL, fleet::Node};

/// The rules in force. [`Policy::default`] has none, so everything is as the defaults have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What is done about events.
    pub events: EventPolicy,
    /// Limits for some of the nodes.
    pub budgets: Vec<NodeBudget>,
    /// What becomes of pods that would lose something by leaving.
    pub pods: PodRules,
    opt_out_label: Option<String>,
}

/// `policy.yaml`, as it is written.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Policy"))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    /// What is done about events of nodes, where that isn't as usual.
    #[cfg_attr(test, schemars(with = "Vec<events::WrittenEventRule>"))]
    events: EventRules,
    /// Limits for some of the nodes, beside those of the whole cluster. The tightest counts.
    #[cfg_attr(test, schemars(with = "Vec<budgets::WrittenBudget>"))]
    budgets: WrittenBudgets,
    /// What becomes of pods that would lose something by leaving, where that isn't as usual.
    #[cfg_attr(test, schemars(with = "Vec<pods::WrittenPodRule>"))]
    pods: WrittenPodRules,
    /// A label that opts a node out, beside `mechanic/opt-out`; a value of `false` doesn't.
    #[serde(deserialize_with = "rules::present")]
    opt_out_label: Option<String>,
}

/// The key `policy.yaml`: text, and what stands in it.
#[cfg(test)]
pub(crate) mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    pub(crate) struct Yaml;

    impl JsonSchema for Yaml {
        fn schema_name() -> Cow<'static, str> {
            "Yaml".into()
        }

        fn inline_schema() -> bool {
            true
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let policy = generator.subschema_for::<super::Written>();
            json_schema!({
                "title": "YAML, of the keys below",
                "type": "string",
                "contentMediaType": "application/yaml",
                "contentSchema": policy,
            })
        }
    }
}

/// `yes` is no truth value: the flat keys don't take it either.
fn strictly() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

impl Policy {
    /// Reads `policy.yaml`.
    ///
    /// # Errors
    /// Says in which line what is wrong. Nothing of the text counts then.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written =
            serde_saphyr::from_str_with_options(text, strictly()).map_err(|error| slip::describe(&error))?;
        if let Some(label) = &written.opt_out_label {
            labels::is_label(label, []).map_err(|why| format!("`optOutLabel`: {why}"))?;
        }
        Ok(Self {
            events: EventPolicy::of(written.events)?,
            budgets: budgets::read(written.budgets)?,
            pods: PodRules::of(written.pods)?,
            opt_out_label: written.opt_out_label,
        })
    }

    /// How many rules it has; a budget is one, and so is the label.
    pub(crate) fn count(&self) -> usize {
        self.events.nodes().count()
            + self.budgets.len()
            + self.pods.nodes().count()
            + usize::from(self.opt_out_label.is_some())
    }

    /// The label that opts the node out, where one does: mechanic's own, or the one that people have chosen.
    #[must_use]
    pub fn opted_out_by(&self, node: &Node) -> Option<&str> {
        let is_out = |label: &&String| node.labels.get(*label).is_some_and(|value| value != "false");
        let chosen = || self.opt_out_label.as_ref().filter(is_out).map(String::as_str);
        if node.opted_out { Some(OPT_OUT_LABEL) } else { chosen() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_docs_is_accepted() {
        let docs = include_str!("../../../docs/configuration.md");
        let (_, example) = docs.split_once("```yaml\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let policy = Policy::parse(example).unwrap();
        assert!(policy.opt_out_label.is_some() && !policy.budgets.is_empty());
        assert!(policy.events != EventPolicy::default() && policy.pods != PodRules::default());
    }
}
