//! The follower's view of the Lease: a watch in place of polls.

use std::time::Duration;

use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, Config, DefaultBackoff, Event, watcher},
    },
};
use tokio::time::{Instant, timeout_at};

/// The server ends a watch after this many seconds, and it is resumed: a connection that died unnoticed is found out.
const WATCH_SECONDS: u32 = 60;

/// What the watch showed.
#[derive(Debug)]
pub(crate) enum News {
    Present(Box<Lease>),
    Absent,
}

/// A watch on one Lease that never ends. What it shows may be late; what it shows is never written against.
pub(crate) struct LeaseWatch {
    leases: Api<Lease>,
    name: String,
    longest_silence: Duration,
    longest_backoff: Duration,
    stream: BoxStream<'static, watcher::Result<Event<Lease>>>,
    silent_until: Instant,
    listed: bool,
}

impl LeaseWatch {
    /// Begins anew after `longest_silence` without news (a live leader renews more often than that), and after a failure
    /// waits no longer than `longest_backoff`.
    pub(crate) fn new(
        leases: Api<Lease>,
        name: &str,
        longest_silence: Duration,
        longest_backoff: Duration,
    ) -> Self {
        let stream = open(&leases, name, longest_backoff);
        Self {
            leases,
            name: name.to_owned(),
            longest_silence,
            longest_backoff,
            stream,
            silent_until: Instant::now() + longest_silence,
            listed: false,
        }
    }

    /// The next thing to know about the Lease. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> News {
        loop {
            let Ok(event) = timeout_at(self.silent_until, self.stream.next()).await else {
                tracing::debug!(lease = self.name, "the watch on the Lease shows nothing; it begins anew");
                self.reopen();
                continue;
            };
            self.silent_until = Instant::now() + self.longest_silence;
            match event {
                Some(Ok(Event::Init)) => self.listed = false,
                Some(Ok(Event::InitApply(lease))) => {
                    self.listed = true;
                    return News::Present(Box::new(lease));
                }
                Some(Ok(Event::InitDone)) if self.listed => {}
                Some(Ok(Event::InitDone | Event::Delete(_))) => return News::Absent,
                Some(Ok(Event::Apply(lease))) => return News::Present(Box::new(lease)),
                Some(Err(error)) => {
                    tracing::warn!(lease = self.name, %error, "the watch on the Lease failed; it is resumed");
                }
                None => self.reopen(),
            }
        }
    }

    fn reopen(&mut self) {
        self.stream = open(&self.leases, &self.name, self.longest_backoff);
        self.silent_until = Instant::now() + self.longest_silence;
    }
}

fn open(
    leases: &Api<Lease>,
    name: &str,
    longest_backoff: Duration,
) -> BoxStream<'static, watcher::Result<Event<Lease>>> {
    let config = Config::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
    watcher(leases.clone(), config).backoff(CappedBackoff::new(longest_backoff)).boxed()
}

/// kube's own, which grows to a minute: too long to miss a hand-over.
pub struct CappedBackoff {
    inner: DefaultBackoff,
    longest: Duration,
}

impl CappedBackoff {
    /// Grows to no more than `longest`.
    #[must_use]
    pub fn new(longest: Duration) -> Self {
        Self { inner: DefaultBackoff::default(), longest }
    }
}

impl Iterator for CappedBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.inner.next().map(|pause| pause.min(self.longest))
    }
}

impl Backoff for CappedBackoff {
    fn reset(&mut self) {
        self.inner.reset();
    }
}
