//! Whatever comes: the parser does not panic, and never makes "no events" of what was not said so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, path::PathBuf};

use bytes::Bytes;
use mechanic_probe::document::{BODY_LIMIT, DOCUMENT_LIMIT, Document};
use mechanic_proto::v1::PollFailureKind;
use proptest::prelude::*;
use serde_json::Value;

fn samples() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/imds-samples");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

fn judge(body: impl Into<Vec<u8>>) -> Result<Document, mechanic_probe::failure::PollFailure> {
    Document::judge(200, Bytes::from(body.into()))
}

/// What must hold for any body: a document has an array of events, each of which is in the events, unreadable,
/// or the same as an earlier one; and no event says an EventId or resource that the body doesn't.
fn holds(body: &[u8]) {
    let Ok(document) = judge(body) else { return };
    // A reader of its own: the value's. It reads less (depth, numbers), so what it can't read is not compared.
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    let entries = value["Events"].as_array().expect("a document has an array of events");
    if !entries.is_empty() {
        assert!(document.announces_something(), "entries became 'no events'");
    }
    for event in &document.events {
        let source =
            entries.iter().find(|entry| entry["EventId"] == *event.event_id).expect("an id of the body");
        if let Some(resources) = source["Resources"].as_array() {
            assert_eq!(resources.len(), event.resources.len());
        }
    }
    let accounted = document.events.len() + document.unreadable.len();
    assert!(accounted <= entries.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_bytes(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        holds(&body);
    }

    #[test]
    fn arbitrary_text_of_json_pieces(pieces in proptest::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"Events\"", "\"EventId\"", "\"DocumentIncarnation\"", "\"a\"", "null", "1",
        "-1", "1e999", "true", "\"Resources\"", "\"\\ud800\"", " ",
    ]), 0..40)) {
        holds(pieces.concat().as_bytes());
    }

    #[test]
    fn mutated_samples(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..8),
    ) {
        let samples = samples();
        let mut body = which.get(&samples).clone();
        for (place, byte, how) in edits {
            if body.is_empty() { break; }
            let place = place.index(body.len());
            match how {
                0 => body[place] = byte,
                1 => { body.remove(place); }
                _ => body.insert(place, byte),
            }
        }
        holds(&body);
    }

    #[test]
    fn a_cut_document_is_a_failure(which in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let samples = samples();
        let whole = which.get(&samples);
        let text = whole.trim_ascii_end();
        prop_assume!(!text.is_empty());
        prop_assert!(judge(&text[..cut.index(text.len())]).is_err());
    }

    #[test]
    fn no_other_status_makes_a_document(status in any::<u16>(), which in any::<prop::sample::Index>()) {
        prop_assume!(status != 200);
        prop_assert!(Document::judge(status, Bytes::from(which.get(&samples()).clone())).is_err());
    }
}

