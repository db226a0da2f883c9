//! An HTTP proxy between mechanic and the API server that holds, drops, delays or answers chosen requests, so that a
//! kill happens *at* a step and not after a sleep.
//!
//! Each caller gets an entrance of its own, plain HTTP on loopback; the way on is HTTPS. Credentials pass through, so
//! the API server sees who calls. Whatever no fault is for goes on unchanged, watches as they flow.

mod clock;
mod rule;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::Stream;
use http::{HeaderName, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::ConfigExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

pub use rule::{Effect, Fault, FaultHandle, Requests, Seen};

use rule::Rule;

type Body = BoxBody<Bytes, HungUp>;
type Sender = dyn Fn(Request<Full<Bytes>>) -> futures::future::BoxFuture<'static, Result<Response<Incoming>, HungUp>>
    + Send
    + Sync;

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the fault proxy hung up: {0}")]
struct HungUp(String);

/// The proxy. It ends, with all its entrances and connections, when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    inside: Arc<Inside>,
    ip: IpAddr,
    entrances: Mutex<Vec<AbortOnDropHandle<()>>>,
}

struct Inside {
    upstream: Uri,
    send: Box<Sender>,
    rules: Mutex<Vec<Arc<Rule>>>,
    /// Counts the orders to cut, and names the caller they were for (`None` is everybody).
    cut: watch::Sender<(u64, Option<String>)>,
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inside").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl FaultProxy {
    /// A proxy in front of the API server that `upstream` leads to (its address and authority are used, its
    /// credentials are not), with entrances on `ip`.
    pub fn new(upstream: &kube::Config, ip: impl Into<IpAddr>) -> Result<Self> {
        let connector =
            upstream.rustls_https_connector().context("the API server's certificate is unusable")?;
        // No pool and no retry: one request here is one request there, and a server that went is noticed.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .build::<_, Full<Bytes>>(connector);
        let send = move |request| -> futures::future::BoxFuture<'static, _> {
            let answer = client.request(request);
            Box::pin(async move { answer.await.map_err(|error| HungUp(error.to_string())) })
        };
        let inside = Arc::new(Inside {
            upstream: upstream.cluster_url.clone(),
            send: Box::new(send),
            rules: Mutex::default(),
            cut: watch::Sender::new((0, None)),
        });
        Ok(Self { inside, ip: ip.into(), entrances: Mutex::default() })
    }

    /// Opens an entrance for this caller on a free port and returns its address. It speaks plain HTTP.
    pub async fn entrance(&self, caller: &str) -> Result<SocketAddr> {
        let listener = TcpListener::bind((self.ip, 0))
            .await
            .with_context(|| format!("the fault proxy can't open an entrance for {caller} on {}", self.ip))?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, Arc::clone(&self.inside), caller.into()));
        self.entrances.lock().unwrap_or_else(PoisonError::into_inner).push(AbortOnDropHandle::new(task));
        Ok(address)
    }

    /// Puts a fault in force. Where several are for one request, the oldest takes it.
    pub fn inject(&self, fault: Fault) -> FaultHandle {
        let rule = Arc::new(Rule::new(fault));
        let mut rules = self.inside.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.retain(|rule| !rule.is_over());
        rules.push(Arc::clone(&rule));
        FaultHandle::new(rule)
    }

    /// Breaks all answers that are still flowing, which is all watches, of this caller or of everybody. New ones are
    /// let through.
    pub fn cut_watches(&self, caller: Option<&str>) {
        self.inside.cut.send_modify(|(count, of)| {
            *count += 1;
            *of = caller.map(str::to_owned);
        });
    }
}

