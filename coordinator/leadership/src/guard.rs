//! The guard on the way to the API server: every request for the Lease passes here.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use http::{Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body_util::BodyExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::client::Body;
use thiserror::Error;
use tower::{BoxError, Layer, Service};

use crate::{
    candidate::Candidate,
    clock::Clock,
    record::{Answer, Record},
};

/// The record, shared by the guard, the campaign and the Permits. Held for moments only, never across an await.
#[derive(Clone, Debug)]
pub(crate) struct SharedRecord(Arc<Mutex<Record>>);

impl SharedRecord {
    pub(crate) fn new(record: Record) -> Self {
        Self(Arc::new(Mutex::new(record)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Record> {
        // Each change of the record is a single assignment of a whole state, so a poisoned one is still a valid one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the guard on a client.
#[derive(Clone, Debug)]
pub(crate) struct GuardLayer {
    record: SharedRecord,
    clock: Clock,
    highest_claim_epoch: Arc<AtomicU64>,
    collection: Arc<str>,
    object: Arc<str>,
}

impl GuardLayer {
    pub(crate) fn new(
        record: SharedRecord,
        clock: Clock,
        highest_claim_epoch: Arc<AtomicU64>,
        candidate: &Candidate,
    ) -> Self {
        let collection = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", candidate.namespace);
        let object = format!("{collection}/{}", candidate.lease);
        Self { record, clock, highest_claim_epoch, collection: collection.into(), object: object.into() }
    }

    fn route(&self, request: &Request<Body>) -> Option<Route> {
        let path = request.uri().path();
        match *request.method() {
            Method::GET if path == &*self.object => Some(Route::Read),
            Method::POST if path == &*self.collection => Some(Route::Write { create: true }),
            Method::PATCH if path == &*self.object => Some(Route::Write { create: false }),
            _ => None,
        }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, rules: self.clone() }
    }
}

#[derive(Clone, Copy, Debug)]
enum Route {
    Read,
    Write { create: bool },
}

/// A request that this client is not for.
#[derive(Debug, Error)]
#[error("the election's client sends nothing but reads and writes of its Lease, so not {0} {1}")]
struct NotForThisClient(Method, String);

/// See [`GuardLayer`].
#[derive(Clone, Debug)]
pub(crate) struct Guard<S> {
    inner: S,
    rules: GuardLayer,
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that said it is ready must be the one that is called.
        let fresh = self.inner.clone();
        let inner = mem::replace(&mut self.inner, fresh);
        let rules = self.rules.clone();
        Box::pin(async move {
            match rules.route(&request) {
                Some(Route::Read) => rules.read(inner, request).await,
                Some(Route::Write { create }) => rules.write(inner, request, create).await,
                None => {
                    Err(NotForThisClient(request.method().clone(), request.uri().path().to_owned()).into())
                }
            }
        })
    }
}

impl GuardLayer {
    async fn read<S>(&self, inner: S, request: Request<Body>) -> Result<Response<Body>, BoxError>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = BoxError>,
    {
        let response = forward(inner, request).await?;
        let lease = match response.status() {
            StatusCode::OK => Some(()),
            StatusCode::NOT_FOUND => None,
            _ => return Ok(response),
        };
        let (mut parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let lease = lease.map(|()| serde_json::from_slice::<Lease>(&bytes)).transpose()?;
        let now = self.clock.now().boot;
        let answer = self.record.lock().read(lease, now);
        let Answer::Lease(lease) = answer else { return Ok(Response::from_parts(parts, Body::from(bytes))) };
        parts.status = StatusCode::OK;
        parts.headers.remove(CONTENT_LENGTH);
        Ok(Response::from_parts(parts, Body::from(serde_json::to_vec(&lease)?)))
    }

    async fn write<S>(
        &self,
        inner: S,
        request: Request<Body>,
        create: bool,
    ) -> Result<Response<Body>, BoxError>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let claims = self.highest_claim_epoch.load(Ordering::Relaxed);
        let sent = self.clock.now();
        let body = self.record.lock().write(&bytes, create, claims, &sent)?;
        parts.headers.remove(CONTENT_LENGTH);
        let response = forward(inner, Request::from_parts(parts, Body::from(body))).await?;
        if response.status() == StatusCode::CONFLICT {
            self.record.lock().conflict();
        }
        if !response.status().is_success() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let lease: Lease = serde_json::from_slice(&bytes)?;
        let now = self.clock.now().boot;
        self.record.lock().written(&lease, sent, now);
        Ok(Response::from_parts(parts, Body::from(bytes)))
    }
}

async fn forward<S>(mut inner: S, request: Request<Body>) -> Result<Response<Body>, BoxError>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxError>,
{
    inner.call(request).await
}
