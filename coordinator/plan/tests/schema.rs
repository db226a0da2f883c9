//! The schemas in docs/ say of each setting what the coordinator says of it: who edits by them is neither refused nor
//! surprised.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use jsonschema::Validator;
use mechanic_plan::{Accepted, Config, Policy};
use serde_json::{Value, json};

/// What may stand behind a key, right for some and wrong for others.
fn values() -> Vec<Value> {
    let texts = [
        "true",
        "false",
        "yes",
        "",
        " ",
        "0",
        "1",
        "7",
        "007",
        "+1",
        "-1",
        "1.5",
        "0%",
        "1%",
        "10 %",
        "100%",
        "101%",
        "45s",
        "10m",
        "1h30m",
        "90",
        "0s",
        "-5m",
        "5",
        "5 parsecs",
        "13d",
        "15d",
        "PT5M",
        "soon",
        "Preempt",
        "Terminate",
        "Preempt, Terminate",
        "Preempt,Reboot",
        "Freeze",
        "preempt",
        "Drain",
        "Cordon",
        "Tolerate",
        "drain",
        "Evict",
        "Leave",
        "Show",
        "Act",
        "Pool",
        "Zone",
        "debug",
        "info",
        "INFO",
        "loud",
        "a",
        "mechanic.dev/leave-alone",
        "a/b/c",
        "not a label",
    ];
    let mut values: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
    values.extend([
        json!(null),
        json!(0),
        json!(1),
        json!(-1),
        json!(2.5),
        json!(true),
        json!([]),
        json!([""]),
        json!(["a"]),
        json!(["1", "2"]),
        json!(["Freeze", "Reboot"]),
        json!(["Frost"]),
        json!([null]),
        json!({}),
        json!({ "matchLabels": { "app": "web" } }),
        json!({ "matchLabels": {} }),
        json!({ "matchLabels": { "app": 1 } }),
        json!({ "matchLabel": { "app": "web" } }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "Exists" }] }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": ["web"] }] }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "In" }] }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": [] }] }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "Exists", "values": [] }] }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "Exists", "values": ["web"] }] }),
        json!({ "matchExpressions": [] }),
        json!({ "matchLabels": {}, "matchExpressions": [{ "key": "app", "operator": "Exists" }] }),
        json!({ "matchLabels": { "app": "web" }, "matchExpressions": [] }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "Is", "values": ["web"] }] }),
        json!({ "matchExpressions": [{ "operator": "Exists" }] }),
    ]);
    values
}

fn schema(file: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap()
}

/// What only the reader says: how names and durations are spelled, and what makes no sense only taken together.
const BEYOND_A_SCHEMA: [&str; 4] =
    ["is no name that a", "is no key that a label", "is no duration from", "say different things"];

/// What one accepts and the other refuses.
#[derive(Default)]
struct Disputes(Vec<String>);

impl Disputes {
    fn hear(&mut self, what: &str, by_schema: bool, by_reader: Result<(), String>) {
        match (by_schema, by_reader) {
            (true, Err(why)) if !BEYOND_A_SCHEMA.iter().any(|beyond| why.contains(beyond)) => {
                self.0.push(format!("{what}: the schema accepts it, the reader says: {why}"));
            }
            (false, Ok(())) => self.0.push(format!("{what}: the schema refuses it, the reader accepts it")),
            _ => {}
        }
    }

    fn settle(self) {
        assert!(self.0.is_empty(), "{} disputes:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// The same with and without quotes where that makes no difference to the reader.
fn quoted(value: &Value) -> Value {
    match value {
        Value::Bool(_) | Value::Number(_) => json!(value.to_string()),
        Value::Array(values) => values.iter().map(quoted).collect(),
        Value::Object(pairs) => pairs.iter().map(|(key, value)| (key.clone(), quoted(value))).collect(),
        Value::String(_) | Value::Null => value.clone(),
    }
}

fn unquoted(value: &Value) -> Value {
    match value {
        Value::String(text) if text == "true" || text == "false" => json!(text == "true"),
        Value::Array(values) => values.iter().map(unquoted).collect(),
        Value::Object(pairs) => pairs.iter().map(|(key, value)| (key.clone(), unquoted(value))).collect(),
        _ => value.clone(),
    }
}

#[test]
fn of_flat_keys() {
    let schema = schema("config-map.schema.json");
    let validator = validator(&schema);
    let mut disputes = Disputes::default();
    let keys = schema["properties"]["data"]["properties"].as_object().unwrap();
    for key in keys.keys().filter(|key| *key != "policy.yaml") {
        // A ConfigMap holds texts only.
        for value in values().iter().filter_map(Value::as_str) {
            let manifest = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "mechanic" },
                                   "data": { key: value } });
            let data = BTreeMap::from([(key.clone(), value.to_owned())]);
            let (_, _, refusals) = Config::read(&data, &Accepted::new());
            let read = refusals.first().map_or(Ok(()), |refusal| Err(refusal.to_string()));
            disputes.hear(&format!("{key}: {value:?}"), validator.is_valid(&manifest), read);
        }
    }
    disputes.settle();
}

/// Each key of each kind of rule, and of the policy itself, with each value.
#[test]
fn of_rules() {
    let schema = schema("policy.schema.json");
    let validator = validator(&schema);
    let mut disputes = Disputes::default();
    let mut hear = |policy: &Value| {
        let read = Policy::parse(&policy.to_string()).map(drop);
        let by_schema = [policy.clone(), quoted(policy), unquoted(policy)];
        let by_schema = by_schema.iter().any(|policy| validator.is_valid(policy));
        disputes.hear(&policy.to_string(), by_schema, read);
    };
    let rules = [
        ("events", "EventRule", json!({ "respond": "Drain" })),
        ("budgets", "Budget", json!({ "name": "one", "maxCordoned": "1" })),
        ("pods", "PodRule", json!({ "unmanaged": "Leave" })),
    ];
    for (list, name, rule) in rules {
        let keys = schema["$defs"][name]["properties"].as_object().unwrap();
        for key in keys.keys().map(String::as_str).chain(["Respond", "zone"]) {
            for value in values() {
                let mut changed = rule.clone();
                changed[key] = value;
                hear(&json!({ list: [changed] }));
            }
        }
        for key in rule.as_object().unwrap().keys() {
            let mut without = rule.clone();
            without.as_object_mut().unwrap().remove(key);
            hear(&json!({ list: [without] }));
        }
    }
    let keys = schema["$defs"]["Policy"]["properties"].as_object().unwrap();
    for key in keys.keys().map(String::as_str).chain(["event"]) {
        // Nothing behind a list is an empty list to the reader, since whoever comments out its last rule has just that;
        // an editor may well ask for `[]`.
        let values = values().into_iter().filter(|value| !value.is_null());
        values.for_each(|value| hear(&json!({ key: value })));
    }
    disputes.settle();
}

/// What no schema can say, so that only the reader and `check` do.
#[test]
fn of_rules_that_contradict_each_other_only_the_reader_speaks() {
    let validator = validator(&schema("policy.schema.json"));
    for policy in [
        json!({ "events": [{ "respond": "Drain" }, { "respond": "Cordon" }] }),
        json!({ "budgets": [{ "name": "one", "maxCordoned": "1" }, { "name": "one", "maxCordoned": "2" }] }),
    ] {
        assert!(validator.is_valid(&policy), "{policy}");
        assert!(Policy::parse(&policy.to_string()).is_err(), "{policy}");
    }
}
