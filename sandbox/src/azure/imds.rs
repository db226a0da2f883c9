//! The metadata service of one VM: a real HTTP server on an address of its own.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::protocol::{Asked, answer};
use super::{Approval, Behaviour, Document, Power, Vm, locked};

type Body = BoxBody<Bytes, Infallible>;

/// Azure documents five requests a second and VM.
const REQUESTS_PER_SECOND: usize = 5;

/// What the VMs of one placement group have in common.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) document: Mutex<Document>,
    pub(super) approvals: Mutex<Vec<Approval>>,
}

/// How often a VM's IMDS was asked for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// `GET /metadata/scheduledevents`.
    pub events: u64,
    /// `GET /metadata/instance…`.
    pub instance: u64,
    /// `POST /metadata/scheduledevents`.
    pub approvals: u64,
    /// Anything else.
    pub other: u64,
    /// How many of all these got 429 because they were too many.
    pub throttled: u64,
}

impl RequestCounts {
    /// All requests, whatever they asked for.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.events + self.instance + self.approvals + self.other
    }
}

/// Everything the server and the test's hand share about one VM.
#[derive(Debug)]
pub(super) struct State {
    vm: Mutex<Vm>,
    pub(super) group: Arc<Group>,
    pub(super) behaviour: watch::Sender<Behaviour>,
    pub(super) power: watch::Sender<Power>,
    pub(super) counts: Mutex<RequestCounts>,
    pub(super) raw_document: Mutex<Option<Bytes>>,
    pub(super) throttle: watch::Sender<bool>,
    first_request: Mutex<Option<Instant>>,
    recent: Mutex<VecDeque<Instant>>,
}

impl State {
    pub(super) fn new(vm: Vm, group: Arc<Group>, boot_id: String) -> Self {
        Self {
            vm: Mutex::new(vm),
            group,
            behaviour: watch::Sender::new(Behaviour::Normal),
            power: watch::Sender::new(Power { on: true, boot_id }),
            counts: Mutex::default(),
            raw_document: Mutex::default(),
            throttle: watch::Sender::new(true),
            first_request: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    pub(super) fn vm(&self) -> Vm {
        locked(&self.vm).clone()
    }

    pub(super) fn set_vm_id(&self, vm_id: &str) {
        vm_id.clone_into(&mut locked(&self.vm).vm_id);
    }

    /// A new behaviour starts over: a slow first answer is slow again.
    pub(super) fn behave(&self, behaviour: Behaviour) {
        locked(&self.first_request).take();
        self.behaviour.send_replace(behaviour);
    }

    /// A VM that is off answers nobody, whatever was set.
    fn behaviour_now(&self) -> Behaviour {
        if self.power.borrow().on { *self.behaviour.borrow() } else { Behaviour::Silent }
    }

    async fn until(&self, wanted: impl Fn(Behaviour) -> bool) {
        // Subscribed before the first look, or a change in between would be missed.
        let (mut behaviour, mut power) = (self.behaviour.subscribe(), self.power.subscribe());
        while !wanted(self.behaviour_now()) {
            // Both senders live in `self`, so neither can be closed.
            tokio::select! { _ = behaviour.changed() => {}, _ = power.changed() => {} }
        }
    }

    fn count(&self, method: &str, path: &str) -> bool {
        let too_many = *self.throttle.borrow() && self.is_one_too_many();
        let mut counts = locked(&self.counts);
        let counter = match (method, path) {
            ("GET", "/metadata/scheduledevents") => &mut counts.events,
            ("POST", "/metadata/scheduledevents") => &mut counts.approvals,
            ("GET", path) if path.starts_with("/metadata/instance") => &mut counts.instance,
            _ => &mut counts.other,
        };
        *counter += 1;
        counts.throttled += u64::from(too_many);
        too_many
    }

    fn is_one_too_many(&self) -> bool {
        let now = Instant::now();
        let mut recent = locked(&self.recent);
        recent.retain(|at| now.duration_since(*at) < Duration::from_secs(1));
        recent.push_back(now);
        recent.len() > REQUESTS_PER_SECOND
    }

    fn slow_first_answer_left(&self, takes: Duration) -> Duration {
        let first = *locked(&self.first_request).get_or_insert_with(Instant::now);
        takes.saturating_sub(first.elapsed())
    }
}

/// The running server; dropping it closes the port and all connections.
#[derive(Debug)]
pub(super) struct Imds {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Imds {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Imds {
    pub(super) async fn start(state: Arc<State>, address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("IMDS of VM {} can't listen on {address}", state.vm().name))?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(serve(state, listener, address));
        Ok(Self { address, task })
    }
}

async fn serve(state: Arc<State>, first: TcpListener, address: SocketAddr) {
    let mut listener = Some(first);
    loop {
        state.until(|behaviour| behaviour != Behaviour::Refused).await;
        let bound = match listener.take() {
            Some(listener) => Ok(listener),
            None => TcpListener::bind(address).await,
        };
        let Ok(listening) = bound else {
            // The old socket may take a moment to go away.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Dropping the set aborts the connections: who refuses new ones doesn't keep old ones.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listening.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(connection(Arc::clone(&state), stream));
                    }
                }
                Some(_) = connections.join_next() => {}
                () = state.until(|behaviour| behaviour == Behaviour::Refused) => break,
            }
        }
    }
}

