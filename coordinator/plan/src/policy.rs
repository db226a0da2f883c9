//! What people decide by rules: the key `policy.yaml` of the ConfigMap `mechanic`. Only what differs from the defaults
//! stands there.

mod labels;
mod pods;

use serde::Deserialize;

use pods::PodRules;
pub use pods::{Fate, Fates, PodPolicy};

/// The rules in force. [`Policy::default`] has none, so everything is as the defaults have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of pods that would lose something by leaving.
    pub pods: PodPolicy,
}

/// `policy.yaml`, as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    pods: PodRules,
}

impl Policy {
    /// Reads `policy.yaml`.
    ///
    /// # Errors
    /// Says in which line what is wrong. Nothing of the text counts then.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written =
            serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
        Ok(Self { pods: PodPolicy::of(written.pods)? })
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
        assert_ne!(Policy::parse(example), Ok(Policy::default()));
        Policy::parse(example).unwrap();
    }
}
