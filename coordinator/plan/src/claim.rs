//! The claim: what mechanic writes on a Node that it holds, and all the state that a next leader needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::event::{EventStatus, EventType, ScheduledEvent};

/// The label of a Node that mechanic holds; its value is `"true"`. A label alone is nobody's claim: other
/// tools use the same one.
pub const CORDONED_LABEL: &str = "mechanic.cordoned";
/// The annotation that holds the claim as JSON.
pub const CLAIM_ANNOTATION: &str = "mechanic/claim";
/// A Node with this label, whatever its value but `"false"`, is neither cordoned nor drained any more.
pub const OPT_OUT_LABEL: &str = "mechanic/opt-out";
/// The largest claim that is read or written, in bytes of JSON.
pub const MAX_CLAIM_BYTES: usize = 8 * 1024;

const VERSION: u64 = 1;

/// What a claim may still grow by without another event: phase, reason, counts.
const ROOM_TO_GO_ON: usize = 256;

/// What mechanic holds a Node for. Fields that this version doesn't know are kept as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Version of this format.
    v: u64,
    /// `metadata.uid` of the Node.
    #[serde(rename = "nodeUID")]
    pub node_uid: String,
    /// `vmId` of the machine that the events were announced for.
    pub vm_id: String,
    /// Boot id of the machine when it was claimed.
    pub boot_id: String,
    /// Wall time of the coordinator when it claimed the Node, RFC 3339; empty in claims of before this field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub claimed_at: String,
    /// Epoch of the leader that wrote last.
    pub epoch: u64,
    /// Where the Node is unschedulable, that is somebody else's doing: it was so before the claim, or somebody
    /// has made it schedulable since. It is drained, but never uncordoned.
    pub was_unschedulable: bool,
    /// How far mechanic is.
    pub phase: ClaimPhase,
    /// Counts the cordons and changes of phase: tells one step from the next, for whoever goes on.
    #[serde(default)]
    pub steps: u32,
    /// Code of the reason that held when this was written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Pods that the drain left on the node, once it is drained.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pods_left: usize,
    /// UID of the coordinator's pod that the drain left on the node, since it led; empty where there was none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub leader_left: String,
    /// Why, by `EventId`.
    pub events: ClaimedEvents,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// The events of a claim by `EventId`.
pub type ClaimedEvents = BTreeMap<String, ClaimedEvent>;

/// One event in a claim; strings as they were received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimedEvent {
    /// `EventType`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The latest `EventStatus` seen.
    pub status: String,
    /// `NotBefore`; kept when it becomes empty as the event starts.
    pub not_before: String,
    /// Wall time of the coordinator when it first saw the event, RFC 3339. For people.
    pub first_seen: String,
    /// The same when it was first seen `Started`; empty before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub started_seen: String,
    /// Boot id of the machine then; empty in claims of before this field.
    #[serde(default)]
    pub boot_id: String,
    /// The same when the node was first drained for it; empty before, and where there was no room for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub drained_at: String,
    /// Somebody made the node schedulable again: nothing more is done for this event.
    #[serde(default, skip_serializing_if = "is_false")]
    pub vetoed: bool,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// How far mechanic is with a Node that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClaimPhase {
    /// Cordoned; nothing is evicted.
    Cordoned,
    /// Pods are being evicted, or evicted pods are still terminating.
    Draining,
    /// No pod is left that could be moved.
    Drained,
}

/// Why a claim can't be used. Such a Node is held as it is and never released.
#[derive(Debug, Error, PartialEq)]
pub enum ClaimError {
    /// Larger than [`MAX_CLAIM_BYTES`].
    #[error("the claim is {0} bytes long, more than {MAX_CLAIM_BYTES}")]
    TooLarge(usize),
    /// Not JSON, fields missing, or a phase of another version.
    #[error("the claim can't be read: {0}")]
    Unreadable(String),
    /// Written by another version of mechanic.
    #[error("the claim has version {0}; this coordinator knows version {VERSION}")]
    UnknownVersion(String),
}

