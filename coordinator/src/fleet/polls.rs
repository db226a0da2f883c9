//! Which polls in a row prove something about a node's own events, though other machines' events came and went.

use std::time::Duration;

use mechanic_plan::Evidence;

/// What a probe says of its polls, in an observation or a heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Polls {
    /// Valid polls in a row that showed the present document.
    pub(crate) document: Row,
    /// Valid polls in a row whatever they showed; none where the probe is too old to say.
    pub(crate) unbroken: Row,
    /// Counts the unbroken rows.
    pub(crate) unbroken_row: u64,
    /// Without a sign that the service began anew.
    pub(crate) continuous_for: Duration,
    /// How long after the newest poll was sent its answer showed the present document first; zero where an earlier poll
    /// had shown it.
    pub(crate) shown_late: Duration,
}

impl Polls {
    /// What they prove about the document as a whole.
    pub(super) fn of_document(&self) -> Evidence {
        let Row { polls, span } = self.document;
        Evidence { consecutive_polls: polls, span, continuous_for: self.continuous_for }
    }
}

/// Polls in a row, and from the first to the last of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) polls: u32,
    pub(crate) span: Duration,
}

/// Since where in the probe's unbroken row the node's own events are what they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnRow {
    unbroken_row: u64,
    document_number: u64,
    /// The polls of the row before the first that showed them.
    before: Row,
}

impl OwnRow {
    /// Begins with the present document, when its first answer had been read: what a slow answer shows may have come about
    /// just before its end.
    pub(super) fn begin(polls: &Polls, document_number: u64) -> Self {
        let before = Row {
            polls: polls.unbroken.polls.saturating_sub(polls.document.polls),
            span: polls.unbroken.span.saturating_sub(polls.document.span).saturating_add(polls.shown_late),
        };
        Self { unbroken_row: polls.unbroken_row, document_number, before }
    }

    /// Goes on over the next document, which says the same of the node's own machine; begins anew where the
    /// row has broken, or where a document in between was never seen.
    pub(super) fn go_on(self, polls: &Polls, document_number: u64) -> Self {
        let skipped = document_number.saturating_sub(self.document_number) > 1;
        if !skipped && self.unbroken_row == polls.unbroken_row {
            Self { document_number, ..self }
        } else {
            Self::begin(polls, document_number)
        }
    }

    /// What the polls prove.
    pub(super) fn evidence(&self, polls: &Polls) -> Evidence {
        let own = if self.unbroken_row == polls.unbroken_row && polls.unbroken.polls > 0 {
            Row {
                polls: polls.unbroken.polls.saturating_sub(self.before.polls),
                span: polls.unbroken.span.saturating_sub(self.before.span),
            }
        } else {
            polls.document
        };
        Evidence { consecutive_polls: own.polls, span: own.span, continuous_for: polls.continuous_for }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One poll a second, the first of each row at 0 s.
    fn row(polls: u32) -> Row {
        Row { polls, span: Duration::from_secs(u64::from(polls.saturating_sub(1))) }
    }

    fn polls(of_document: u32, unbroken: u32, unbroken_row: u64) -> Polls {
        Polls {
            document: row(of_document),
            unbroken: row(unbroken),
            unbroken_row,
            continuous_for: Duration::ZERO,
            shown_late: Duration::ZERO,
        }
    }

    fn proven(own: &OwnRow, polls: &Polls) -> (u32, u64) {
        let evidence = own.evidence(polls);
        (evidence.consecutive_polls, evidence.span.as_secs())
    }

    #[test]
    fn a_row_goes_on_while_only_other_machines_events_change() {
        // The event vanishes with document 2, in the 11th poll of the row.
        let own = OwnRow::begin(&polls(1, 11, 1), 2);
        assert_eq!(proven(&own, &polls(1, 11, 1)), (1, 0));
        assert_eq!(proven(&own, &polls(4, 14, 1)), (4, 3));
        let own = own.go_on(&polls(1, 15, 1), 3);
        assert_eq!(proven(&own, &polls(1, 15, 1)), (5, 4));
        assert_eq!(proven(&own, &polls(6, 20, 1)), (10, 9));
    }

    #[test]
    fn a_row_begins_with_the_end_of_the_first_answer_however_slow_it_was() {
        // The 11th poll was sent at 10 s, and its answer was read at 13 s.
        let slow = Polls { shown_late: Duration::from_secs(3), ..polls(1, 11, 1) };
        let own = OwnRow::begin(&slow, 2);
        let at = |second: u64| {
            let [document, unbroken] = [second.saturating_sub(13), second].map(Duration::from_secs);
            Polls {
                document: Row { polls: 2, span: document },
                unbroken: Row { polls: 12, span: unbroken },
                ..polls(0, 0, 1)
            }
        };
        assert_eq!(proven(&own, &slow), (1, 0));
        assert_eq!(proven(&own, &at(13)), (2, 0));
        assert_eq!(proven(&own, &at(15)), (2, 2));
    }

    #[test]
    fn a_document_that_nobody_saw_or_a_failed_poll_starts_it_anew() {
        let own = OwnRow::begin(&polls(1, 11, 1), 2);
        assert_eq!(proven(&own.go_on(&polls(2, 15, 1), 4), &polls(2, 15, 1)), (2, 1));
        assert_eq!(proven(&own.go_on(&polls(2, 3, 2), 3), &polls(2, 3, 2)), (2, 1));
        assert_eq!(proven(&own, &polls(0, 0, 1)), (0, 0), "polls fail");
        assert_eq!(proven(&own, &polls(3, 3, 2)), (3, 2), "the same document, in a new row");
    }

    #[test]
    fn a_probe_that_does_not_count_unbroken_rows_proves_what_its_document_does() {
        let own = OwnRow::begin(&polls(1, 0, 0), 0);
        assert_eq!(proven(&own, &polls(7, 0, 0)), (7, 6));
    }
}
