//! What an answer of the Scheduled Events endpoint says. Pure: bytes in, a document or a failure out.
//!
//! Only a document may be taken as proof that an event is gone, so whatever is not surely one is a failure,
//! and an entry that is not surely an event is listed as unreadable. Strings travel as they came.

use bytes::Bytes;
use mechanic_proto::v1::{PollFailureKind, ScheduledEvent, UnreadableEntry};
use serde::Deserialize;
use serde_json::{Number, error::Category, value::RawValue};

use crate::failure::{PollFailure, shortened};

/// An answer with a larger body is no document. The coordinator reads messages of at most 512 KiB, and events
/// take less room there than in JSON, so every document that is accepted can also be sent.
pub const BODY_LIMIT: usize = 400 * 1024;

/// A larger body does not travel itself; the events in it do.
pub const DOCUMENT_LIMIT: usize = 256 * 1024;

/// Unreadable entries listed one by one. One would do to say that nothing is proven absent; the bound keeps a
/// body of nothing but commas from growing into megabytes of reasons.
const UNREADABLE_LIMIT: usize = 50;

const REASON_CHARS: usize = 160;
const EXCERPT_CHARS: usize = 80;

/// Longer than any interruption (136 years): a number beyond is not a duration.
const DURATION_LIMIT: f64 = 4_294_967_295.0;

/// A document of scheduled events, as a valid poll read it.
#[derive(Clone, Debug)]
pub struct Document {
    /// `DocumentIncarnation`, where it was a whole number.
    pub incarnation: Option<i64>,
    /// The entries that could be read, in their order.
    pub events: Vec<ScheduledEvent>,
    /// The entries that could not.
    pub unreadable: Vec<UnreadableEntry>,
    /// The body as it came; empty where it was larger than [`DOCUMENT_LIMIT`].
    pub body: Bytes,
}

impl Document {
    /// Judges an answer by its status and body.
    pub fn judge(status: u16, body: Bytes) -> Result<Self, PollFailure> {
        match status {
            200 => Self::parse(body),
            429 => Err(PollFailure::new(
                PollFailureKind::Throttled,
                &format!("the metadata service answered 429: {}", excerpt(&body)),
            )),
            _ => Err(PollFailure::new(
                PollFailureKind::HttpStatus,
                &format!("the metadata service answered {status}: {}", excerpt(&body)),
            )),
        }
    }

    fn parse(body: Bytes) -> Result<Self, PollFailure> {
        if body.len() > BODY_LIMIT {
            return Err(PollFailure::new(PollFailureKind::TooLarge, &too_large()));
        }
        let Some(first) = body.iter().find(|byte| !byte.is_ascii_whitespace()) else {
            return Err(PollFailure::new(
                PollFailureKind::EmptyBody,
                "the metadata service answered 200 with nothing",
            ));
        };
        let is_object = *first == b'{';
        let raw =
            serde_json::from_slice::<RawDocument<'_>>(&body).map_err(|error| not_read(&error, &body))?;
        // serde reads a struct from an array too, which would make `[1, []]` a document without events.
        if !is_object {
            return Err(PollFailure::new(
                PollFailureKind::NotADocument,
                &format!("the answer is JSON but not an object: {}", excerpt(&body)),
            ));
        }
        let incarnation = raw.incarnation.and_then(|number| serde_json::from_str(number.get()).ok());
        let (events, unreadable) = entries(&raw.events);
        let body = if body.len() > DOCUMENT_LIMIT { Bytes::new() } else { body };
        Ok(Self { incarnation, events, unreadable, body })
    }

    /// Whether it says the same as another. White space, the order of keys and fields that mechanic does not
    /// know do not count; the incarnation does, whichever way it moved.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.incarnation == other.incarnation
            && self.events == other.events
            && self.unreadable == other.unreadable
    }

    /// Whether anything is or may be announced.
    #[must_use]
    pub fn announces_something(&self) -> bool {
        !self.events.is_empty() || !self.unreadable.is_empty()
    }
}

#[derive(Deserialize)]
struct RawDocument<'a> {
    #[serde(rename = "DocumentIncarnation", default, borrow)]
    incarnation: Option<&'a RawValue>,
    // No default: an error of the service is JSON without this key.
    #[serde(rename = "Events", borrow)]
    events: Vec<&'a RawValue>,
}

/// An entry with every field optional. serde refuses a key that stands twice and ignores keys it doesn't know.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawEntry {
    event_id: Option<String>,
    event_type: Option<String>,
    event_status: Option<String>,
    resource_type: Option<String>,
    resources: Option<Vec<String>>,
    not_before: Option<String>,
    description: Option<String>,
    event_source: Option<String>,
    duration_in_seconds: Option<Number>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OnlyEventId {
    event_id: Option<String>,
}

