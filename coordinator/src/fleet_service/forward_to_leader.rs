//! What every call of `FleetService` passes: who calls, and whether they may, is asked first; then the leader answers.
//!
//! A call is passed on as it came and its answer as it is, so that neither a new call nor a field that only the
//! leader's version knows needs anything here.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Request, Response};
use mechanic_leadership::Leadership;
use tokio::sync::watch;
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service},
    metadata::MetadataMap,
    server::NamedService,
    transport::{Channel, Endpoint},
};
use tower::ServiceExt;

use crate::{callers::Callers, metrics::Metrics, tls::Identity};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Marks a call that a follower has passed on: while the leader changes, two followers may take each other for it.
const FORWARDED: HeaderName = HeaderName::from_static("mechanic-forwarded");

/// Lets the service answer where this coordinator leads; a follower forwards to the leader, the caller's token
/// included.
#[derive(Clone)]
pub(crate) struct ForwardToLeader<S> {
    service: S,
    callers: Callers,
    leadership: watch::Receiver<Leadership>,
    identity: Identity,
    metrics: Metrics,
}

impl<S> ForwardToLeader<S> {
    pub(crate) fn new(
        service: S,
        callers: Callers,
        leadership: watch::Receiver<Leadership>,
        identity: Identity,
        metrics: Metrics,
    ) -> Self {
        Self { service, callers, leadership, identity, metrics }
    }

    /// The leader's address, or nothing where this is the leader.
    fn leader_elsewhere(&self) -> Result<Option<String>, Status> {
        match &*self.leadership.borrow() {
            Leadership::Leading { .. } => Ok(None),
            Leadership::Following { leader: Some(leader) } => Ok(Some(leader.address.clone())),
            _ => Err(Status::unavailable("nobody is known to lead; try again")),
        }
    }
}

impl<S> ForwardToLeader<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    async fn answer(self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        let metadata = MetadataMap::from_headers(request.headers().clone());
        self.callers.reader(&metadata).await.inspect_err(|refusal| self.metrics.call_refused(refusal))?;
        let Some(address) = self.leader_elsewhere()? else {
            return self.service.oneshot(request).await.map_err(|never| match never {});
        };
        if request.headers_mut().insert(FORWARDED, HeaderValue::from_static("true")).is_some() {
            return Err(Status::unavailable("the leader has just changed; try again"));
        }
        let unreachable = |error: tonic::transport::Error| {
            Status::unavailable(format!("the leader at {address} is not reached: {error}"))
        };
        // A leader that is frozen answers no handshake.
        let connected = tokio::time::timeout(TIMEOUT, connect(&address, &self.identity)).await;
        let Ok(leader) = connected else {
            return Err(Status::unavailable(format!("the leader at {address} does not answer")));
        };
        let leader = leader.map_err(unreachable)?;
        leader.oneshot(request).await.map_err(unreachable)
    }
}

/// Only to who is known to be a coordinator: the caller's token goes with it.
async fn connect(address: &str, identity: &Identity) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?;
    let endpoint = endpoint.tls_config(identity.client_config())?;
    endpoint.timeout(TIMEOUT).connect().await
}

impl<S> Service<Request<Body>> for ForwardToLeader<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.clone().answer(request);
        Box::pin(async { Ok(answer.await.unwrap_or_else(Status::into_http)) })
    }
}

impl<S: NamedService> NamedService for ForwardToLeader<S> {
    const NAME: &'static str = S::NAME;
}
