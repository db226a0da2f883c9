//! `ProbeService`: one stream for each probe.

use std::sync::Arc;

use mechanic_leadership::Leadership;
use mechanic_proto::v1::{
    NoLeader, Redirect, ReportRequest, ReportResponse, Welcome, probe_service_server::ProbeService,
    report_response::Message as Response,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, metadata::MetadataMap};

use super::{
    listeners::Listeners,
    session::Session,
    streams::{OpenStream, Streams},
};
use crate::{
    callers::{BoundNode, Callers, Refusal},
    fleet::Fleet,
    metrics::Metrics,
};

/// More than the server ever sends on one stream; so a probe that reads nothing blocks nobody.
const OUTGOING: usize = 4;

/// The service.
#[derive(Clone)]
pub(crate) struct Intake {
    pub(super) fleet: Arc<Fleet>,
    callers: Callers,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) listeners: Listeners,
    streams: Arc<Streams>,
    pub(super) metrics: Metrics,
}

impl Intake {
    pub(crate) fn new(
        fleet: Arc<Fleet>,
        callers: Callers,
        leadership: watch::Receiver<Leadership>,
        listeners: Listeners,
        metrics: Metrics,
    ) -> Self {
        let streams = Arc::new(Streams::new(metrics.clone()));
        Self { fleet, callers, leadership, listeners, streams, metrics }
    }

    fn epoch(&self) -> Option<u64> {
        match *self.leadership.borrow() {
            Leadership::Leading { epoch } => Some(epoch),
            _ => None,
        }
    }

    /// Where a probe should go instead.
    pub(super) fn elsewhere(&self) -> Response {
        match &*self.leadership.borrow() {
            Leadership::Following { leader: Some(leader) } => {
                Response::Redirect(Redirect { leader_address: leader.address.clone() })
            }
            _ => Response::NoLeader(NoLeader {}),
        }
    }

    /// Lets a probe speak for the Node that its token is bound to.
    async fn let_in(&self, metadata: &MetadataMap) -> Result<OpenStream, Refusal> {
        let BoundNode { name, uid } = self.callers.probe(metadata).await?;
        let is_there = self.fleet.read(|state| state.node(&name).is_some_and(|node| node.uid == uid));
        if !is_there {
            return Err(Refusal::NodeGone(name));
        }
        let stream = self.streams.open(&name)?;
        if !self.fleet.change(|state| state.begin_session(&name, &uid, stream.id)) {
            return Err(Refusal::NodeGone(name));
        }
        Ok(stream)
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
        let stream = self.let_in(request.metadata()).await.inspect_err(|refusal| {
            self.metrics.stream_refused(refusal);
            tracing::warn!(%refusal, peer = ?request.remote_addr(), "a probe was not let in");
        })?;
        let welcome = Response::Welcome(Welcome { node_name: stream.node.clone(), epoch });
        let _ = sender.try_send(Ok(response(welcome)));
        let session = Session { intake: self.clone(), stream };
        tokio::spawn(session.run(request.into_inner(), sender));
        Ok(tonic::Response::new(ReceiverStream::new(receiver)))
    }
}

pub(super) fn response(message: Response) -> ReportResponse {
    ReportResponse { message: Some(message) }
}