fn entries(raw: &[&RawValue]) -> (Vec<ScheduledEvent>, Vec<UnreadableEntry>) {
    let mut events: Vec<ScheduledEvent> = Vec::new();
    let mut unreadable = Vec::new();
    for (index, entry) in raw.iter().enumerate() {
        let read =
            read(entry).and_then(|event| match events.iter().find(|seen| seen.event_id == event.event_id) {
                None => Ok(Some(event)),
                Some(seen) if *seen == event => Ok(None),
                // Which of the two holds can't be known; the first is kept, and the document proves nothing absent.
                Some(_) => Err("an earlier entry has the same EventId and says something else".to_owned()),
            });
        match read {
            Ok(event) => events.extend(event),
            Err(reason) => unreadable.push(UnreadableEntry {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                reason: shortened(&reason, REASON_CHARS),
                event_id: event_id(entry),
            }),
        }
    }
    if unreadable.len() > UNREADABLE_LIMIT {
        let more = unreadable.len() - UNREADABLE_LIMIT;
        unreadable.truncate(UNREADABLE_LIMIT);
        if let Some(last) = unreadable.last_mut() {
            last.reason = format!("{} (and {more} more entries)", last.reason);
        }
    }
    (events, unreadable)
}

fn read(entry: &RawValue) -> Result<ScheduledEvent, String> {
    if !is_object(entry) {
        return Err("it is not an object".to_owned());
    }
    let raw: RawEntry = serde_json::from_str(entry.get()).map_err(|error| error.to_string())?;
    let event_id = raw.event_id.unwrap_or_default();
    if event_id.trim().is_empty() {
        return Err("it has no EventId".to_owned());
    }
    Ok(ScheduledEvent {
        event_id,
        r#type: raw.event_type.unwrap_or_default(),
        status: raw.event_status.unwrap_or_default(),
        resource_type: raw.resource_type.unwrap_or_default(),
        resources: raw.resources.unwrap_or_default(),
        not_before: raw.not_before.unwrap_or_default(),
        description: raw.description.unwrap_or_default(),
        source: raw.event_source.unwrap_or_default(),
        duration: raw.duration_in_seconds.map_or(Ok(None), |number| duration(&number))?,
    })
}

/// Seconds as a duration: none where the number is negative, which means unknown.
fn duration(number: &Number) -> Result<Option<prost_types::Duration>, String> {
    let wrong = || format!("DurationInSeconds is not a number of seconds: {number}");
    let seconds = number.as_f64().ok_or_else(wrong)?;
    if seconds < 0.0 {
        return Ok(None);
    }
    if seconds.fract() != 0.0 || seconds > DURATION_LIMIT {
        return Err(wrong());
    }
    #[allow(clippy::cast_possible_truncation, reason = "whole, and within the limit above")]
    Ok(Some(prost_types::Duration { seconds: seconds as i64, nanos: 0 }))
}

fn is_object(value: &RawValue) -> bool {
    value.get().trim_start().starts_with('{')
}

fn event_id(entry: &RawValue) -> String {
    if !is_object(entry) {
        return String::new();
    }
    serde_json::from_str::<OnlyEventId>(entry.get())
        .ok()
        .and_then(|only| only.event_id)
        .filter(|id| id.len() <= REASON_CHARS)
        .unwrap_or_default()
}

fn not_read(error: &serde_json::Error, body: &[u8]) -> PollFailure {
    let excerpt = excerpt(body);
    match error.classify() {
        Category::Data => PollFailure::new(
            PollFailureKind::NotADocument,
            &format!("the answer is JSON but no document of events ({error}): {excerpt}"),
        ),
        _ if excerpt.starts_with('<') => PollFailure::new(
            PollFailureKind::NotJson,
            &format!("the answer is not JSON; a proxy may stand in between: {excerpt}"),
        ),
        _ => PollFailure::new(
            PollFailureKind::NotJson,
            &format!("the answer is not JSON ({error}): {excerpt}"),
        ),
    }
}

/// What [`PollFailureKind::TooLarge`] says to people.
#[must_use]
pub fn too_large() -> String {
    format!("the answer is larger than {} KiB", BODY_LIMIT / 1024)
}

fn excerpt(body: &[u8]) -> String {
    // Four bytes are the longest character.
    shortened(&String::from_utf8_lossy(&body[..body.len().min(4 * EXCERPT_CHARS)]), EXCERPT_CHARS)
}
