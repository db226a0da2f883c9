//! Wiring.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use http::{HeaderValue, header::USER_AGENT};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, Config, client::ClientBuilder};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, service_fn};

use crate::{
    campaign::Campaign,
    candidate::{Candidate, InvalidCandidate},
    clock::Clock,
    elector::GuardedLeaseLock,
    guard::{GuardLayer, SharedRecord},
    leadership::{Ending, Leadership},
    lease_watch::LeaseWatch,
    permits::Permits,
    record::Record,
    timing::Timing,
};

/// Why the election could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// See [`InvalidCandidate`].
    #[error("this process can't stand for election: {0}")]
    Candidate(#[from] InvalidCandidate),
    /// The client's configuration is of no use.
    #[error("no client for the Lease could be made: {0}")]
    Client(#[from] kube::Error),
}

/// What the election depends on and only the coordinator knows; kept current by it.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// The highest epoch in any claim. It is read whenever the Lease is taken, so have the claims listed before.
    pub highest_claim_epoch: Arc<AtomicU64>,
    /// This process won't last, so others are to have a free Lease first.
    pub stands_back: Arc<AtomicBool>,
}

/// Stands for election until `shutdown` is cancelled or the Lease is lost.
///
/// What is written goes through a client of its own, made from `client_config`, without kube's retries; `watching` is for the
/// watch on the Lease, which ends when this process leads. In `shutdown`, stop all work first and cancel then: from that moment there is no Permit, and the Lease
/// is given back. Must be called within a tokio runtime.
pub fn start(
    client_config: Config,
    watching: Client,
    candidate: &Candidate,
    timing: Timing,
    circumstances: Circumstances,
    shutdown: CancellationToken,
) -> Result<(Permits, watch::Receiver<Leadership>, JoinHandle<Ending>), StartError> {
    start_on_clock(client_config, watching, candidate, timing, Clock::system(), circumstances, shutdown)
}

/// As [`start`], on a clock that may be wrong.
pub fn start_on_clock(
    mut client_config: Config,
    watching: Client,
    candidate: &Candidate,
    timing: Timing,
    clock: Clock,
    circumstances: Circumstances,
    shutdown: CancellationToken,
) -> Result<(Permits, watch::Receiver<Leadership>, JoinHandle<Ending>), StartError> {
    candidate.validate()?;
    let Circumstances { highest_claim_epoch, stands_back } = circumstances;
    // A retry inside the client would send a write long after the time that its Permit is counted from.
    client_config.default_retry = false;
    name_client(&mut client_config);

    let record = SharedRecord::new(Record::new(candidate.clone(), timing));
    let guard = GuardLayer::new(record.clone(), clock.clone(), highest_claim_epoch, candidate);
    let client = Client::try_from(client_config)?;
    let unguarded = service_fn(move |request| {
        let client = client.clone();
        async move { client.send(request).await.map_err(BoxError::from) }
    });
    let client = ClientBuilder::new(unguarded, candidate.namespace.clone()).with_layer(&guard).build();

    let (leadership, leadership_seen) = watch::channel(Leadership::Unknown);
    let (renewals, renewals_asked) = mpsc::unbounded_channel();
    let permits = Permits::new(record.clone(), clock.clone(), renewals);
    let leases: Api<Lease> = Api::namespaced(watching, &candidate.namespace);
    let watch =
        LeaseWatch::new(leases, &candidate.lease, timing.lease_duration() * 2, timing.renew_interval());
    let campaign = Campaign {
        elector: GuardedLeaseLock::new(client, candidate, &timing),
        record,
        clock,
        timing,
        leadership,
        renewals: renewals_asked,
        stands_back,
        shutdown,
    };
    Ok((permits, leadership_seen, tokio::spawn(campaign.run(watch))))
}

/// The audit log can tell the election's requests from the coordinator's others.
fn name_client(config: &mut Config) {
    let base =
        config.headers.iter().find(|(name, _)| name == USER_AGENT).and_then(|(_, value)| value.to_str().ok());
    let name =
        format!("{} leadership", base.unwrap_or(concat!("mechanic-coordinator/", env!("CARGO_PKG_VERSION"))));
    config.headers.retain(|(name, _)| name != USER_AGENT);
    if let Ok(value) = HeaderValue::from_str(&name) {
        config.headers.push((USER_AGENT, value));
    }
}
