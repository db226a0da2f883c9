//! `mechanic-coordinator check FILE`: what a coordinator would say of the settings, before it is asked to follow them.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use mechanic_plan::{Accepted, Config, Refusal};
use serde::Deserialize;
use serde_json::Value;

use crate::fleet::SETTINGS;

/// Says what would be refused of the ConfigMap `mechanic`, for a pipeline; ends with 1 where anything would be.
#[derive(Debug, Parser)]
#[command(name = "check")]
pub struct Check {
    /// A manifest with the ConfigMap `mechanic` in it, such as `kubectl kustomize` prints; `-` is standard input.
    file: PathBuf,
}

/// As much of a manifest as says what it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Manifest {
    kind: String,
    metadata: Metadata,
    data: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
}

impl Check {
    /// Prints what would be refused.
    ///
    /// # Errors
    /// Where the file can't be read, or has no such ConfigMap.
    // People and pipelines read it.
    #[allow(clippy::print_stdout)]
    pub fn run(&self) -> Result<ExitCode> {
        let file = self.file.display();
        let text = read(&self.file).with_context(|| format!("{file} can't be read"))?;
        let refusals = judge(&text).with_context(|| format!("{file} can't be checked"))?;
        for Refusal { key, why } in &refusals {
            println!("{file}: {key}: {why}");
        }
        if refusals.is_empty() {
            println!("{file}: everything is accepted");
            return Ok(ExitCode::SUCCESS);
        }
        Ok(ExitCode::FAILURE)
    }
}

fn read(file: &Path) -> io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        return io::stdin().read_to_string(&mut text).map(|_| text);
    }
    std::fs::read_to_string(file)
}

/// What would be refused of the ConfigMap in these manifests.
fn judge(text: &str) -> Result<Vec<Refusal>> {
    let manifests: Vec<Manifest> =
        serde_saphyr::from_multiple(text).map_err(|error| anyhow::anyhow!("{}", error.without_snippet()))?;
    let mut all = manifests.into_iter();
    let ours = all
        .find(|manifest| manifest.kind == "ConfigMap" && manifest.metadata.name == SETTINGS)
        .with_context(|| format!("there is no ConfigMap {SETTINGS} in it"))?;
    let mut data = BTreeMap::new();
    let mut refusals = Vec::new();
    if let Value::Object(pairs) = ours.data {
        for (key, value) in pairs {
            match value {
                Value::String(text) => drop(data.insert(key, text)),
                // The API server would refuse the whole ConfigMap.
                other => {
                    refusals.push(Refusal { key, why: format!("{other} is no text; put it in quotes") });
                }
            }
        }
    }
    refusals.extend(Config::read(&data, &Accepted::new()).2);
    Ok(refusals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_map_is_found_among_other_manifests_and_judged_like_a_coordinator_does() {
        let others = "kind: Secret\ndata: {a: Yg==}\n---\n---\nkind: ConfigMap\nmetadata: {name: other}\ndata: {a: b}\n---\n";
        let installed = include_str!("../../deploy/coordinator/config-map.yaml");
        assert_eq!(judge(&format!("{others}{installed}")).unwrap(), []);
        let typo = installed.replace("max-cordoned:", "max-cordned:").replace("\"10m\"", "ten");
        let keys: Vec<String> =
            judge(&format!("{others}{typo}")).unwrap().into_iter().map(|refusal| refusal.key).collect();
        assert!(keys.contains(&"max-cordned".to_owned()), "{keys:?}");
    }

    #[test]
    fn what_the_api_server_would_refuse_is_said_and_what_is_no_manifest_is_an_error() {
        let config_map =
            |data: &str| format!("kind: ConfigMap\nmetadata: {{name: mechanic}}\ndata: {data}\n");
        let refused = judge(&config_map("{paused: true}")).unwrap();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].why, "true is no text; put it in quotes");
        assert_eq!(judge(&config_map("{}")).unwrap(), []);
        let policy = "{policy.yaml: \"pods:\\n- unmanged: Leave\\n\"}";
        let refused = judge(&config_map(policy)).unwrap();
        assert!(refused[0].why.contains("unmanged") && refused[0].why.contains("line 2"), "{refused:?}");
        for text in ["", "kind: ConfigMap", "a: [", "kind: ConfigMap\nkind: ConfigMap"] {
            assert!(judge(text).is_err(), "{text}");
        }
    }
}
