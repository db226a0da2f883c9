//! What `kube-leader-election` is shown, and what its writes become: edits without state.

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{EPOCH_ANNOTATION, LEADER_ADDRESS_ANNOTATION, candidate::Candidate, verdict::Verdict};

/// JSON readers in other languages keep integers up to here exact. A larger epoch was typed by hand.
const HIGHEST_EPOCH: u64 = 1 << 53;
/// The crate counts one up.
const MOST_TRANSITIONS: i32 = i32::MAX - 1;
/// Midnight, 1 January 2999.
const FAR_FUTURE_SECONDS: i64 = 32_472_144_000;
/// A holder that is nobody's id: an id has no parentheses.
const NOT_OURS: &str = "(another's hand)";

/// Rule 1: the answer to a read. The crate compares `renewTime` with the wall clock; with 1970 and 2999 nothing is left
/// to compare. What is missing is filled in, since the crate fails for ever on a Lease without it.
pub(crate) fn answer(
    lease: Option<Lease>,
    verdict: Verdict,
    candidate: &Candidate,
    seconds: i32,
    transitions: i32,
) -> Lease {
    let mut lease = lease.unwrap_or_else(|| absent(candidate));
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    let named = spec.holder_identity.take().unwrap_or_default();
    spec.holder_identity = Some(match verdict {
        Verdict::Mine => candidate.holder.clone(),
        // The crate renews whatever names us; only a verdict may let it.
        _ if named == candidate.holder => NOT_OURS.to_owned(),
        _ => named,
    });
    let renewed = if verdict.is_free() { 0 } else { FAR_FUTURE_SECONDS };
    spec.renew_time = Some(MicroTime(Timestamp::from_second(renewed).unwrap_or(Timestamp::MAX)));
    spec.lease_duration_seconds = Some(seconds);
    let seen = spec.lease_transitions.unwrap_or(0);
    spec.lease_transitions = Some(seen.max(transitions).clamp(0, MOST_TRANSITIONS));
    lease
}

/// Rule 3: what the crate is shown in place of a Lease that has not been absent for long enough.
fn absent(candidate: &Candidate) -> Lease {
    let mut lease = Lease::default();
    lease.metadata.name = Some(candidate.lease.clone());
    lease.metadata.namespace = Some(candidate.namespace.clone());
    lease.spec = Some(LeaseSpec { holder_identity: Some("(absent)".to_owned()), ..LeaseSpec::default() });
    lease
}

/// What a write of the crate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Names us as the holder.
    Acquire,
    /// Says nothing about the holder.
    Renew,
    /// Names nobody.
    StepDown,
}

/// A write that the guard can't let through.
#[derive(Debug, Error)]
pub(crate) enum NotALeaseWrite {
    #[error("its body is not a Lease: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its body has no spec")]
    NoSpec,
    #[error("it names a stranger as the holder")]
    Stranger,
}

/// The body of a POST or PATCH of the Lease.
#[derive(Debug)]
pub(crate) struct LeaseWrite {
    pub(crate) purpose: Purpose,
    body: Map<String, Value>,
}

impl LeaseWrite {
    pub(crate) fn parse(bytes: &[u8], holder: &str) -> Result<Self, NotALeaseWrite> {
        let body: Map<String, Value> = serde_json::from_slice(bytes)?;
        let spec = body.get("spec").and_then(Value::as_object).ok_or(NotALeaseWrite::NoSpec)?;
        let purpose = match spec.get("holderIdentity").map(Value::as_str) {
            None => Purpose::Renew,
            Some(Some("")) => Purpose::StepDown,
            Some(Some(named)) if named == holder => Purpose::Acquire,
            Some(_) => return Err(NotALeaseWrite::Stranger),
        };
        Ok(Self { purpose, body })
    }

    /// Rule 5: the write is refused by the server if the Lease is not what we read.
    pub(crate) fn only_if_version(&mut self, version: &str) {
        self.section("metadata").insert("resourceVersion".into(), json!(version));
    }

    /// The crate reads the wall clock itself; what is written is what this crate's clock says.
    pub(crate) fn stamp(&mut self, now: Timestamp) {
        let spec = self.section("spec");
        for key in ["acquireTime", "renewTime"] {
            if spec.contains_key(key) {
                spec.insert(key.into(), json!(format!("{now:.6}")));
            }
        }
    }

    pub(crate) fn annotate(&mut self, address: &str, epoch: u64) {
        let annotations = json!({ LEADER_ADDRESS_ANNOTATION: address, EPOCH_ANNOTATION: epoch.to_string() });
        self.section("metadata").insert("annotations".into(), annotations);
    }

    pub(crate) fn transitions(&mut self, transitions: i32) {
        self.section("spec").insert("leaseTransitions".into(), json!(transitions));
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        Value::Object(self.body).to_string().into_bytes()
    }

    fn section(&mut self, name: &str) -> &mut Map<String, Value> {
        let section = self.body.entry(name).or_insert_with(|| json!({}));
        if !section.is_object() {
            *section = json!({});
        }
        match section {
            Value::Object(map) => map,
            _ => unreachable!("made an object just above"),
        }
    }
}

/// The epoch that the Lease's last leader wrote there.
pub(crate) fn epoch_of(lease: &Lease) -> Option<u64> {
    annotation(lease, EPOCH_ANNOTATION)?.parse().ok().filter(|epoch| *epoch < HIGHEST_EPOCH)
}

