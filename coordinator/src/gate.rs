//! The one gate for writes: each asks the settings and the Permit immediately before it is sent, and may not
//! outlive the Permit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kube::core::Status;
use mechanic_leadership::{NotLeading, Permit, Permits};
use mechanic_plan::Config;
use thiserror::Error;
use tokio::sync::watch;

use crate::fleet::Fleet;

/// No write is waited for longer than this,
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// but an eviction: the API server itself takes up to ten seconds over a budget that others write to, and so does an admission
/// webhook that isn't told otherwise.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(12);

/// Lets writes pass while this process leads and nothing keeps them back.
#[derive(Clone)]
pub(crate) struct Gate {
    permits: Permits,
    fleet: Arc<Fleet>,
    closed: Arc<AtomicBool>,
    /// Writes that have been sent and not answered.
    sent: Arc<watch::Sender<usize>>,
}

/// What a write is for, and so what keeps it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent<'a> {
    /// A cordon or a drain's beginning on the node of that name: nothing of the kind while mechanic is paused, or where
    /// the node is opted out.
    Disrupt(&'a str),
    /// An eviction or a last call there: the same, and it is waited for longer.
    Evict(&'a str),
    /// It says how things stand, or gives a node back.
    Tell,
    /// It keeps the settings, a dry run's among them.
    KeepSettings,
    /// It changes nothing: the API server is asked what it would say (`dryRun=All`), in a dry run only.
    Ask,
}

/// A write that did not go through, as far as is known.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
    /// Nothing was sent, by somebody's will.
    #[error("not sent: {0}")]
    HeldBack(&'static str),
    /// Nothing was sent.
    #[error("not sent: {0}")]
    NotLeading(#[from] NotLeading),
    /// The API server said no.
    #[error("refused: {} ({})", .0.message, .0.code)]
    Refused(Box<Status>),
    /// No answer came: it may have taken effect or may yet do.
    #[error("no answer, so it is unknown whether it took effect: {0}")]
    Unknown(String),
}

impl WriteError {
    /// Whether it may have taken effect, or may yet.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

impl Gate {
    pub(crate) fn new(permits: Permits, fleet: Arc<Fleet>) -> Self {
        Self { permits, fleet, closed: Arc::default(), sent: Arc::new(watch::Sender::new(0)) }
    }

    /// Lets nothing pass any more, and returns when each write that was sent has its answer, or has waited for it for as long as
    /// it may.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let mut sent = self.sent.subscribe();
        let _ = tokio::time::timeout(REQUEST_TIMEOUT, sent.wait_for(|sent| *sent == 0)).await;
    }

    /// Whether this process leads now.
    pub(crate) fn is_open(&self) -> bool {
        self.permits.check().is_ok()
    }

    /// Sends one write under a live Permit.
    pub(crate) async fn write<T>(
        &self,
        intent: Intent<'_>,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        self.check(intent)?;
        self.send(intent, self.permits.check()?, request).await
    }

    /// Renews the Lease, then sends: for what must not be done on an old Permit.
    pub(crate) async fn renew_then_write<T>(
        &self,
        intent: Intent<'_>,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let permit = self.permits.renew().await?;
        self.check(intent)?;
        self.send(intent, permit, request).await
    }

    fn check(&self, intent: Intent<'_>) -> Result<(), WriteError> {
        let (config, opted_out) = self.fleet.read(|state| {
            let config = state.settings().config;
            let opted_out = match intent {
                Intent::Disrupt(node) | Intent::Evict(node) => {
                    state.node(node).is_some_and(|node| config.policy.opted_out_by(&node).is_some())
                }
                Intent::Tell | Intent::KeepSettings | Intent::Ask => false,
            };
            (config, opted_out)
        });
        let closed = self.closed.load(Ordering::Relaxed).then_some("this process is about to end");
        let why = closed.or_else(|| held_back(intent, &config, opted_out));
        why.map_or(Ok(()), |why| Err(WriteError::HeldBack(why)))
    }

    async fn send<T>(
        &self,
        intent: Intent<'_>,
        permit: Permit,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let _sent = Sent::one(&self.sent);
        let patience = match intent {
            Intent::Evict(_) | Intent::Ask => EVICTION_TIMEOUT,
            Intent::Disrupt(_) | Intent::Tell | Intent::KeepSettings => REQUEST_TIMEOUT,
        };
        match tokio::time::timeout(patience.min(permit.remaining), request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(WriteError::Refused(status)),
            Ok(Err(error)) => Err(WriteError::Unknown(error.to_string())),
            Err(_) => Err(WriteError::Unknown("it took too long".to_owned())),
        }
    }
}

/// A write that waits for its answer, for as long as it does.
struct Sent<'a>(&'a watch::Sender<usize>);

impl<'a> Sent<'a> {
    fn one(sent: &'a watch::Sender<usize>) -> Self {
        sent.send_modify(|sent| *sent += 1);
        Self(sent)
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|sent| *sent -= 1);
    }
}

fn held_back(intent: Intent<'_>, config: &Config, opted_out: bool) -> Option<&'static str> {
    match intent {
        Intent::KeepSettings => None,
        Intent::Ask => (!config.dry_run).then_some("this is no dry run any more"),
        _ if config.dry_run => Some("this is a dry run"),
        Intent::Tell => None,
        Intent::Disrupt(_) | Intent::Evict(_) if config.paused => Some("mechanic is paused"),
        Intent::Disrupt(_) | Intent::Evict(_) => opted_out.then_some("the node is opted out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paused_or_opted_out_is_not_disrupted_and_given_back_all_the_same() {
        let paused = Config { paused: true, ..Config::default() };
        assert!(held_back(Intent::Disrupt("n"), &Config::default(), false).is_none());
        assert!(held_back(Intent::Disrupt("n"), &paused, false).is_some());
        assert!(held_back(Intent::Evict("n"), &paused, false).is_some());
        assert!(held_back(Intent::Evict("n"), &Config::default(), true).is_some());
        assert!(held_back(Intent::Disrupt("n"), &Config::default(), true).is_some());
        assert!(held_back(Intent::Tell, &paused, true).is_none());
    }

    #[test]
    fn a_dry_run_writes_nothing_but_what_keeps_it_one() {
        let dry_run = Config { dry_run: true, ..Config::default() };
        assert!(held_back(Intent::Disrupt("n"), &dry_run, false).is_some());
        assert!(held_back(Intent::Tell, &dry_run, false).is_some());
        assert!(held_back(Intent::KeepSettings, &dry_run, false).is_none());
        assert!(held_back(Intent::Ask, &dry_run, true).is_none());
        assert!(held_back(Intent::Ask, &Config::default(), false).is_some());
    }
}
