//! How a poll of the Instance Metadata Service failed, and the tally that the next heartbeat carries.

use mechanic_proto::v1::{PollFailureKind, PollFailures};

/// As much of what the service said as people need; a heartbeat stays small.
const DETAIL_CHARS: usize = 200;

/// A poll that says nothing about events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct PollFailure {
    /// In which way.
    pub kind: PollFailureKind,
    /// What happened, as a sentence for people; at most 200 characters.
    pub detail: String,
}

impl PollFailure {
    /// A failure of this kind; the detail is shortened where it is too long.
    #[must_use]
    pub fn new(kind: PollFailureKind, detail: &str) -> Self {
        Self { kind, detail: shortened(detail, DETAIL_CHARS) }
    }

    /// Whether the service asks for fewer requests, or is in trouble that more requests make worse.
    #[must_use]
    pub fn asks_for_patience(&self) -> bool {
        matches!(self.kind, PollFailureKind::Throttled | PollFailureKind::HttpStatus)
    }
}

/// Failures by kind, counted until a heartbeat takes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally(Vec<PollFailures>);

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, failure: &PollFailure) {
        let kind = i32::from(failure.kind);
        if let Some(known) = self.0.iter_mut().find(|known| known.kind == kind) {
            known.count = known.count.saturating_add(1);
            known.detail.clone_from(&failure.detail);
        } else {
            self.0.push(PollFailures { kind, count: 1, detail: failure.detail.clone() });
        }
    }

    /// What was counted; counting starts anew.
    #[must_use]
    pub fn take(&mut self) -> Vec<PollFailures> {
        std::mem::take(&mut self.0)
    }
}

/// The first `limit` characters on one line, with a mark where something was cut off.
#[must_use]
pub fn shortened(text: &str, limit: usize) -> String {
    let mut short = String::new();
    for (count, character) in text.trim().chars().enumerate() {
        if count == limit {
            short.push('…');
            break;
        }
        short.push(if character.is_control() { ' ' } else { character });
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_counts_by_kind_and_keeps_the_last_detail() {
        let mut tally = Tally::default();
        tally.add(&PollFailure::new(PollFailureKind::Timeout, "first"));
        tally.add(&PollFailure::new(PollFailureKind::Throttled, "slow down"));
        tally.add(&PollFailure::new(PollFailureKind::Timeout, "second"));
        let taken = tally.take();
        assert_eq!(taken.len(), 2);
        assert_eq!(
            (taken[0].kind(), taken[0].count, &*taken[0].detail),
            (PollFailureKind::Timeout, 2, "second")
        );
        assert_eq!((taken[1].kind(), taken[1].count), (PollFailureKind::Throttled, 1));
        assert!(tally.take().is_empty());
    }

    #[test]
    fn what_the_service_said_is_cut_at_a_character_and_kept_on_one_line() {
        assert_eq!(shortened(" é\né\u{7}é ", 3), "é é…");
        assert_eq!(shortened("short", 5), "short");
    }
}
