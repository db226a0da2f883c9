//! `mechanic-coordinator check FILE`: what a coordinator would say of the settings, before it is asked to follow them.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use mechanic_plan::{Accepted, Config, Refusal};
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::fleet::SETTINGS;

/// Says what would be refused of the ConfigMap `mechanic`, for a pipeline; ends with 1 where anything would be.
#[derive(Debug, Parser)]
#[command(name = "check")]
pub struct Check {
    /// A manifest with the ConfigMap `mechanic` in it, such as `kubectl kustomize` prints; `-` is standard input.
    file: PathBuf,
}

/// Where the keys of a manifest's data stand.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Places {
    data: BTreeMap<String, Spanned<Value>>,
}

/// Something that would be refused.
#[derive(Debug, PartialEq)]
struct Slip {
    line: Option<u64>,
    key: String,
    why: String,
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
        let slips = judge(&text).with_context(|| format!("{file} can't be checked"))?;
        for Slip { line, key, why } in &slips {
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            println!("{file}{line}: {key}: {why}");
        }
        if slips.is_empty() {
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

/// What would be refused of each ConfigMap of that name in these manifests.
fn judge(text: &str) -> Result<Vec<Slip>> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| anyhow::anyhow!("{}", error.without_snippet()))?;
    // Who lists manifests in one document, as kubectl does, is told no lines.
    let places: Vec<Places> = serde_saphyr::from_multiple(text).unwrap_or_default();
    let mut manifests = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        match document["items"].as_array() {
            Some(items) => manifests.extend(items.iter().map(|item| (item, None))),
            None => manifests.push((document, places.get(index).filter(|_| places.len() == documents.len()))),
        }
    }
    manifests
        .retain(|(manifest, _)| manifest["kind"] == "ConfigMap" && manifest["metadata"]["name"] == SETTINGS);
    if manifests.is_empty() {
        bail!("there is no ConfigMap {SETTINGS} in it");
    }
    Ok(manifests.into_iter().flat_map(|(manifest, places)| judge_one(manifest, places)).collect())
}

fn judge_one(manifest: &Value, places: Option<&Places>) -> Vec<Slip> {
    let line =
        |key: &str| places.and_then(|places| places.data.get(key)).map(|place| place.referenced.line());
    let slip = |key: &str, why: String| Slip { line: line(key), key: key.to_owned(), why };
    let mut slips = Vec::new();
    for key in manifest.as_object().into_iter().flat_map(serde_json::Map::keys) {
        if !["apiVersion", "kind", "metadata", "data", "immutable"].contains(&key.as_str()) {
            slips.push(Slip {
                line: None,
                ..slip(key, "settings stand below `data`, and nowhere else".to_owned())
            });
        }
    }
    let mut data = BTreeMap::new();
    match &manifest["data"] {
        Value::Object(pairs) => {
            for (key, value) in pairs {
                match value {
                    Value::String(text) => drop(data.insert(key.clone(), text.clone())),
                    // The API server would refuse the whole ConfigMap.
                    other => slips.push(slip(key, format!("{other} is no text; put it in quotes"))),
                }
            }
        }
        Value::Null => {}
        _ => slips.push(slip("data", "it holds no keys and values".to_owned())),
    }
    let refused = Config::read(&data, &Accepted::new()).2;
    slips.extend(refused.into_iter().map(|Refusal { key, why, .. }| slip(&key, why)));
    slips
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
        let list = format!(
            "kind: List\nitems:\n- {}",
            installed.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n  ")
        );
        assert_eq!(judge(&list).unwrap(), []);
        // One in each of two namespaces: both count.
        let two = format!("{installed}\n---\n{typo}");
        assert!(judge(&two).unwrap().iter().any(|slip| slip.key == "max-cordned"));
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
        let refused = judge(&config_map("\n  paused: \"false\"\n  lead-time: soon")).unwrap();
        assert_eq!((refused[0].line, refused[0].key.as_str()), (Some(5), "lead-time"));
        let misplaced = "kind: ConfigMap\nmetadata: {name: mechanic}\n";
        for (wrong, key) in
            [("Data: {paused: 'yes'}", "Data"), ("paused: 'true'", "paused"), ("data: [1]", "data")]
        {
            let refused = judge(&format!("{misplaced}{wrong}")).unwrap();
            assert_eq!(refused.iter().map(|slip| slip.key.as_str()).collect::<Vec<_>>(), [key]);
        }
        for text in ["", "kind: ConfigMap", "a: [", "kind: ConfigMap\nkind: ConfigMap"] {
            assert!(judge(text).is_err(), "{text}");
        }
    }
}