async fn accept(listener: TcpListener, inside: Arc<Inside>, caller: Arc<str>) {
    // Ends with this task, and so with the proxy.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&inside), Arc::clone(&caller)));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, inside: Arc<Inside>, caller: Arc<str>) {
    let service = service_fn(|request| handle(Arc::clone(&inside), Arc::clone(&caller), request));
    // A caller that goes away, or a fault that closes the connection, is no error of the proxy's.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn handle(
    inside: Arc<Inside>,
    caller: Arc<str>,
    request: Request<Incoming>,
) -> Result<Response<Body>, HungUp> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|error| HungUp(error.to_string()))?.to_bytes();
    let user_agent = head.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let seen = Seen {
        caller: caller.to_string(),
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        user_agent: user_agent.unwrap_or_default().to_owned(),
        body: body.clone(),
    };
    let rule = inside.rule_for(&seen);
    let mut way_on = WayOn { inside, caller, head, body };
    let Some(rule) = rule else { return way_on.go().await };
    match rule.effect().clone() {
        Effect::Hold => {
            held(&rule).await?;
            way_on.go().await
        }
        Effect::HoldOnItsWay => {
            let on_its_way = tokio::spawn(async move {
                held(&rule).await?;
                way_on.go().await
            });
            on_its_way.await.map_err(|error| HungUp(error.to_string()))?
        }
        Effect::HoldAnswer => {
            let answer = way_on.go().await?;
            held(&rule).await?;
            Ok(answer)
        }
        Effect::DropBefore => Err(HungUp("before the request took effect".into())),
        Effect::DropAfterTakingEffect => {
            let answer = way_on.go().await?;
            // Only the whole answer says that it took effect.
            let _ = answer.into_body().collect().await;
            Err(HungUp("after the request took effect".into()))
        }
        Effect::Delay(time) => {
            tokio::time::sleep(time).await;
            way_on.go().await
        }
        Effect::ClockAhead(by) => {
            way_on.body = clock::moved(&way_on.body, by);
            let (head, body) = way_on.go().await?.into_parts();
            Ok(Response::from_parts(head, clock::moved_answer(body, -by)))
        }
        Effect::Answer { status, body } => Ok(answer(status, &body)),
    }
}

async fn held(rule: &Rule) -> Result<(), HungUp> {
    if rule.released().await { Ok(()) } else { Err(HungUp("the fault was cleared".into())) }
}

fn answer(status: u16, body: &serde_json::Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

impl Inside {
    fn rule_for(&self, seen: &Seen) -> Option<Arc<Rule>> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.iter().find(|rule| rule.takes(seen)).cloned()
    }
}

/// A request on its way to the API server.
struct WayOn {
    inside: Arc<Inside>,
    caller: Arc<str>,
    head: http::request::Parts,
    body: Bytes,
}

/// These are about one connection, not about the request.
const HOP_BY_HOP: [HeaderName; 4] =
    [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH];

impl WayOn {
    async fn go(self) -> Result<Response<Body>, HungUp> {
        if self.head.method == Method::GET {
            return self.send().await;
        }
        // Without the proxy a write that left a process takes effect even if the process dies while it is underway.
        tokio::spawn(self.send()).await.map_err(|error| HungUp(error.to_string()))?
    }

    async fn send(self) -> Result<Response<Body>, HungUp> {
        let Self { inside, caller, mut head, body } = self;
        let mut uri = inside.upstream.clone().into_parts();
        uri.path_and_query = head.uri.path_and_query().cloned();
        head.uri = Uri::from_parts(uri).map_err(|error| HungUp(error.to_string()))?;
        head.version = http::Version::HTTP_11;
        for name in HOP_BY_HOP {
            head.headers.remove(name);
        }
        let cut = inside.cut.subscribe();
        let response = (inside.send)(Request::from_parts(head, Full::new(body))).await?;
        let (mut head, body) = response.into_parts();
        head.headers.remove(header::CONNECTION);
        head.headers.remove(header::TRANSFER_ENCODING);
        Ok(Response::from_parts(head, BodyExt::boxed(StreamBody::new(flow(body, cut, caller)))))
    }
}

/// The answer's frames as they come, until somebody cuts them off.
fn flow(
    body: Incoming,
    cut: watch::Receiver<(u64, Option<String>)>,
    caller: Arc<str>,
) -> impl Stream<Item = Result<Frame<Bytes>, HungUp>> {
    futures::stream::unfold(Some((body, cut)), move |state| {
        let caller = Arc::clone(&caller);
        async move {
            let (mut body, mut cut) = state?;
            tokio::select! {
                frame = body.frame() => match frame? {
                    Ok(frame) => Some((Ok(frame), Some((body, cut)))),
                    Err(error) => Some((Err(HungUp(error.to_string())), None)),
                },
                () = cut_for(&mut cut, &caller) => Some((Err(HungUp("the watches were cut".into())), None)),
            }
        }
    })
}

async fn cut_for(cut: &mut watch::Receiver<(u64, Option<String>)>, caller: &str) {
    while cut.changed().await.is_ok() {
        if cut.borrow_and_update().1.as_deref().is_none_or(|of| of == caller) {
            return;
        }
    }
    // The proxy is gone; the connection goes with it.
    std::future::pending::<()>().await;
}
