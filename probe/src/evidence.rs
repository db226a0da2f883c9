//! What the polls so far prove about the present document. Pure: moments are handed in.

use std::{sync::Arc, time::Duration};

use mechanic_proto::v1;
use tokio::time::Instant;

use crate::document::Document;

/// When a poll was sent and when its answer had been read. What the answer says was true at some moment between.
#[derive(Clone, Copy, Debug)]
pub struct Polled {
    /// Just before the request.
    pub asked: Instant,
    /// Just after the last byte of the answer.
    pub answered: Instant,
}

/// The present document and since when it is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What it says.
    pub document: Arc<Document>,
    /// When this content was first read.
    pub since: Instant,
    /// Counts the documents of this process, from 1: which one a piece of evidence is about.
    pub serial: u64,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    polls: u32,
    first: Polled,
}

impl Row {
    /// The row with one poll more; a new one where there is none to go on with.
    fn with(row: Option<Self>, polled: Polled) -> Self {
        match row {
            Some(row) => Self { polls: row.polls.saturating_add(1), ..row },
            None => Self { polls: 1, first: polled },
        }
    }
}

/// What was read, and how surely.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    shown: Option<Shown>,
    /// Of the present document.
    row: Option<Row>,
    /// Whatever document they showed.
    unbroken: Option<Row>,
    unbroken_rows: u64,
    newest: Option<Instant>,
    continuous_since: Option<Instant>,
    incarnation: Option<i64>,
}

impl Evidence {
    /// A valid poll. Returns the document it replaces, if it changed something: `Some(None)` for the first one.
    pub fn valid(&mut self, document: Document, polled: Polled) -> Option<Option<Arc<Document>>> {
        let went_back =
            matches!((self.incarnation, document.incarnation), (Some(old), Some(new)) if new < old);
        if went_back || self.continuous_since.is_none() {
            self.continuous_since = Some(polled.answered);
        }
        // A document without a number doesn't make the service forget where it was.
        self.incarnation = document.incarnation.or(self.incarnation);
        self.newest = Some(polled.asked);

        let same = self.shown.as_ref().is_some_and(|shown| shown.document.says_the_same_as(&document));
        self.row = Some(Row::with(self.row.filter(|_| same), polled));
        self.unbroken_rows += u64::from(self.unbroken.is_none());
        self.unbroken = Some(Row::with(self.unbroken, polled));
        if same {
            return None;
        }
        let serial = self.shown.as_ref().map_or(1, |shown| shown.serial + 1);
        let replaced =
            self.shown.replace(Shown { document: Arc::new(document), since: polled.answered, serial });
        Some(replaced.map(|shown| shown.document))
    }

    /// A poll that failed: the row starts anew, the document stays the last that is known.
    pub fn failed(&mut self) {
        self.row = None;
        self.unbroken = None;
    }

    /// The present document; none before the first valid poll.
    #[must_use]
    pub fn shown(&self) -> Option<&Shown> {
        self.shown.as_ref()
    }

    /// The evidence as ages at `now`; none before the first valid poll. Where an answer took long, the span is
    /// what is certain: from the end of the first poll to the start of the last.
    #[must_use]
    pub fn at(&self, now: Instant) -> Option<v1::Evidence> {
        let newest = self.newest?;
        let polls = |row: Option<Row>| row.map_or(0, |row| row.polls);
        let span = |row: Option<Row>| {
            row.map_or(Duration::ZERO, |row| newest.saturating_duration_since(row.first.answered))
        };
        let continuous_for =
            self.continuous_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        Some(v1::Evidence {
            consecutive_polls: polls(self.row),
            span: Some(wire(span(self.row))),
            newest_age: Some(wire(now.saturating_duration_since(newest))),
            continuous_for: Some(wire(continuous_for)),
            unbroken_polls: polls(self.unbroken),
            unbroken_span: Some(wire(span(self.unbroken))),
            unbroken_row: self.unbroken_rows,
        })
    }
}

/// A duration as it travels.
#[must_use]
pub fn wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}