impl Claim {
    /// A first claim on a Node.
    #[must_use]
    pub fn new(node_uid: &str, vm_id: &str, boot_id: &str, epoch: u64, was_unschedulable: bool) -> Self {
        Self {
            v: VERSION,
            claimed_at: String::new(),
            node_uid: node_uid.to_owned(),
            vm_id: vm_id.to_owned(),
            boot_id: boot_id.to_owned(),
            epoch,
            was_unschedulable,
            phase: ClaimPhase::Cordoned,
            steps: 0,
            reason: String::new(),
            pods_left: 0,
            leader_left: String::new(),
            events: ClaimedEvents::new(),
            unknown: Map::new(),
        }
    }

    /// Reads the annotation.
    ///
    /// # Errors
    /// Whatever this version can't understand whole; the caller holds such a Node.
    pub fn parse(annotation: &str) -> Result<Self, ClaimError> {
        if annotation.len() > MAX_CLAIM_BYTES {
            return Err(ClaimError::TooLarge(annotation.len()));
        }
        let value: Value =
            serde_json::from_str(annotation).map_err(|error| ClaimError::Unreadable(error.to_string()))?;
        match value.get("v") {
            Some(v) if v.as_u64() == Some(VERSION) => {}
            Some(v) => return Err(ClaimError::UnknownVersion(v.to_string())),
            None => return Err(ClaimError::Unreadable("it has no `v`".to_owned())),
        }
        serde_json::from_value(value).map_err(|error| ClaimError::Unreadable(error.to_string()))
    }

    /// Writes the annotation.
    ///
    /// # Errors
    /// [`ClaimError::TooLarge`], before anything is sent.
    pub fn to_annotation(&self) -> Result<String, ClaimError> {
        let json = serde_json::to_string(self).map_err(|error| ClaimError::Unreadable(error.to_string()))?;
        if json.len() > MAX_CLAIM_BYTES { Err(ClaimError::TooLarge(json.len())) } else { Ok(json) }
    }

    /// Goes on to another phase.
    pub fn enter(&mut self, phase: ClaimPhase) {
        if self.phase != phase {
            self.phase = phase;
            self.steps = self.steps.saturating_add(1);
        }
    }

    /// Notes an event that is there `now`: adds it, or updates its status and time. Both moments are RFC 3339.
    pub fn note(&mut self, event: &ScheduledEvent, first_seen: &str, now: &str, boot_id: &str) {
        let claimed = self.events.entry(event.event_id.clone()).or_insert_with(|| ClaimedEvent {
            event_type: event.event_type.clone(),
            status: event.status.clone(),
            not_before: event.not_before.clone(),
            first_seen: first_seen.to_owned(),
            started_seen: String::new(),
            boot_id: boot_id.to_owned(),
            drained_at: String::new(),
            vetoed: false,
            unknown: Map::new(),
        });
        claimed.status.clone_from(&event.status);
        if claimed.started() && claimed.started_seen.is_empty() {
            now.clone_into(&mut claimed.started_seen);
        }
        if !event.not_before.is_empty() {
            claimed.not_before.clone_from(&event.not_before);
        }
    }

    /// The same, unless the claim would become too large to be written: then it stays as it is.
    pub(crate) fn note_if_it_fits(
        &mut self,
        event: &ScheduledEvent,
        first_seen: &str,
        now: &str,
        boot_id: &str,
    ) {
        let before = self.events.get(&event.event_id).cloned();
        self.note(event, first_seen, now, boot_id);
        if before.as_ref() == self.events.get(&event.event_id) {
            return;
        }
        if self.has_room() {
            return;
        }
        match before {
            Some(before) => self.events.insert(event.event_id.clone(), before),
            None => self.events.remove(&event.event_id),
        };
    }

    /// Notes that the node is drained `now` for each event that it wasn't drained for, if that fits.
    pub(crate) fn note_drained(&mut self, now: &str) {
        let before = self.events.clone();
        for event in self.events.values_mut().filter(|event| event.drained_at.is_empty()) {
            now.clone_into(&mut event.drained_at);
        }
        if !self.has_room() {
            self.events = before;
        }
    }

