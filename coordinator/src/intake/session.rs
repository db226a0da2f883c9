//! One stream that is bound to a node, from its welcome to its end.

use std::time::Duration;

use mechanic_leadership::Leadership;
use mechanic_plan::Monotonic;
use mechanic_proto::v1::{ReportRequest, ReportResponse, report_request::Message as Request};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Status, Streaming};

use super::{
    messages,
    pace::Pace,
    polls_told::PollsTold,
    service::{Intake, response},
    streams::OpenStream,
};
use crate::{
    clock,
    fleet::{FleetState, SessionId},
};

/// A Hello, and any message after it, must come within this time; heartbeats come every 10 s.
const SILENCE: Duration = Duration::from_secs(25);

/// The stream, with all that it needs.
pub(super) struct Session {
    pub(super) intake: Intake,
    pub(super) stream: OpenStream,
}

type Outgoing = mpsc::Sender<Result<ReportResponse, Status>>;

impl Session {
    pub(super) async fn run(self, mut incoming: Streaming<ReportRequest>, outgoing: Outgoing) {
        let node = self.stream.node.as_str();
        tracing::debug!(node, "probe connected");
        let mut leadership = self.intake.leadership.clone();
        let reason = tokio::select! {
            () = no_longer_leading(&mut leadership) => {
                let _ = outgoing.try_send(Ok(response(self.intake.elsewhere())));
                "not_leading"
            }
            () = self.stream.replaced.cancelled() => {
                let _ = outgoing.try_send(Err(Status::aborted("a newer stream speaks for this node")));
                "replaced"
            }
            () = outgoing.closed() => "closed",
            reason = self.listen(&mut incoming, &outgoing) => reason,
        };
        self.intake.metrics.stream_ended(reason);
    }

    /// Takes in what the probe says, until that has an end.
    async fn listen(&self, incoming: &mut Streaming<ReportRequest>, outgoing: &Outgoing) -> &'static str {
        let node = self.stream.node.as_str();
        let mut pace = Pace::new(Instant::now());
        let mut polls_told = PollsTold::new(Instant::now());
        loop {
            match timeout(SILENCE, incoming.message()).await {
                Ok(Ok(Some(ReportRequest { message: Some(message) }))) => {
                    if let Request::Heartbeat(heartbeat) = &message {
                        polls_told.count(heartbeat, Instant::now(), &self.intake.metrics.imds);
                    }
                    if !self.take_in(message) {
                        let gone =
                            Status::failed_precondition("the Node is gone, or another one of its name");
                        let _ = outgoing.try_send(Err(gone));
                        return "node_gone";
                    }
                }
                // A message of a later version: that it came is all it says.
                Ok(Ok(Some(ReportRequest { message: None }))) => {}
                Ok(Ok(None)) => return "closed",
                Ok(Err(status)) => {
                    tracing::debug!(node, %status, "probe's stream broke");
                    return if status.code() == Code::OutOfRange { "too_large" } else { "closed" };
                }
                Err(_) => {
                    let silent = format!("no message came for {} s", SILENCE.as_secs());
                    let _ = outgoing.try_send(Err(Status::deadline_exceeded(silent)));
                    return "silent";
                }
            }
            let wait = pace.count(Instant::now());
            if !wait.is_zero() {
                self.intake.metrics.message_held_back();
                sleep(wait).await;
            }
        }
    }

    /// False if the stream speaks for no Node any more.
    fn take_in(&self, message: Request) -> bool {
        let (node, id) = (self.stream.node.as_str(), self.stream.id);
        let Intake { fleet, metrics, listeners, .. } = &self.intake;
        listeners.hear(node, &message);
        metrics.message(match &message {
            Request::Hello(_) => "hello",
            Request::Observation(_) => "observation",
            Request::Heartbeat(_) => "heartbeat",
        });
        fleet.change(|state| take_in(state, node, id, clock::monotonic(), message))
    }
}

/// Takes in what the probe of `node` says. False if its session doesn't count any more.
pub(crate) fn take_in(
    state: &mut FleetState,
    node: &str,
    id: SessionId,
    now: Monotonic,
    message: Request,
) -> bool {
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
            state.hello(node, id, now, hello.boot_id, vm)
        }
        Request::Observation(observation) => {
            let polls = messages::polls_of(&observation);
            state.observe(node, id, now, messages::seen(observation), polls)
        }
        Request::Heartbeat(heartbeat) => {
            let polls = heartbeat.evidence.as_ref().map(messages::polls);
            state.heartbeat(node, id, now, polls)
        }
    }
}

async fn no_longer_leading(leadership: &mut watch::Receiver<Leadership>) {
    // An elector that is gone leads nobody.
    let _ = leadership.wait_for(|leadership| !matches!(leadership, Leadership::Leading { .. })).await;
}
