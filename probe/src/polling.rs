//! Asks for scheduled events at a fixed rate, one request at a time, and writes down what was read.

use std::time::Duration;

use mechanic_proto::v1::ScheduledEvent;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::{
    complaint::Complaint, document::Document, evidence::Polled, failure::PollFailure, imds::Imds,
    reading::Readings,
};

/// The first request switches the service on for this machine, which takes up to two minutes.
const FIRST_ANSWER: Duration = Duration::from_secs(130);
/// A second of blindness costs more than a poll that would still have been answered.
const STEADY_ANSWER: Duration = Duration::from_secs(5);
/// However much patience the service asks for, an event must still be seen in time.
const LONGEST_PATIENCE: Duration = Duration::from_secs(5);

/// Polls for ever.
pub async fn poll(imds: &Imds, every: Duration, readings: &Readings) {
    let mut ticks = interval(every);
    // A late poll is not made up for: that would be a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut outage = Outage::default();
    let mut answered_before = false;
    loop {
        ticks.tick().await;
        let asked = Instant::now();
        let limit = if answered_before { STEADY_ANSWER } else { FIRST_ANSWER };
        match imds.scheduled_events(limit).await {
            Ok(document) => {
                answered_before = true;
                outage.over();
                take_in(document, Polled { asked, answered: Instant::now() }, readings);
            }
            Err(failure) => {
                readings.send_modify(|reading| reading.failed(&failure));
                outage.goes_on(&failure);
                sleep(outage.patience(&failure, every)).await;
            }
        }
    }
}

fn take_in(document: Document, polled: Polled, readings: &Readings) {
    let mut replaced = None;
    readings.send_modify(|reading| replaced = reading.valid(document, polled));
    let (Some(old), Some(shown)) = (replaced, readings.borrow().evidence.shown().cloned()) else {
        return;
    };
    let nothing = Vec::new();
    tell(old.as_ref().map_or(&nothing, |old| &old.events), &shown.document);
}

/// Says what changed from one document to the next.
fn tell(old: &[ScheduledEvent], new: &Document) {
    info!(
        incarnation = new.incarnation,
        events = new.events.len(),
        unreadable = new.unreadable.len(),
        "document changed"
    );
    for event in &new.events {
        let what = match old.iter().find(|known| known.event_id == event.event_id) {
            None => "event seen",
            Some(known) if known != event => "event changed",
            Some(_) => continue,
        };
        info!(
            event_id = %event.event_id, r#type = %event.r#type, status = %event.status,
            not_before = %event.not_before, resources = %event.resources.join(","), "{what}"
        );
    }
    for event in old.iter().filter(|known| new.events.iter().all(|event| event.event_id != known.event_id)) {
        info!(event_id = %event.event_id, r#type = %event.r#type, "event gone");
    }
    for entry in &new.unreadable {
        warn!(
            index = entry.index, event_id = %entry.event_id, reason = %entry.reason,
            "an entry of the document can't be read; nothing counts as gone while it is there"
        );
    }
}

/// Failed polls in a row.
#[derive(Default)]
struct Outage {
    polls: u32,
    impatient: u32,
    complaint: Complaint,
}

impl Outage {
    fn over(&mut self) {
        if self.polls > 0 {
            info!(failed_polls = self.polls, "polls succeed again");
        }
        *self = Self::default();
    }

    fn goes_on(&mut self, failure: &PollFailure) {
        self.polls = self.polls.saturating_add(1);
        self.impatient = if failure.asks_for_patience() { self.impatient.saturating_add(1) } else { 0 };
        let kind = failure.kind.as_str_name();
        if self.complaint.is_news(kind, Instant::now()) {
            warn!(kind, reason = %failure, failed_polls = self.polls, "polls fail");
        }
    }

    /// How long to wait beyond the tick that comes anyway.
    fn patience(&self, failure: &PollFailure, every: Duration) -> Duration {
        if !failure.asks_for_patience() {
            return Duration::ZERO;
        }
        let pause = every.saturating_mul(1 << self.impatient.saturating_sub(1).min(6));
        pause.min(LONGEST_PATIENCE).saturating_sub(every)
    }
}

#[cfg(test)]
mod tests {
    use mechanic_proto::v1::PollFailureKind;

    use super::*;

    #[test]
    fn patience_grows_and_stays_within_five_seconds() {
        let throttled = PollFailure::new(PollFailureKind::Throttled, "");
        let mut outage = Outage::default();
        let mut waits = Vec::new();
        for _ in 0..40 {
            outage.goes_on(&throttled);
            waits.push(outage.patience(&throttled, Duration::from_secs(1)).as_secs());
        }
        assert_eq!(waits[..5], [0, 1, 3, 4, 4]);
        assert_eq!(waits[39], 4);
        outage.goes_on(&PollFailure::new(PollFailureKind::Unreachable, ""));
        outage.goes_on(&throttled);
        assert_eq!(outage.patience(&throttled, Duration::from_secs(1)), Duration::ZERO);
    }
}
