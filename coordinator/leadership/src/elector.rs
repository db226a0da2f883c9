//! `kube-leader-election`, behind the one trait that the rest of this crate knows of it.

use std::future::Future;

use kube::Client;
use kube_leader_election::{Error, LeaseLock, LeaseLockParams, LeaseLockResult};
use thiserror::Error;

use crate::{candidate::Candidate, timing::Timing};

/// A call that didn't get the Lease.
#[derive(Debug, Error)]
pub(crate) enum ElectorError {
    /// Somebody else wrote between our read and our write; to be read again at once.
    #[error("somebody else wrote to the Lease at the same moment")]
    Conflict,
    #[error("{0}")]
    Failed(String),
}

/// What drives the Lease: reads it and, where it may, writes it. Has no time-outs of its own.
pub(crate) trait Elector: Send {
    /// Takes the Lease if it is free, renews it if it is ours. True if it is ours afterwards.
    fn take_or_renew(&self) -> impl Future<Output = Result<bool, ElectorError>> + Send;

    /// Gives the Lease back.
    fn give_back(&self) -> impl Future<Output = Result<(), ElectorError>> + Send;
}

/// Safe only on a client behind the guard.
pub(crate) struct GuardedLeaseLock(LeaseLock);

impl GuardedLeaseLock {
    pub(crate) fn new(guarded: Client, candidate: &Candidate, timing: &Timing) -> Self {
        let params = LeaseLockParams {
            lease_name: candidate.lease.clone(),
            holder_id: candidate.holder.clone(),
            lease_ttl: timing.lease_duration(),
        };
        Self(LeaseLock::new(guarded, &candidate.namespace, params))
    }
}

impl Elector for GuardedLeaseLock {
    async fn take_or_renew(&self) -> Result<bool, ElectorError> {
        match self.0.try_acquire_or_renew().await {
            Ok(LeaseLockResult::Acquired(_)) => Ok(true),
            Ok(LeaseLockResult::NotAcquired(_)) => Ok(false),
            Err(error) => Err(explain(&error)),
        }
    }

    async fn give_back(&self) -> Result<(), ElectorError> {
        self.0.step_down().await.map_err(|error| explain(&error))
    }
}

fn explain(error: &Error) -> ElectorError {
    let cause = match error {
        Error::GetLease(cause)
        | Error::CreateLease(cause)
        | Error::AcquireLease(cause)
        | Error::RenewLease(cause)
        | Error::ReleaseLease(cause)
        | Error::Kube(cause) => Some(cause),
        _ => None,
    };
    match cause {
        Some(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            ElectorError::Conflict
        }
        _ => ElectorError::Failed(error.to_string()),
    }
}
