//! The Instance Metadata Service of this virtual machine: two questions, asked as it wants them asked.

mod answer;

use std::time::Duration;

use mechanic_proto::v1::PollFailureKind;
use reqwest::{
    Client,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};

use crate::{document::Document, failure::PollFailure};

use self::answer::Answer;

/// `compute` has versions of its own; this is the first that says all that is asked of it everywhere.
const COMPUTE_VERSION: &str = "2021-02-01";
/// Link-local: whoever doesn't accept by then isn't there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The service promises answers within 10 s and gives most within milliseconds.
const COMPUTE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of the service.
#[derive(Clone, Debug)]
pub struct Imds {
    client: Client,
    events_url: String,
    compute_url: String,
}

impl Imds {
    /// A client for the service at `address` (host:port) that asks for events in `events_version`.
    pub fn new(address: &str, events_version: &str) -> Result<Self, reqwest::Error> {
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static("metadata"), HeaderValue::from_static("true"))]);
        let client = Client::builder()
            .default_headers(headers)
            // The service answers only this machine, so a proxy's answer is never its own, nor is a redirect's.
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            // A connection that was kept across a freeze or a migration is dead without knowing it.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self {
            client,
            events_url: format!("http://{address}/metadata/scheduledevents?api-version={events_version}"),
            compute_url: format!(
                "http://{address}/metadata/instance/compute?api-version={COMPUTE_VERSION}&format=json"
            ),
        })
    }

    /// One poll of the events; gives up after `limit`.
    pub async fn scheduled_events(&self, limit: Duration) -> Result<Document, PollFailure> {
        let answer = self.get(&self.events_url, limit).await?;
        Document::judge(answer.status, answer.body)
    }

    /// What the service says about this machine, unread. Errors are sentences.
    pub async fn compute(&self) -> Result<bytes::Bytes, String> {
        let answer = self.get(&self.compute_url, COMPUTE_TIMEOUT).await.map_err(|failure| failure.detail)?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(format!("asked about this machine, the metadata service answered {status}")),
        }
    }

    async fn get(&self, url: &str, limit: Duration) -> Result<Answer, PollFailure> {
        tokio::time::timeout(limit, async { Answer::read(self.client.get(url).send().await).await })
            .await
            .unwrap_or_else(|_| {
                let detail = format!("the metadata service did not answer within {} s", limit.as_secs_f32());
                Err(PollFailure::new(PollFailureKind::Timeout, &detail))
            })
    }
}
