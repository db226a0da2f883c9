//! What is written of the settings is written by their types: a JSON schema, a page for people, and the ConfigMap that is
//! installed. All are committed, and a test says when they are stale.

use std::{env, fmt::Write as _, fs, path::PathBuf};

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::{Accepted, Config, config::KEYS};

const SCHEMA: &str = "config-map.schema.json";
const POLICY_SCHEMA: &str = "policy.schema.json";
const PAGE: &str = "configuration-reference.md";
const INSTALLED: &str = "../deploy/coordinator/config-map.yaml";
/// Of a comment in it, which an editor shows whole beside the key's own indentation.
const WIDTH: usize = 110;

/// The schema of a manifest of the ConfigMap.
fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let data = generator.subschema_for::<Config>().to_value();
    let mut definitions = generator.take_definitions(true);
    // The flat keys stand where they are used.
    let name = data["$ref"].as_str().and_then(|path| path.rsplit('/').next()).unwrap().to_owned();
    let mut data = definitions.remove(&name).unwrap();
    data.as_object_mut().unwrap().remove("required");
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ConfigMap mechanic",
        "type": "object",
        "required": ["kind", "metadata"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": { "const": "v1" },
            "kind": { "const": "ConfigMap" },
            "metadata": {
                "type": "object",
                "required": ["name"],
                "properties": { "name": { "const": "mechanic" } },
            },
            "immutable": { "type": "boolean" },
            "data": data,
        },
        "$defs": definitions,
    });
    without_null(&mut schema);
    schema
}

/// The schema of what stands in `policy.yaml`: few editors look into a text within a text.
fn policy_schema(of_config_map: &Value) -> Value {
    json!({
        "$schema": of_config_map["$schema"],
        "title": "policy.yaml of the ConfigMap mechanic",
        "$ref": "#/$defs/Policy",
        "$defs": of_config_map["$defs"],
    })
}

/// A key with nothing behind it is refused, so null is no value of any.
fn without_null(value: &mut Value) {
    if let Some(kinds) = value.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            value["type"] = kind.clone();
        }
    }
    if let Some(kinds) = value.get_mut("anyOf").and_then(Value::as_array_mut) {
        kinds.retain(|kind| *kind != json!({ "type": "null" }));
        if let [kind] = kinds.as_slice() {
            let only = kind.clone();
            let object = value.as_object_mut().unwrap();
            object.remove("anyOf");
            object.extend(only.as_object().unwrap().clone());
        }
    }
    let object = value.as_object_mut();
    if let Some(object) = object {
        // What is absent is said in words.
        object.remove("default");
        object.values_mut().for_each(without_null);
    } else if let Some(list) = value.as_array_mut() {
        list.iter_mut().for_each(without_null);
    }
}

/// The page of all keys.
fn page(schema: &Value, defaults: &Accepted) -> String {
    let mut page = "# Configuration reference\n\n\
        Made from the types in `coordinator/plan/src`; don't edit it. [configuration.md](configuration.md) says how the\n\
        settings are used, [config-map.schema.json](config-map.schema.json) is the same for editors and pipelines.\n\n\
        ## Keys of the ConfigMap `mechanic`\n\n\
        | key | takes | default | |\n|---|---|---|---|\n"
        .to_owned();
    let flat = &schema["properties"]["data"]["properties"];
    for key in KEYS {
        let default = match defaults[key].as_str() {
            "" => "–".to_owned(),
            text => format!("`{text}`"),
        };
        let property = &flat[key];
        let _ = writeln!(page, "| `{key}` | {} | {default} | {} |", takes(schema, property), words(property));
    }
    let rules = [
        ("`policy.yaml`", "Policy"),
        ("Each of `events`", "EventRule"),
        ("Each of `budgets`", "Budget"),
        ("Each of `pods`", "PodRule"),
        ("`nodeSelector`, `podSelector`", "LabelSelector"),
        ("Each of `matchExpressions`", "Expression"),
    ];
    for (title, name) in rules {
        let object = &schema["$defs"][name];
        let _ = write!(page, "\n## {title}\n\n");
        if name != "Policy" {
            let _ = write!(page, "{}\n\n", words(object));
        }
        page.push_str("| key | takes | |\n|---|---|---|\n");
        let required =
            |key: &str| object["required"].as_array().is_some_and(|keys| keys.iter().any(|of| of == key));
        for (key, property) in object["properties"].as_object().unwrap() {
            let must = if required(key) { " Must be there." } else { "" };
            let _ = writeln!(page, "| `{key}` | {} | {}{must} |", takes(schema, property), words(property));
        }
    }
    let named = [
        ("Event types", "EventType"),
        ("Responses", "Response"),
        ("A neighbour's word", "NeighboursWord"),
        ("Fates of pods", "Fate"),
        ("Counted apart by", "Each"),
        ("Operators", "Operator"),
    ];
    for (title, name) in named {
        let _ = write!(page, "\n## {title}\n\n| | |\n|---|---|\n");
        for variant in schema["$defs"][name]["oneOf"].as_array().unwrap() {
            let _ = writeln!(page, "| {} | {} |", variant["const"].as_str().unwrap(), words(variant));
        }
    }
    page
}