/// Where the Lease's last leader serves.
pub(crate) fn address_of(lease: &Lease) -> Option<&str> {
    annotation(lease, LEADER_ADDRESS_ANNOTATION).filter(|address| !address.is_empty())
}

fn annotation<'a>(lease: &'a Lease, name: &str) -> Option<&'a str> {
    lease.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// A moment as a Lease can hold it: whole microseconds.
pub(crate) fn to_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>, transitions: Option<i32>) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: holder.map(Into::into),
                lease_transitions: transitions,
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn rule_1_the_answer_is_a_verdict() {
        let wait = Verdict::Wait { until: crate::clock::Boottime::from_boot(std::time::Duration::ZERO) };
        let cases = [
            ("held", Some(lease(Some("other"), Some(3))), wait, "other", false, 5),
            ("free", Some(lease(Some("other"), Some(7))), Verdict::Free, "other", true, 7),
            ("given back", Some(lease(Some(""), Some(1))), Verdict::GivenBack, "", true, 5),
            ("ours", Some(lease(Some("me_1"), Some(7))), Verdict::Mine, "me_1", false, 7),
            ("our name by hand", Some(lease(Some("me_1"), Some(7))), wait, NOT_OURS, false, 7),
            ("our name by hand, aged", Some(lease(Some("me_1"), Some(7))), Verdict::Free, NOT_OURS, true, 7),
            ("an empty spec", Some(Lease::default()), wait, "", false, 5),
            ("an empty spec, aged", Some(Lease::default()), Verdict::Free, "", true, 5),
            ("absent", None, wait, "(absent)", false, 5),
            (
                "transitions typed too high",
                Some(lease(Some("o"), Some(i32::MAX))),
                wait,
                "o",
                false,
                i32::MAX - 1,
            ),
            ("transitions typed below zero", Some(lease(Some("o"), Some(-9))), wait, "o", false, 5),
        ];
        for (name, lease, verdict, holder, expired, transitions) in cases {
            let answer = answer(lease, verdict, &Candidate::example(), 15, 5);
            let spec = answer.spec.expect("filled in");
            assert_eq!(spec.holder_identity.as_deref(), Some(holder), "{name}");
            assert_eq!(spec.lease_transitions, Some(transitions), "{name}");
            assert_eq!(spec.lease_duration_seconds, Some(15), "{name}");
            let renewed = spec.renew_time.expect("filled in").0;
            // Decades away from any clock, so that no skew of the crate's own clock can turn it round.
            let now = Timestamp::from_second(1_800_000_000).expect("within range");
            let years = renewed.duration_since(now).as_secs() / 31_557_600;
            assert!(if expired { years < -50 } else { years > 900 }, "{name}: {renewed}");
        }
    }

    #[test]
    fn a_write_says_what_it_is_for() {
        let parse = |spec: Value| LeaseWrite::parse(json!({ "spec": spec }).to_string().as_bytes(), "me_1");
        let purpose = |spec| parse(spec).map(|write| write.purpose).ok();
        assert_eq!(purpose(json!({ "holderIdentity": "me_1" })), Some(Purpose::Acquire));
        assert_eq!(purpose(json!({ "renewTime": "x" })), Some(Purpose::Renew));
        assert_eq!(purpose(json!({ "holderIdentity": "" })), Some(Purpose::StepDown));
        assert!(matches!(parse(json!({ "holderIdentity": "me_2" })), Err(NotALeaseWrite::Stranger)));
        assert!(matches!(parse(json!({ "holderIdentity": null })), Err(NotALeaseWrite::Stranger)));
        assert!(matches!(LeaseWrite::parse(b"{}", "me_1"), Err(NotALeaseWrite::NoSpec)));
        assert!(matches!(LeaseWrite::parse(b"nonsense", "me_1"), Err(NotALeaseWrite::Json(_))));
    }

    #[test]
    fn rule_5_and_the_annotations_in_the_same_body() {
        let body = json!({ "metadata": { "name": "l" }, "spec": { "holderIdentity": "me_1", "acquireTime": "a", "renewTime": "b" }});
        let mut write = LeaseWrite::parse(body.to_string().as_bytes(), "me_1").expect("a Lease");
        write.only_if_version("42");
        write.stamp(Timestamp::from_microsecond(1_800_000_000_000_001).expect("within range"));
        write.annotate("127.0.0.2:7443", 9);
        let written: Value = serde_json::from_slice(&write.into_bytes()).expect("JSON");
        assert_eq!(
            written,
            json!({
                "metadata": {
                    "name": "l",
                    "resourceVersion": "42",
                    "annotations": { "mechanic/leader-address": "127.0.0.2:7443", "mechanic/epoch": "9" },
                },
                "spec": {
                    "holderIdentity": "me_1",
                    "acquireTime": "2027-01-15T08:00:00.000001Z",
                    "renewTime": "2027-01-15T08:00:00.000001Z",
                },
            })
        );
    }

    #[test]
    fn epochs_typed_by_hand_are_not_believed() {
        let with = |epoch: &str| {
            let mut lease = Lease::default();
            lease.metadata.annotations = Some([(EPOCH_ANNOTATION.to_owned(), epoch.to_owned())].into());
            epoch_of(&lease)
        };
        assert_eq!(with("17"), Some(17));
        for nonsense in ["", "-1", "many", "18446744073709551615", "99999999999999999999999"] {
            assert_eq!(with(nonsense), None, "{nonsense}");
        }
    }
}
