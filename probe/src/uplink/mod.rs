//! Keeps one stream open to the coordinator that leads, and tells it what the probe knows.

mod backoff;
mod endpoint;
mod outbox;

use std::time::Duration;

use anyhow::bail;
use mechanic_proto::v1::{
    ReportResponse, probe_service_client::ProbeServiceClient, report_response::Message,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tonic::{Request, Streaming};
use tracing::{info, warn};

pub use self::endpoint::Coordinators;
use self::{backoff::Backoff, outbox::Outbox};
use crate::{random, reading::Readings};

/// A coordinator that has not accepted the stream by then won't.
const WELCOME: Duration = Duration::from_secs(10);
/// Coordinators that send a probe in a circle don't agree; asking anew after a pause is better.
const MOST_REDIRECTS: u32 = 3;
/// A stream that lived this long was a good one: the next attempt is a first one.
const GOOD_STREAM: Duration = Duration::from_secs(5);
/// So many heartbeats that could not be sent mean that nobody reads.
const STALLED_HEARTBEATS: u32 = 3;
const LARGEST_ANSWER: usize = 64 * 1024;

/// Who reports, apart from the machine.
#[derive(Clone, Debug)]
pub struct Reporter {
    /// A random name for this run of the process.
    pub instance: String,
    /// When it began.
    pub started: Instant,
    /// The node it was told it runs on; empty if nobody told it.
    pub node_name: String,
}

/// The way to the coordinator.
#[derive(Debug)]
pub struct Uplink {
    /// Where to.
    pub coordinators: Coordinators,
    /// As whom.
    pub reporter: Reporter,
    /// How often, when there is nothing new.
    pub heartbeat_every: Duration,
}

/// How a stream ended, where it was nobody's fault.
enum End {
    Redirected(String),
    NoLeader,
    Closed,
}

impl Uplink {
    /// Reports for ever.
    pub async fn report(&self, readings: &Readings) {
        let mut backoff = Backoff::default();
        let mut redirects = 0;
        let mut address = self.coordinators.address.clone();
        loop {
            let mut welcomed = None;
            let end = self.stream(&address, readings, &mut welcomed).await;
            if welcomed.is_some() {
                redirects = 0;
            }
            if welcomed.is_some_and(|at: Instant| at.elapsed() >= GOOD_STREAM) {
                backoff.reset();
            }
            match end {
                Ok(End::Redirected(leader)) if redirects < MOST_REDIRECTS => {
                    info!(%leader, by = %address, "another coordinator leads");
                    redirects += 1;
                    address = leader;
                    continue;
                }
                Ok(End::Redirected(leader)) => warn!(%leader, by = %address, "coordinators send in a circle"),
                Ok(End::NoLeader) => info!(by = %address, "nobody leads yet"),
                Ok(End::Closed) => info!(by = %address, "the coordinator closed the stream"),
                Err(error) => warn!(reason = %format!("{error:#}"), at = %address, "not reporting"),
            }
            redirects = 0;
            address.clone_from(&self.coordinators.address);
            let urgent = readings.borrow().is_urgent();
            sleep(backoff.next(urgent, random::fraction())).await;
        }
    }

    async fn stream(
        &self,
        address: &str,
        readings: &Readings,
        welcomed: &mut Option<Instant>,
    ) -> anyhow::Result<End> {
        let authorization = self.coordinators.authorization()?;
        let channel = self.coordinators.connect(address).await?;
        let mut client = ProbeServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);

        let (taken, last_taken) = watch::channel(Instant::now());
        let outbox = Outbox::new(self.reporter.clone(), readings.clone(), self.heartbeat_every, taken);
        let mut request = Request::new(outbox.into_stream());
        request.metadata_mut().insert("authorization", authorization);

        let accepted_by = Instant::now() + WELCOME;
        let Ok(answers) = timeout_at(accepted_by, client.report(request)).await else {
            bail!("the coordinator did not answer within {} s", WELCOME.as_secs());
        };
        let mut answers = answers.map_err(|status| refused(&status))?.into_inner();
        loop {
            // Until the welcome that deadline holds; afterwards one that moves with what could be sent.
            let deadline = match welcomed {
                None => accepted_by,
                Some(_) => *last_taken.borrow() + self.heartbeat_every * STALLED_HEARTBEATS,
            };
            tokio::select! {
                answer = next(&mut answers) => match answer? {
                    None => return Ok(End::Closed),
                    Some(Message::Welcome(welcome)) => {
                        info!(at = %address, node = %welcome.node_name, epoch = welcome.epoch, "reporting");
                        welcomed.get_or_insert_with(Instant::now);
                    }
                    Some(Message::Redirect(redirect)) => return Ok(End::Redirected(redirect.leader_address)),
                    Some(Message::NoLeader(_)) => return Ok(End::NoLeader),
                },
                () = sleep_until(deadline) => {
                    if welcomed.is_none() {
                        bail!("the coordinator did not accept the stream within {} s", WELCOME.as_secs());
                    }
                    if last_taken.borrow().elapsed() >= self.heartbeat_every * STALLED_HEARTBEATS {
                        bail!("nothing could be sent for {STALLED_HEARTBEATS} heartbeats");
                    }
                }
            }
        }
    }
}

/// The next answer that this version knows; others are left to later versions.
async fn next(answers: &mut Streaming<ReportResponse>) -> anyhow::Result<Option<Message>> {
    loop {
        match answers.message().await.map_err(|status| refused(&status))? {
            None => return Ok(None),
            Some(ReportResponse { message: Some(message) }) => return Ok(Some(message)),
            Some(ReportResponse { message: None }) => {}
        }
    }
}

fn refused(status: &tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("the coordinator ended the stream: {} ({:?})", status.message(), status.code())
}
