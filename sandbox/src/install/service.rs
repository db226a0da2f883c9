//! A stand-in for a Service: a TCP proxy with an address of its own over the Ready pods that the selector chooses.
//!
//! The real one can't work here, since the API server refuses loopback addresses in `EndpointSlices`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::pods::Pods;
use super::prober::port;

/// Loopback answers or refuses at once; a stopped process's backlog does neither.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// One port of one Service. Ends, with its connections, when it is dropped.
#[derive(Debug)]
pub(super) struct ServiceProxy {
    pub(super) address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl ServiceProxy {
    pub(super) async fn start(service: &Service, port: &ServicePort, ip: IpAddr, pods: Pods) -> Result<Self> {
        let name = service.metadata.name.clone().unwrap_or_default();
        let number = u16::try_from(port.port).with_context(|| format!("{} is no port", port.port))?;
        let listener = TcpListener::bind((ip, number))
            .await
            .with_context(|| format!("the stand-in for Service {name} can't listen on {ip}:{number}"))?;
        let backends = Backends {
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            selector: service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default(),
            port: port.target_port.clone().unwrap_or(IntOrString::Int(port.port)),
            pods,
            turn: AtomicUsize::new(0),
        };
        let address = listener.local_addr()?;
        let task = AbortOnDropHandle::new(tokio::spawn(accept(listener, Arc::new(backends))));
        Ok(Self { address, _task: task })
    }
}

#[derive(Debug)]
struct Backends {
    namespace: String,
    selector: BTreeMap<String, String>,
    port: IntOrString,
    pods: Pods,
    turn: AtomicUsize,
}

impl Backends {
    /// Where the next connection may go, in the order in which to try.
    fn next(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = self
            .pods
            .processes()
            .into_iter()
            .filter(|pod| pod.ready && !pod.terminating && pod.namespace == self.namespace)
            .filter(|pod| self.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value)))
            .filter_map(|pod| Some(SocketAddr::new(pod.ip, port(&self.port, &pod.container).ok()?)))
            .collect();
        if !addresses.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(turn);
        }
        addresses
    }

    async fn connect(&self) -> Option<TcpStream> {
        for address in self.next() {
            if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                return Some(stream);
            }
        }
        None
    }
}

async fn accept(listener: TcpListener, backends: Arc<Backends>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&backends)));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

// Without a backend the connection is closed, which is as near to a refusal as a proxy gets.
async fn connection(mut from: TcpStream, backends: Arc<Backends>) {
    if let Some(mut to) = backends.connect().await {
        let _ = from.set_nodelay(true);
        let _ = to.set_nodelay(true);
        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
    }
}
