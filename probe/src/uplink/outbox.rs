//! What one stream carries next. The transport asks when it has room, so a message is made at the moment it
//! is sent: nothing queues up, and no age is older than it says.

use std::time::Duration;

use mechanic_proto::v1::{Heartbeat, Hello, Observation, ReportRequest, report_request::Message};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_stream::Stream;

use super::Reporter;
use crate::{
    evidence::{Shown, wire},
    identity::Identity,
    reading::{Reading, Readings},
};

/// The outgoing side of one stream.
pub(super) struct Outbox {
    reporter: Reporter,
    readings: Readings,
    news: watch::Receiver<Reading>,
    heartbeat_every: Duration,
    /// What this stream has been told so far.
    told: Told,
    /// When the transport last took a message.
    taken: watch::Sender<Instant>,
}

#[derive(Default)]
struct Told {
    identity: Option<Identity>,
    /// Serial of the document in the last observation since the last Hello; 0 before the first.
    document: u64,
    failing: bool,
    heartbeat: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(
        reporter: Reporter,
        readings: Readings,
        heartbeat_every: Duration,
        taken: watch::Sender<Instant>,
    ) -> Self {
        let news = readings.subscribe();
        Self { reporter, readings, news, heartbeat_every, told: Told::default(), taken }
    }

    /// The messages, made when they are asked for.
    pub(super) fn into_stream(self) -> impl Stream<Item = ReportRequest> + Send + 'static {
        futures::stream::unfold(self, |mut outbox| async move {
            let message = outbox.next().await?;
            outbox.taken.send_replace(Instant::now());
            Some((ReportRequest { message: Some(message) }, outbox))
        })
    }

    async fn next(&mut self) -> Option<Message> {
        loop {
            self.news.mark_unchanged();
            let now = Instant::now();
            let mut message = None;
            self.readings.send_if_modified(|reading| {
                message = self.told.due(reading, &self.reporter, self.heartbeat_every, now);
                false
            });
            if message.is_some() {
                return message;
            }
            let heartbeat = self.told.heartbeat.unwrap_or(now) + self.heartbeat_every;
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                () = sleep_until(heartbeat) => {}
            }
        }
    }
}

impl Told {
    /// Hello first, then the document, also after each further Hello, then heartbeats: evidence never runs ahead of
    /// what it is about.
    fn due(
        &mut self,
        reading: &mut Reading,
        reporter: &Reporter,
        every: Duration,
        now: Instant,
    ) -> Option<Message> {
        if self.identity.as_ref() != Some(&reading.identity) {
            self.identity = Some(reading.identity.clone());
            // Whoever hears of a machine anew takes no polls before that for proof.
            self.document = 0;
            return Some(Message::Hello(hello(&reading.identity, reporter, now)));
        }
        if let Some(shown) = reading.evidence.shown().filter(|shown| shown.serial != self.document) {
            self.document = shown.serial;
            return Some(Message::Observation(observation(shown, reading, now)));
        }
        let due = self.heartbeat.is_none_or(|last| now >= last + every) || self.failing != reading.failing;
        due.then(|| {
            self.heartbeat = Some(now);
            self.failing = reading.failing;
            Message::Heartbeat(Heartbeat {
                evidence: reading.evidence.at(now),
                failures: reading.failures.take(),
                poll_milliseconds: reading.latencies.take(),
            })
        })
    }
}

fn hello(identity: &Identity, reporter: &Reporter, now: Instant) -> Hello {
    Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: Vec::new(),
        probe_instance: reporter.instance.clone(),
        probe_age: Some(wire(now.saturating_duration_since(reporter.started))),
        boot_id: identity.boot_id.clone(),
        node_name: reporter.node_name.clone(),
        virtual_machine: identity.virtual_machine.clone(),
    }
}

fn observation(shown: &Shown, reading: &Reading, now: Instant) -> Observation {
    Observation {
        age: Some(wire(now.saturating_duration_since(shown.since))),
        document_incarnation: shown.document.incarnation,
        events: shown.document.events.clone(),
        unreadable_entries: shown.document.unreadable.clone(),
        evidence: reading.evidence.at(now),
        document: shown.document.body.clone(),
        document_number: shown.serial,
    }
}
