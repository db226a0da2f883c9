//! Keeps one stream open to the coordinator that leads, and tells it what the probe knows.

mod backoff;
mod endpoint;
mod guide;
mod outbox;

use std::{error::Error as _, time::Duration};

use anyhow::{anyhow, bail};
use mechanic_proto::v1::{
    ReportResponse, Welcome, probe_service_client::ProbeServiceClient, report_response::Message,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tonic::{Request, Streaming, transport::Channel};
use tracing::{info, warn};

pub use self::endpoint::Coordinators;
use self::{backoff::Backoff, guide::Guide, outbox::Outbox};
use crate::{complaint::Complaint, random, reading::Readings};

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

/// A stream that a coordinator has accepted.
struct OpenStream {
    welcome: Welcome,
    answers: Streaming<ReportResponse>,
    /// When the transport last took a message.
    last_taken: watch::Receiver<Instant>,
    /// The connection ends with it.
    _client: ProbeServiceClient<Channel>,
}

impl Uplink {
    /// Reports for ever.
    pub async fn report(&self, readings: &Readings) {
        let mut backoff = Backoff::default();
        let mut complaint = Complaint::default();
        let mut guide = Guide::new(self.coordinators.clone());
        let mut redirects = 0;
        let mut leader: Option<String> = None;
        loop {
            let address = leader.as_deref().unwrap_or(&self.coordinators.address).to_owned();
            let opened = async {
                let channel = match &leader {
                    Some(leader) => self.coordinators.connect(leader).await?,
                    None => guide.connection().await?,
                };
                let opened = self.open(channel.clone(), readings).await?;
                anyhow::Ok((channel, opened))
            };
            let end = match opened.await {
                Ok((_, Ok(stream))) => {
                    guide.dismiss();
                    complaint = Complaint::default();
                    redirects = 0;
                    let Welcome { node_name, epoch } = &stream.welcome;
                    info!(at = %address, node = %node_name, epoch, "reporting");
                    let welcomed = Instant::now();
                    let end = self.follow(stream).await;
                    if welcomed.elapsed() >= GOOD_STREAM {
                        backoff.reset();
                    }
                    end
                }
                Ok((channel, Err(end))) => {
                    guide.becomes(channel);
                    Ok(end)
                }
                Err(error) => {
                    // Where a leader can't be reached, its guide is asked again.
                    if leader.is_none() {
                        guide.dismiss();
                    }
                    Err(error)
                }
            };
            leader = None;
            match end {
                Ok(End::Redirected(to)) if redirects < MOST_REDIRECTS => {
                    info!(leader = %to, by = %address, "another coordinator leads");
                    redirects += 1;
                    leader = Some(to);
                    continue;
                }
                Ok(End::Redirected(to)) => {
                    warn!(leader = %to, by = %address, "coordinators send in a circle");
                }
                Ok(End::NoLeader) => {
                    if complaint.is_news("nobody leads yet", Instant::now()) {
                        info!(by = %address, "nobody leads yet");
                    }
                }
                Ok(End::Closed) => {
                    guide.dismiss();
                    info!(by = %address, "the coordinator closed the stream");
                }
                Err(error) => {
                    let reason = format!("{error:#}");
                    if complaint.is_news(&reason, Instant::now()) {
                        warn!(%reason, at = %address, "not reporting");
                    }
                }
            }
            redirects = 0;
            let urgent = readings.borrow().is_urgent();
            sleep(backoff.next(urgent, random::fraction())).await;
        }
    }

    /// Returns when the coordinator has accepted the stream, or has named another.
    async fn open(&self, channel: Channel, readings: &Readings) -> anyhow::Result<Result<OpenStream, End>> {
        let authorization = self.coordinators.authorization()?;
        let mut client = ProbeServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
        let (taken, last_taken) = watch::channel(Instant::now());
        let outbox = Outbox::new(self.reporter.clone(), readings.clone(), self.heartbeat_every, taken);
        let mut request = Request::new(outbox.into_stream());
        request.metadata_mut().insert("authorization", authorization);

        let accepted = async {
            let answers = client.report(request).await.map_err(|status| refused(&status))?;
            let mut answers = answers.into_inner();
            anyhow::Ok(match next(&mut answers).await? {
                Some(Message::Welcome(welcome)) => Ok((welcome, answers)),
                Some(other) => Err(end(&other)),
                None => Err(End::Closed),
            })
        };
        let Ok(accepted) = timeout(WELCOME, accepted).await else {
            bail!("the coordinator did not accept the stream within {} s", WELCOME.as_secs());
        };
        Ok(accepted?.map(|(welcome, answers)| OpenStream { welcome, answers, last_taken, _client: client }))
    }

    /// Stays with a stream until its end.
    async fn follow(&self, mut stream: OpenStream) -> anyhow::Result<End> {
        let longest = self.heartbeat_every * STALLED_HEARTBEATS;
        loop {
            let deadline = *stream.last_taken.borrow() + longest;
            tokio::select! {
                answer = next(&mut stream.answers) => match answer? {
                    None => return Ok(End::Closed),
                    // Once is enough.
                    Some(Message::Welcome(_)) => {}
                    Some(other) => return Ok(end(&other)),
                },
                () = sleep_until(deadline) => {
                    if stream.last_taken.borrow().elapsed() >= longest {
                        bail!("nothing could be sent for {STALLED_HEARTBEATS} heartbeats");
                    }
                }
            }
        }
    }
}

/// What an answer other than a welcome means.
fn end(answer: &Message) -> End {
    match answer {
        Message::Redirect(redirect) => End::Redirected(redirect.leader_address.clone()),
        Message::NoLeader(_) => End::NoLeader,
        Message::Welcome(_) => End::Closed,
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
    // What has a cause was not said by the coordinator, but found out here.
    match status.source().map(|cause| cause.source().unwrap_or(cause)) {
        Some(cause) => anyhow!("the connection to the coordinator broke: {cause}"),
        None => anyhow!("the coordinator ended the stream: {} ({:?})", status.message(), status.code()),
    }
}