    fn has_room(&self) -> bool {
        self.to_annotation().is_ok_and(|json| json.len() + ROOM_TO_GO_ON <= MAX_CLAIM_BYTES)
    }
}

impl ClaimedEvent {
    /// What kind of event it is.
    #[must_use]
    pub fn event_type(&self) -> EventType {
        EventType::parse(&self.event_type)
    }

    /// Whether it was ever seen under way.
    #[must_use]
    pub fn started(&self) -> bool {
        EventStatus::parse(&self.status) == EventStatus::Started
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &usize) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: &str = r#"{"v":1,"nodeUID":"n","vmId":"vm","bootId":"b","epoch":7,"wasUnschedulable":false,"phase":"draining","steps":1,"events":{"E-1":{"type":"Reboot","status":"Scheduled","notBefore":"soon","firstSeen":"2026-11-23T12:00:00Z","bootId":"b","later":[1]}},"laterField":{"a":1}}"#;

    #[test]
    fn a_claim_comes_back_as_it_was_unknown_fields_included() {
        let claim = Claim::parse(CLAIM).unwrap();
        assert_eq!(claim.phase, ClaimPhase::Draining);
        let written: Value = serde_json::from_str(&claim.to_annotation().unwrap()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(CLAIM).unwrap());
    }

    #[test]
    fn an_unknown_version_or_phase_is_an_error_and_never_a_guess() {
        let version = Claim::parse(&CLAIM.replace("\"v\":1", "\"v\":2"));
        assert_eq!(version, Err(ClaimError::UnknownVersion("2".to_owned())));
        assert!(matches!(Claim::parse(&CLAIM.replace("draining", "parked")), Err(ClaimError::Unreadable(_))));
        assert!(matches!(Claim::parse(&CLAIM.replace("\"v\":1,", "")), Err(ClaimError::Unreadable(_))));
        for garbage in ["", "null", "[]", "{", "{\"v\":1}", "{\"v\":\"1\"}", "{\"v\":-1}"] {
            assert!(Claim::parse(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn a_claim_of_more_than_eight_kibibytes_is_refused_in_both_directions() {
        let mut claim = Claim::parse(CLAIM).unwrap();
        claim.vm_id = "x".repeat(MAX_CLAIM_BYTES);
        assert!(matches!(claim.to_annotation(), Err(ClaimError::TooLarge(_))));
        assert!(matches!(Claim::parse(&" ".repeat(MAX_CLAIM_BYTES + 1)), Err(ClaimError::TooLarge(_))));
    }

    #[test]
    fn an_event_keeps_when_its_node_was_first_drained_and_a_full_claim_goes_without() {
        let mut claim = Claim::parse(CLAIM).unwrap();
        claim.note_drained("then");
        claim.note(&ScheduledEvent { event_id: "E-2".into(), ..Default::default() }, "now", "now", "b");
        claim.note_drained("later");
        let drained: Vec<&str> = claim.events.values().map(|event| event.drained_at.as_str()).collect();
        assert_eq!(drained, ["then", "later"]);

        let mut full = Claim::parse(CLAIM).unwrap();
        full.vm_id = "x".repeat(MAX_CLAIM_BYTES - ROOM_TO_GO_ON - full.to_annotation().unwrap().len());
        assert!(full.has_room());
        let before = full.clone();
        full.note_drained("then");
        assert_eq!(full, before);
    }

    #[test]
    fn an_event_that_starts_keeps_its_announced_time() {
        let mut claim = Claim::parse(CLAIM).unwrap();
        let started = ScheduledEvent {
            event_id: "E-1".into(),
            event_type: "Reboot".into(),
            status: "Started".into(),
            ..ScheduledEvent::default()
        };
        claim.note(&started, "now", "now", "other");
        claim.note(&started, "later", "later", "other");
        let event = &claim.events["E-1"];
        assert!(event.started());
        assert_eq!(event.started_seen, "now");
        assert_eq!((event.not_before.as_str(), event.first_seen.as_str()), ("soon", "2026-11-23T12:00:00Z"));
    }
}
