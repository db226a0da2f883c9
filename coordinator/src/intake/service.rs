//! `ProbeService`: one stream for each probe.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mechanic_leadership::Leadership;
use mechanic_proto::v1::{
    NoLeader, Redirect, ReportRequest, ReportResponse, Welcome, probe_service_server::ProbeService,
    report_request::Message as Request, report_response::Message as Response,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    authentication::{BoundNode, Reviewer},
    listeners::Listeners,
    messages,
};
use crate::{
    clock,
    fleet::{Fleet, SessionId},
};

/// More than the server ever sends on one stream; so a probe that reads nothing blocks nobody.
const OUTGOING: usize = 4;

/// A Hello, and any message after it, must come within this time; heartbeats come every 10 s.
const SILENCE: Duration = Duration::from_mins(1);

/// The service.
#[derive(Clone)]
pub(crate) struct Intake {
    fleet: Arc<Fleet>,
    reviewer: Reviewer,
    leadership: watch::Receiver<Leadership>,
    listeners: Listeners,
    sessions: Arc<AtomicU64>,
}

impl Intake {
    pub(crate) fn new(
        fleet: Arc<Fleet>,
        reviewer: Reviewer,
        leadership: watch::Receiver<Leadership>,
        listeners: Listeners,
    ) -> Self {
        Self { fleet, reviewer, leadership, listeners, sessions: Arc::default() }
    }

    fn epoch(&self) -> Option<u64> {
        match *self.leadership.borrow() {
            Leadership::Leading { epoch } => Some(epoch),
            _ => None,
        }
    }

    /// Where a probe should go instead.
    fn elsewhere(&self) -> Response {
        match &*self.leadership.borrow() {
            Leadership::Following { leader: Some(leader) } => {
                Response::Redirect(Redirect { leader_address: leader.address.clone() })
            }
            _ => Response::NoLeader(NoLeader {}),
        }
    }
}

type Outgoing = ReceiverStream<Result<ReportResponse, Status>>;

#[tonic::async_trait]
impl ProbeService for Intake {
    type ReportStream = Outgoing;

    async fn report(
        &self,
        request: tonic::Request<Streaming<ReportRequest>>,
    ) -> Result<tonic::Response<Outgoing>, Status> {
        let (sender, receiver) = mpsc::channel(OUTGOING);
        let Some(epoch) = self.epoch() else {
            // The channel is new, so there is room.
            let _ = sender.try_send(Ok(response(self.elsewhere())));
            return Ok(tonic::Response::new(ReceiverStream::new(receiver)));
        };
        let node = self.reviewer.probe(request.metadata()).await?;
        let id = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        if !self.fleet.change(|state| state.begin_session(&node.name, &node.uid, id)) {
            return Err(Status::failed_precondition(format!(
                "there is no Node {} with the UID that the token is bound to",
                node.name
            )));
        }
        let welcome = Response::Welcome(Welcome { node_name: node.name.clone(), epoch });
        let _ = sender.try_send(Ok(response(welcome)));
        let session = Session { intake: self.clone(), node, id };
        tokio::spawn(session.run(request.into_inner(), sender));
        Ok(tonic::Response::new(ReceiverStream::new(receiver)))
    }
}

fn response(message: Response) -> ReportResponse {
    ReportResponse { message: Some(message) }
}

/// One stream that is bound to a node.
struct Session {
    intake: Intake,
    node: BoundNode,
    id: SessionId,
}

impl Session {
    async fn run(
        self,
        mut incoming: Streaming<ReportRequest>,
        outgoing: mpsc::Sender<Result<ReportResponse, Status>>,
    ) {
        let node = self.node.name.as_str();
        let mut leadership = self.intake.leadership.clone();
        tracing::debug!(node, "probe connected");
        loop {
            tokio::select! {
                () = no_longer_leading(&mut leadership) => {
                    let _ = outgoing.try_send(Ok(response(self.intake.elsewhere())));
                    return;
                }
                () = outgoing.closed() => return,
                message = tokio::time::timeout(SILENCE, incoming.message()) => match message {
                    Ok(Ok(Some(ReportRequest { message: Some(message) }))) => {
                        if !self.take_in(message) {
                            let refusal = Status::aborted("a newer stream speaks for this node");
                            let _ = outgoing.try_send(Err(refusal));
                            return;
                        }
                    }
                    // A message of a later version: that it came is all it says.
                    Ok(Ok(Some(ReportRequest { message: None }))) => {}
                    Ok(Ok(None)) => return,
                    Ok(Err(status)) => {
                        tracing::debug!(node, %status, "probe's stream broke");
                        return;
                    }
                    Err(_) => {
                        let refusal = Status::deadline_exceeded("no message came for 60 s");
                        let _ = outgoing.try_send(Err(refusal));
                        return;
                    }
                },
            }
        }
    }

    /// False if a newer stream speaks for the node.
    fn take_in(&self, message: Request) -> bool {
        let node = self.node.name.as_str();
        let now = clock::monotonic();
        self.intake.listeners.hear(node, &message);
        match message {
            Request::Hello(hello) => {
                if !hello.node_name.is_empty() && hello.node_name != node {
                    tracing::warn!(
                        node,
                        claimed = hello.node_name,
                        "the probe says that it runs on another node than its token; the token counts"
                    );
                }
                let vm = hello.virtual_machine.as_ref().map(messages::vm);
                self.intake.fleet.change(|state| state.hello(node, self.id, now, hello.boot_id, vm))
            }
            Request::Observation(observation) => {
                let polls = observation.evidence.as_ref().map(messages::polls);
                let seen = messages::seen(observation);
                self.intake.fleet.change(|state| state.observe(node, self.id, now, seen, polls))
            }
            Request::Heartbeat(heartbeat) => {
                let polls = heartbeat.evidence.as_ref().map(messages::polls);
                self.intake.fleet.change(|state| state.heartbeat(node, self.id, now, polls))
            }
        }
    }
}

async fn no_longer_leading(leadership: &mut watch::Receiver<Leadership>) {
    // An elector that is gone leads nobody.
    let _ = leadership.wait_for(|leadership| !matches!(leadership, Leadership::Leading { .. })).await;
}
