//! A coordinator's `ProbeService` that writes down what it is told.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use mechanic_proto::v1::{
    Heartbeat, Hello, NoLeader, Observation, Redirect, ReportRequest, ReportResponse, Welcome,
    probe_service_server::{ProbeService, ProbeServiceServer},
    report_request,
    report_response::Message,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, ServerTlsConfig},
};

use super::{
    TempFile,
    authority::{certified, usual},
};

pub const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What it does with a stream.
#[derive(Clone, Debug)]
pub enum Role {
    Leads,
    Redirects(String),
    KnowsNobody,
    /// Accepts, reads, and says nothing.
    Silent,
    /// Welcomes, and never reads.
    Deaf,
}

/// What arrived, in its order.
#[derive(Debug)]
pub enum Arrived {
    /// A stream with this `authorization`, on the connection from there.
    Stream(String, SocketAddr),
    Hello(Hello),
    Observation(Observation),
    Heartbeat(Heartbeat),
}

pub struct Coordinator {
    pub address: SocketAddr,
    /// The file of whoever trusts the usual authority.
    pub authorities: TempFile,
    role: Arc<Mutex<Role>>,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Coordinator {
    pub async fn start(role: Role) -> Self {
        Self::start_at(ANY_PORT, role).await
    }

    pub async fn start_at(address: SocketAddr, role: Role) -> Self {
        Self::start_as(address, role, Some(certified(usual(), "mechanic-coordinator"))).await
    }

    pub async fn start_as(address: SocketAddr, role: Role, tls: Option<ServerTlsConfig>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, arrived) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let role = Arc::new(Mutex::new(role));
        let service = Service { role: role.clone(), tell, stopped };
        // Windows that one large document fills, so that a deaf coordinator is felt.
        let mut server =
            Server::builder().initial_stream_window_size(65_535).initial_connection_window_size(65_535);
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let serving = server
            .add_service(ProbeServiceServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { serving.await.unwrap() });
        let authorities = TempFile::new(&usual().pem());
        Self { address, authorities, role, arrived, stop, server }
    }

    pub fn becomes(&self, role: Role) {
        *self.role.lock().unwrap() = role;
    }

    /// Ends all streams; new ones are served.
    pub fn hang_up(&self) {
        self.stop.send_replace(true);
        self.stop.send_replace(false);
    }

    /// Ends all streams and the port; returns where it was, and what probes go on to read.
    pub async fn die(self) -> (SocketAddr, TempFile) {
        let Self { address, authorities, stop, server, .. } = self;
        server.abort();
        let _ = server.await;
        stop.send_replace(true);
        (address, authorities)
    }

    /// What arrives next.
    pub async fn next(&mut self) -> Arrived {
        timeout(Duration::from_secs(30), self.arrived.recv()).await.expect("nothing arrived in 30 s").unwrap()
    }

    /// What arrived until now.
    pub fn so_far(&mut self) -> Vec<Arrived> {
        std::iter::from_fn(|| self.arrived.try_recv().ok()).collect()
    }

    pub async fn stream(&mut self) -> String {
        loop {
            if let Arrived::Stream(authorization, _) = self.next().await {
                return authorization;
            }
        }
    }

    /// The connection that the next stream comes by.
    pub async fn connection(&mut self) -> SocketAddr {
        loop {
            if let Arrived::Stream(_, from) = self.next().await {
                return from;
            }
        }
    }

    pub async fn hello(&mut self) -> Hello {
        loop {
            if let Arrived::Hello(hello) = self.next().await {
                return hello;
            }
        }
    }

    pub async fn observation(&mut self) -> Observation {
        loop {
            if let Arrived::Observation(observation) = self.next().await {
                return observation;
            }
        }
    }

    /// The next heartbeat that is as wanted. Before it, nothing is observed but what follows a Hello.
    pub async fn heartbeat(&mut self, wanted: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        let mut hello = false;
        loop {
            match self.next().await {
                Arrived::Heartbeat(heartbeat) if wanted(&heartbeat) => return heartbeat,
                Arrived::Hello(_) => hello = true,
                Arrived::Observation(_) if std::mem::take(&mut hello) => {}
                Arrived::Observation(observation) => panic!("not expected: {observation:?}"),
                _ => {}
            }
        }
    }
}

struct Service {
    role: Arc<Mutex<Role>>,
    tell: mpsc::UnboundedSender<Arrived>,
    stopped: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl ProbeService for Service {
    type ReportStream = ReceiverStream<Result<ReportResponse, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let authorization =
            request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let from = request.remote_addr().unwrap();
        let _ = self.tell.send(Arrived::Stream(authorization.unwrap_or_default(), from));
        let (answer, answers) = mpsc::channel(1);
        let role = self.role.lock().unwrap().clone();
        let (tell, mut stopped) = (self.tell.clone(), self.stopped.clone());
        stopped.mark_unchanged();
        let mut said = request.into_inner();
        tokio::spawn(async move {
            let message = match &role {
                Role::Leads | Role::Deaf => {
                    Some(Message::Welcome(Welcome { node_name: "node-of-the-token".to_owned(), epoch: 1 }))
                }
                Role::Redirects(leader) => {
                    Some(Message::Redirect(Redirect { leader_address: leader.clone() }))
                }
                Role::KnowsNobody => Some(Message::NoLeader(NoLeader {})),
                Role::Silent => None,
            };
            if message.is_some() {
                let _ = answer.send(Ok(ReportResponse { message })).await;
            }
            match role {
                Role::Redirects(_) | Role::KnowsNobody => return,
                Role::Deaf => {
                    let _ = stopped.changed().await;
                    return;
                }
                Role::Leads | Role::Silent => {}
            }
            loop {
                let message = tokio::select! {
                    message = said.message() => message,
                    _ = stopped.changed() => return,
                };
                let Ok(Some(ReportRequest { message: Some(message) })) = message else { return };
                let _ = tell.send(match message {
                    report_request::Message::Hello(hello) => Arrived::Hello(hello),
                    report_request::Message::Observation(observation) => Arrived::Observation(observation),
                    report_request::Message::Heartbeat(heartbeat) => Arrived::Heartbeat(heartbeat),
                });
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