#[test]
fn what_is_no_document_is_a_failure_of_its_kind() {
    use PollFailureKind::{EmptyBody, NotADocument, NotJson, TooLarge};
    let large = format!("{{\"Events\":[]}}{}", " ".repeat(BODY_LIMIT));
    for (body, kind) in [
        ("", EmptyBody),
        (" \r\n", EmptyBody),
        ("null", NotADocument),
        ("[]", NotADocument),
        ("[1,[]]", NotADocument),
        ("\"Events\"", NotADocument),
        ("{}", NotADocument),
        (r#"{"Events":null}"#, NotADocument),
        (r#"{"Events":{}}"#, NotADocument),
        (r#"{"Events":""}"#, NotADocument),
        (r#"{"events":[]}"#, NotADocument),
        (r#"{"Events":[],"Events":[]}"#, NotADocument),
        (r#"{"error":"Bad request","newest-versions":["2020-07-01"]}"#, NotADocument),
        (r#"{"Events":[]} {}"#, NotJson),
        (r#"{"Events":[]"#, NotJson),
        ("\u{feff}{\"Events\":[]}", NotJson),
        (&large, TooLarge),
    ] {
        assert_eq!(judge(body).unwrap_err().kind, kind, "{}", &body[..body.len().min(60)]);
    }
}

#[test]
fn an_entry_that_is_not_surely_an_event_is_unreadable_and_the_others_are_kept() {
    let deep = format!(r#"{{"EventId":"x","Resources":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    for (entry, event_id) in [
        ("null", ""),
        ("7", ""),
        (r#"["x","Reboot"]"#, ""),
        ("{}", ""),
        (r#"{"EventId":" "}"#, " "),
        (r#"{"EventId":5}"#, ""),
        (r#"{"EventId":"x","EventId":"x"}"#, ""),
        (r#"{"EventId":"x","EventStatus":"Scheduled","EventStatus":"Started"}"#, "x"),
        (r#"{"EventId":"x","Resources":"vm"}"#, "x"),
        (r#"{"EventId":"x","Resources":["vm",null]}"#, "x"),
        (r#"{"EventId":"x","EventType":["Reboot"]}"#, "x"),
        (r#"{"EventId":"x","NotBefore":0}"#, "x"),
        (r#"{"EventId":"x","DurationInSeconds":"9"}"#, "x"),
        (r#"{"EventId":"x","DurationInSeconds":1.5}"#, "x"),
        (r#"{"EventId":"x","DurationInSeconds":1e300}"#, "x"),
        (r#"{"EventId":"x","DurationInSeconds":1e999}"#, "x"),
        (r#"{"EventId":"good","Resources":["another"]}"#, "good"),
        (&deep, "x"),
    ] {
        let body = format!(r#"{{"Events":[{{"EventId":"good","Resources":["vm"]}},{entry}]}}"#);
        let document = judge(body).unwrap();
        assert_eq!(document.events.len(), 1, "{entry:.60}");
        assert_eq!(document.events[0].resources, ["vm"], "{entry:.60}");
        let [unreadable] = &document.unreadable[..] else { panic!("{entry:.60}: {:?}", document.unreadable) };
        assert_eq!((unreadable.index, &*unreadable.event_id), (1, event_id), "{entry:.60}");
        assert!(!unreadable.reason.is_empty() && unreadable.reason.len() < 600);
    }
}

#[test]
fn durations_and_incarnations_are_known_only_where_they_are_whole_numbers() {
    for (number, seconds) in
        [("9", Some(9)), ("9.0", Some(9)), ("0", Some(0)), ("-1", None), ("null", None), ("-7", None)]
    {
        let document =
            judge(format!(r#"{{"Events":[{{"EventId":"x","DurationInSeconds":{number}}}]}}"#)).unwrap();
        assert_eq!(document.events[0].duration.map(|duration| duration.seconds), seconds, "{number}");
    }
    for (number, incarnation) in
        [("7", Some(7)), ("-7", Some(-7)), ("null", None), ("\"7\"", None), ("1e999", None), ("[[7]]", None)]
    {
        let document = judge(format!(r#"{{"DocumentIncarnation":{number},"Events":[]}}"#)).unwrap();
        assert_eq!(document.incarnation, incarnation, "{number}");
    }
}

#[test]
fn a_document_that_is_accepted_can_be_sent() {
    let event = |id: usize| format!(r#"{{"EventId":"{id}","Resources":["{}"]}}"#, "v".repeat(1_000));
    let events = (0..350).map(event).collect::<Vec<_>>().join(",");
    let document = judge(format!(r#"{{"Events":[{events}]}}"#)).unwrap();
    assert_eq!(document.events.len(), 350);
    assert!(document.body.is_empty(), "larger than {DOCUMENT_LIMIT}, so it stays here");

    let commas = judge(format!(r#"{{"Events":[{}0]}}"#, "0,".repeat(100_000))).unwrap();
    assert_eq!(commas.unreadable.len(), 50);
    assert!(commas.unreadable[49].reason.contains("and 99951 more"), "{}", commas.unreadable[49].reason);
}