async fn connection(state: Arc<State>, stream: TcpStream) {
    state.until(|behaviour| behaviour != Behaviour::Silent).await;
    let service = service_fn(|request| handle(Arc::clone(&state), request));
    // A client that goes away in the middle is no news.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the simulated IMDS hung up")]
struct HungUp;

async fn handle(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, HungUp> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| HungUp)?.to_bytes();
    let too_many = state.count(head.method.as_str(), head.uri.path());
    let behaviour = state.behaviour_now();
    match behaviour {
        Behaviour::SlowFirstAnswer(takes) => {
            tokio::time::sleep(state.slow_first_answer_left(takes)).await;
        }
        Behaviour::Slow(takes) => tokio::time::sleep(takes).await,
        Behaviour::Hanging | Behaviour::Silent | Behaviour::Refused => {
            state.until(|now| now != behaviour).await;
            return Err(HungUp);
        }
        _ => {}
    }
    if too_many {
        return Ok(throttled());
    }
    Ok(match behaviour {
        Behaviour::Throttled => throttled(),
        Behaviour::ErrorWithJson => {
            reply(500, "application/json; charset=utf-8", r#"{"error":"Internal Server Error"}"#)
        }
        Behaviour::ErrorWithoutBody => reply(500, "text/plain", ""),
        Behaviour::Gone => reply(410, "application/json; charset=utf-8", r#"{"error":"Gone"}"#),
        Behaviour::EmptyBody => reply(200, "application/json; charset=utf-8", ""),
        Behaviour::Html => {
            reply(200, "text/html", "<!DOCTYPE html><html><body>Sign in to the proxy</body></html>")
        }
        Behaviour::BrokenJson => {
            let mut whole = by_the_book(&state, head.uri.path());
            whole.truncate(whole.len() * 2 / 3);
            reply(200, "application/json; charset=utf-8", whole)
        }
        Behaviour::HangingBody => half_a_body(by_the_book(&state, head.uri.path())),
        _ => answer_by_the_book(&state, &head, &body),
    })
}

fn answer_by_the_book(state: &State, head: &http::request::Parts, body: &[u8]) -> Response<Body> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let asked = Asked {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        metadata_header: header("metadata"),
        forwarded: head.headers.contains_key("x-forwarded-for"),
        body,
    };
    let document = locked(&state.group.document).clone();
    let answer = answer(&asked, &state.vm(), &document);
    locked(&state.group.approvals)
        .extend(answer.approved.into_iter().map(|event_id| Approval { event_id, by_vm: state.vm().name }));
    let is_document = answer.status == 200 && answer.body.get("Events").is_some();
    let raw = if is_document { locked(&state.raw_document).clone() } else { None };
    let body = raw.unwrap_or_else(|| answer.body.to_string().into());
    reply(answer.status, "application/json; charset=utf-8", body)
}

// The text that a good answer would have had, to be spoilt by the caller.
fn by_the_book(state: &State, path: &str) -> String {
    if path.starts_with("/metadata/instance") {
        return state.vm().compute().to_string();
    }
    locked(&state.group.document).render("2020-07-01").to_string()
}

fn throttled() -> Response<Body> {
    reply(429, "text/plain", "Throttle Result: Too Many Requests")
}

fn reply(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

fn half_a_body(whole: String) -> Response<Body> {
    let promised = whole.len();
    let half = Bytes::from(whole).slice(..promised / 2);
    let frames = futures::stream::iter([Ok(Frame::data(half))]).chain(futures::stream::pending());
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert(header::CONTENT_LENGTH, promised.into());
    response
}
