//! A caller whose clock is off: what it writes bears other times, and what it reads seems to.

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};

use super::Body;

/// All times in a JSON text, moved. Its length stays the same.
pub(super) fn moved(text: &[u8], by: SignedDuration) -> Bytes {
    let Ok(text) = std::str::from_utf8(text) else { return Bytes::copy_from_slice(text) };
    let parts: Vec<String> =
        text.split('"').map(|part| moved_time(part, by).unwrap_or_else(|| part.to_owned())).collect();
    parts.join("\"").into()
}

fn moved_time(text: &str, by: SignedDuration) -> Option<String> {
    let time = text.parse::<Timestamp>().ok()?.checked_add(by).ok()?;
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.trim_end_matches('Z').len());
    Some(format!("{time:.decimals$}"))
}

/// The same for an answer, line by line: each line of a watch is an object.
pub(super) fn moved_answer(body: Body, by: SignedDuration) -> Body {
    let lines = stream::unfold(Some((body, Vec::new())), move |state| async move {
        let (mut body, mut begun) = state?;
        loop {
            let frame = match body.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Some((Err(error), None)),
                None => return Some((Ok(Frame::data(moved(&begun, by))), None)),
            };
            let Ok(data) = frame.into_data() else { continue };
            begun.extend_from_slice(&data);
            if let Some(end) = begun.iter().rposition(|byte| *byte == b'\n') {
                let rest = begun.split_off(end + 1);
                return Some((Ok(Frame::data(moved(&begun, by))), Some((body, rest))));
            }
        }
    });
    BodyExt::boxed(StreamBody::new(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moved_and_nothing_else() {
        let lease = br#"{"metadata":{"name":"a 2026 \"b\"","creationTimestamp":"2026-11-26T23:30:00Z"},
            "spec":{"renewTime":"2026-11-26T23:30:00.123456Z","leaseDurationSeconds":15}}"#;
        let later = moved(lease, SignedDuration::from_hours(1));
        let text = std::str::from_utf8(&later).unwrap();
        assert!(text.contains(r#""creationTimestamp":"2026-11-27T00:30:00Z""#), "{text}");
        assert!(text.contains(r#""renewTime":"2026-11-27T00:30:00.123456Z""#), "{text}");
        assert!(text.contains(r#""name":"a 2026 \"b\"""#), "{text}");
        assert_eq!(moved(&later, SignedDuration::from_hours(-1)), lease[..]);
    }
}
