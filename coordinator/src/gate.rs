//! The one gate for writes: each asks the Permit immediately before it is sent, and may not outlive it.

use std::time::Duration;

use kube::core::Status;
use mechanic_leadership::{NotLeading, Permit, Permits};
use thiserror::Error;

/// No write is waited for longer than this.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Lets writes pass while this process leads.
#[derive(Clone)]
pub(crate) struct Gate {
    permits: Permits,
}

/// A write that did not go through, as far as is known.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
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
    pub(crate) fn new(permits: Permits) -> Self {
        Self { permits }
    }

    /// Whether a write would pass now.
    pub(crate) fn is_open(&self) -> bool {
        self.permits.check().is_ok()
    }

    /// Sends one write under a live Permit.
    pub(crate) async fn write<T>(
        &self,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        send(self.permits.check()?, request).await
    }

    /// Renews the Lease, then sends: for what must not be done on an old Permit.
    pub(crate) async fn renew_then_write<T>(
        &self,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        send(self.permits.renew().await?, request).await
    }
}

async fn send<T>(permit: Permit, request: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
    match tokio::time::timeout(REQUEST_TIMEOUT.min(permit.remaining), request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(WriteError::Refused(status)),
        Ok(Err(error)) => Err(WriteError::Unknown(error.to_string())),
        Err(_) => Err(WriteError::Unknown("it took too long".to_owned())),
    }
}