/// What is installed: each key at its default, under what is said of it.
fn config_map(schema: &Value, defaults: &Accepted) -> String {
    let mut text = "\
        # What people tune. Watched by this name and in force without a restart; a key that is removed returns to the value it\n\
        # has here, a bad one is refused alone and keeps what was accepted of it last.\n\
        # Made from the types in coordinator/plan/src, as docs/configuration-reference.md is.\n\
        apiVersion: v1\n\
        kind: ConfigMap\n\
        metadata:\n  name: mechanic\n  labels:\n    app.kubernetes.io/part-of: mechanic\n\
        data:\n"
        .to_owned();
    for key in KEYS {
        let mut line = "  #".to_owned();
        for word in words(&schema["properties"]["data"]["properties"][key]).replace('`', "").split(' ') {
            if line.len() + 1 + word.len() > WIDTH {
                let _ = writeln!(text, "{line}");
                line.truncate("  #".len());
            }
            let _ = write!(line, " {word}");
        }
        let _ = writeln!(text, "{line}\n  {key}: {:?}", defaults[key]);
    }
    text
}

fn words(of: &Value) -> String {
    of["description"]
        .as_str()
        .expect("each key is described")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// What kind of value it is, for a person.
fn takes(schema: &Value, property: &Value) -> String {
    if let Some(title) = property["title"].as_str() {
        return title.to_owned();
    }
    if let Some(name) = property["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return match schema["$defs"][name]["oneOf"].as_array() {
            Some(variants) => {
                variants.iter().filter_map(|variant| variant["const"].as_str()).collect::<Vec<_>>().join(", ")
            }
            None => "see below".to_owned(),
        };
    }
    match property["type"].as_str() {
        Some("array") => format!("list of: {}", takes(schema, &property["items"])),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("object") => "labels and values".to_owned(),
        _ => "a name".to_owned(),
    }
}

#[derive(serde::Deserialize)]
struct Installed {
    data: Accepted,
}

/// What is installed has every key at its default; a test of `config` holds it to that.
fn defaults() -> Accepted {
    let installed: Installed =
        serde_saphyr::from_str(include_str!("../../../deploy/coordinator/config-map.yaml")).unwrap();
    installed.data
}

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

#[test]
fn the_schema_and_the_reference_are_those_of_the_types() {
    let schema = schema();
    let text = |schema: &Value| format!("{}\n", serde_json::to_string_pretty(schema).unwrap());
    let files = [
        (SCHEMA, text(&schema)),
        (POLICY_SCHEMA, text(&policy_schema(&schema))),
        (PAGE, page(&schema, &defaults())),
        (INSTALLED, config_map(&schema, &defaults())),
    ];
    for (file, text) in files {
        let path = docs().join(file);
        if env::var_os("MECHANIC_WRITE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/{file} is stale: MECHANIC_WRITE=1 cargo test -p mechanic-plan reference"
        );
    }
}

#[test]
fn the_schema_has_each_flat_key_and_no_other() {
    let schema = schema();
    let keys = schema["properties"]["data"]["properties"].as_object().unwrap().keys();
    assert_eq!(keys.map(String::as_str).collect::<std::collections::BTreeSet<_>>(), KEYS.into());
}
