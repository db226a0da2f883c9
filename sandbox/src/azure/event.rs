//! Scheduled events as Azure writes them, and the document that a placement group's VMs read.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One scheduled event. All words are raw strings, so that a test can announce what Azure hasn't invented yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// An opaque name, a GUID on Azure.
    pub event_id: String,
    /// `Freeze`, `Reboot`, `Redeploy`, `Preempt`, `Terminate`, or anything.
    pub event_type: String,
    /// `VirtualMachine` on Azure.
    pub resource_type: String,
    /// Names of the VMs it hits, not names of nodes.
    pub resources: Vec<String>,
    /// `Scheduled` or `Started` on Azure.
    pub event_status: String,
    /// RFC 1123, or blank once the event has started.
    pub not_before: String,
    /// Free text, may be empty.
    pub description: String,
    /// `Platform` or `User`.
    pub event_source: String,
    /// Seconds of interruption; −1 is unknown, 0 is none.
    pub duration_in_seconds: i64,
}

impl Event {
    /// An event of Azure's own making that starts `notice` from now, with a fresh id and the text that Azure uses for
    /// that type where one is known.
    #[must_use]
    pub fn scheduled<S: Into<String>>(
        event_type: &str,
        resources: impl IntoIterator<Item = S>,
        notice: Duration,
    ) -> Self {
        let (description, source, seconds) = usual_words(event_type);
        Self {
            event_id: new_guid(),
            event_type: event_type.into(),
            resource_type: "VirtualMachine".into(),
            resources: resources.into_iter().map(Into::into).collect(),
            event_status: "Scheduled".into(),
            not_before: rfc1123(Timestamp::now() + notice),
            description: description.into(),
            event_source: source.into(),
            duration_in_seconds: seconds,
        }
    }

    /// The same event in the shape it has after it started.
    #[must_use]
    pub fn started(mut self) -> Self {
        self.event_status = "Started".into();
        self.not_before.clear();
        self
    }

    /// Does it hit the VM of this name? Azure's case isn't reliable and old names carry an underscore.
    #[must_use]
    pub fn hits(&self, vm: &str) -> bool {
        self.resources.iter().any(|resource| same_name(resource, vm))
    }
}

fn same_name(a: &str, b: &str) -> bool {
    fn bare(name: &str) -> &str {
        name.strip_prefix('_').unwrap_or(name)
    }
    bare(a).eq_ignore_ascii_case(bare(b))
}

fn usual_words(event_type: &str) -> (&'static str, &'static str, i64) {
    match event_type {
        "Freeze" => ("Host server is undergoing maintenance.", "Platform", 9),
        "Reboot" => ("Virtual machine is going to be restarted as requested by authorized user.", "User", -1),
        "Redeploy" => ("Virtual machine has encountered a failure.", "Platform", -1),
        _ => ("", "Platform", -1),
    }
}

/// A time as scheduled events write it, for example `Sun, 22 Nov 2026 14:45:10 GMT`.
#[must_use]
pub fn rfc1123(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A random GUID in upper case, as Azure's event ids are.
#[must_use]
pub fn new_guid() -> String {
    let bits: u128 = rand::random();
    // Version 4, variant 1: programs that parse it as a GUID must be content.
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032X}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// What all VMs of one placement group read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Rises whenever the events change; Azure may start it over.
    pub incarnation: u64,
    /// In the order of their announcement.
    pub events: Vec<Event>,
}

impl Default for Document {
    fn default() -> Self {
        Self { incarnation: 1, events: Vec::new() }
    }
}

impl Document {
    /// Runs `change` and raises the incarnation if the events are different afterwards.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut Vec<Event>) -> R) -> R {
        let before = self.events.clone();
        let result = change(&mut self.events);
        if self.events != before {
            self.incarnation += 1;
        }
        result
    }

    /// The JSON that a reader with this api-version gets: older versions lack the newer fields and types.
    #[must_use]
    pub fn render(&self, api_version: &str) -> Value {
        let events: Vec<Value> = self
            .events
            .iter()
            .filter(|event| type_since(&event.event_type) <= api_version)
            .map(|event| render_event(event, api_version))
            .collect();
        json!({ "DocumentIncarnation": self.incarnation, "Events": events })
    }
}

// Dates compare as text.
fn type_since(event_type: &str) -> &'static str {
    match event_type {
        "Preempt" => "2017-11-01",
        "Terminate" => "2019-01-01",
        "SpotRebalanceRecommendation" => "2024-07-09",
        _ => "",
    }
}

fn render_event(event: &Event, api_version: &str) -> Value {
    let newer_fields = BTreeMap::from([
        ("Description", "2019-04-01"),
        ("EventSource", "2019-08-01"),
        ("DurationInSeconds", "2020-07-01"),
    ]);
    let fields = match serde_json::to_value(event) {
        Ok(Value::Object(fields)) => fields,
        // A struct of strings and a number always becomes an object.
        _ => Map::new(),
    };
    fields
        .into_iter()
        .filter(|(field, _)| newer_fields.get(field.as_str()).is_none_or(|since| *since <= api_version))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_azure_writes_them() {
        let time: Timestamp = "2026-11-22T14:45:10Z".parse().unwrap();
        assert_eq!(rfc1123(time), "Sun, 22 Nov 2026 14:45:10 GMT");
        let one_digit_day: Timestamp = "2026-12-01T04:05:06Z".parse().unwrap();
        assert_eq!(rfc1123(one_digit_day), "Tue, 01 Dec 2026 04:05:06 GMT");
    }

    #[test]
    fn guids_have_their_shape_and_differ() {
        let guid = new_guid();
        let lengths: Vec<usize> = guid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&guid[14..15], "4");
        assert_ne!(guid, new_guid());
    }

    #[test]
    fn the_incarnation_rises_with_a_change_and_only_then() {
        let mut document = Document::default();
        let event = Event::scheduled("Reboot", ["vmss_1"], Duration::from_mins(15));
        document.change(|events| events.push(event));
        assert_eq!(document.incarnation, 2);
        document.change(|events| events.retain(|_| true));
        assert_eq!(document.incarnation, 2);
        document.change(Vec::clear);
        assert_eq!(document.incarnation, 3);
    }

    #[test]
    fn an_older_version_lacks_what_came_later() {
        let mut document = Document::default();
        document.change(|events| {
            events.push(Event::scheduled("Reboot", ["vmss_1"], Duration::from_mins(15)));
            events.push(Event::scheduled("Terminate", ["vmss_1"], Duration::from_mins(15)));
        });
        let old = document.render("2017-11-01");
        assert_eq!(old["Events"].as_array().unwrap().len(), 1);
        assert!(old["Events"][0].get("Description").is_none());
        let current = document.render("2020-07-01");
        assert_eq!(current["Events"][1]["EventType"], "Terminate");
        assert_eq!(current["Events"][0]["DurationInSeconds"], -1);
    }

    #[test]
    fn names_match_whole_and_without_case() {
        let event = Event::scheduled("Reboot", ["_AKS-pool-vmss_1"], Duration::ZERO);
        assert!(event.hits("aks-pool-vmss_1"));
        assert!(!event.hits("aks-pool-vmss_10"));
    }
}
