//! `FleetService`: what is known and decided, for people and tools. Reads; never steers.

mod forward_to_leader;

use std::sync::Arc;

use futures::{StreamExt, stream::BoxStream};
use mechanic_plan::{ClaimOnNode, Coverage, Decision, Node, Phase, Reason};
use mechanic_proto::v1::{
    EventStatus, ExplainNodeRequest, ExplainNodeResponse, ListNodesRequest, ListNodesResponse, NodePhase,
    NodeStatus, NodeWarning, PodStatus, ProbeCoverage, RefusedSetting, UnmatchedRule,
    WatchObservationsRequest, WatchObservationsResponse, fleet_service_server::FleetService,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

pub(crate) use forward_to_leader::ForwardToLeader;

use crate::{fleet::Fleet, intake::Listeners, planner::Decided};

/// The service at the leader. Its callers have passed [`ForwardToLeader`].
pub(crate) struct FleetReader {
    pub(crate) decided: watch::Receiver<Option<Decided>>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) listeners: Listeners,
}

#[tonic::async_trait]
impl FleetService for FleetReader {
    type WatchObservationsStream = BoxStream<'static, Result<WatchObservationsResponse, Status>>;

    async fn watch_observations(
        &self,
        request: Request<WatchObservationsRequest>,
    ) -> Result<Response<Self::WatchObservationsStream>, Status> {
        let node = request.into_inner().node_name;
        let decided = self.decided()?;
        if !decided.fleet.nodes.contains_key(&node) {
            return Err(Status::not_found(format!("there is no Node {node}")));
        }
        let leading = no_longer_deciding(self.decided.clone());
        let heard = self.listeners.listen(node).map(Ok).take_until(leading);
        Ok(Response::new(heard.boxed()))
    }

    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let decided = self.decided()?;
        let only_affected = request.into_inner().only_affected;
        let nodes = decided
            .nodes()
            .filter(|(_, node, decision)| {
                !only_affected || decision.phase != Phase::Idle || node.claim != ClaimOnNode::None
            })
            .map(|(name, node, decision)| node_status(name, node, decision, &decided))
            .collect();
        let refused = self.fleet.read(|state| state.settings().refused);
        let refused_settings = refused
            .into_iter()
            .map(|refusal| RefusedSetting { reason: refusal.to_string(), key: refusal.key })
            .collect();
        let unmatched = decided.fleet.unmatched_rules().into_iter();
        let unmatched_rules =
            unmatched.map(|rule| UnmatchedRule { message: rule.to_string(), line: rule.line }).collect();
        let config = &decided.fleet.config;
        Ok(Response::new(ListNodesResponse {
            nodes,
            epoch: decided.fleet.epoch,
            paused: config.paused,
            dry_run: config.dry_run,
            refused_settings,
            unmatched_rules,
        }))
    }

    async fn explain_node(
        &self,
        request: Request<ExplainNodeRequest>,
    ) -> Result<Response<ExplainNodeResponse>, Status> {
        let name = request.into_inner().node_name;
        let decided = self.decided()?;
        let (Some(node), Some(decision)) = (decided.fleet.nodes.get(&name), decided.plan.get(&name)) else {
            return Err(Status::not_found(format!("there is no Node {name}")));
        };
        Ok(Response::new(ExplainNodeResponse {
            node: Some(node_status(&name, node, decision, &decided)),
            events: events(node),
            pods: pods(node),
            claim: match &node.claim {
                ClaimOnNode::Readable(claim) => claim.to_annotation().unwrap_or_default(),
                ClaimOnNode::Unreadable(error) => error.to_string(),
                ClaimOnNode::None | ClaimOnNode::LabelOnly => String::new(),
            },
        }))
    }
}

/// Probes report to whoever leads; where that is no longer this process, nothing more will be heard here.
async fn no_longer_deciding(mut decided: watch::Receiver<Option<Decided>>) {
    // A planner that is gone decides nothing either.
    let _ = decided.wait_for(Option::is_none).await;
}

impl FleetReader {
    fn decided(&self) -> Result<Decided, Status> {
        self.decided.borrow().clone().ok_or_else(|| {
            Status::unavailable(
                "this coordinator leads since a moment ago and has not decided yet; try again",
            )
        })
    }
}

impl Decided {
    fn nodes(&self) -> impl Iterator<Item = (&str, &Node, &Decision)> {
        self.fleet
            .nodes
            .iter()
            .filter_map(|(name, node)| Some((name.as_str(), node.as_ref(), self.plan.get(name)?)))
    }
}

fn node_status(name: &str, node: &Node, decision: &Decision, decided: &Decided) -> NodeStatus {
    let last_heard = node.probe.as_ref().map(|probe| decided.at.since(probe.last_heard));
    NodeStatus {
        name: name.to_owned(),
        phase: phase(decision.phase).into(),
        reason: decision.reason.code().to_string(),
        message: decision.reason.to_string(),
        coverage: coverage(decision.coverage).into(),
        last_heard: last_heard.and_then(|age| age.try_into().ok()),
        schedulable: !node.unschedulable,
        warnings: decision.warnings.iter().map(warning).collect(),
    }
}

fn warning(reason: &Reason) -> NodeWarning {
    NodeWarning { reason: reason.code().to_string(), message: reason.to_string() }
}

fn events(node: &Node) -> Vec<EventStatus> {
    let document = node.probe.as_ref().and_then(|probe| probe.document.as_ref());
    let present = document.map_or(&[][..], |document| &document.own_events);
    let claimed = match &node.claim {
        ClaimOnNode::Readable(claim) => Some(&claim.events),
        _ => None,
    };
    let shown = present.iter().map(|event| EventStatus {
        event_id: event.event_id.clone(),
        r#type: event.event_type.clone(),
        status: event.status.clone(),
        not_before: event.not_before.clone(),
        description: event.description.clone(),
        present: true,
        claimed: claimed.is_some_and(|claimed| claimed.contains_key(&event.event_id)),
    });
    let vanished = claimed
        .into_iter()
        .flatten()
        .filter(|(event_id, _)| !present.iter().any(|event| event.event_id == **event_id))
        .map(|(event_id, event)| EventStatus {
            event_id: event_id.clone(),
            r#type: event.event_type.clone(),
            status: event.status.clone(),
            not_before: event.not_before.clone(),
            description: String::new(),
            present: false,
            claimed: true,
        });
    shown.chain(vanished).collect()
}

fn pods(node: &Node) -> Vec<PodStatus> {
    let pods = node.drain.iter().flat_map(|drain| &drain.pods);
    pods.map(|pod| PodStatus {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        reason: pod.verdict.code().to_string(),
        message: pod.message(),
    })
    .collect()
}

fn phase(phase: Phase) -> NodePhase {
    match phase {
        Phase::Idle => NodePhase::Idle,
        Phase::Noticed => NodePhase::Noticed,
        Phase::Cordoned => NodePhase::Cordoned,
        Phase::Draining => NodePhase::Draining,
        Phase::Drained => NodePhase::Drained,
        Phase::Held => NodePhase::Held,
    }
}

fn coverage(coverage: Coverage) -> ProbeCoverage {
    match coverage {
        Coverage::Covered => ProbeCoverage::Covered,
        Coverage::Disagrees => ProbeCoverage::Disagrees,
        Coverage::Absent => ProbeCoverage::Absent,
        Coverage::Unknown => ProbeCoverage::Unknown,
        Coverage::Mute => ProbeCoverage::Mute,
        Coverage::Failing => ProbeCoverage::Failing,
        Coverage::Mismatched => ProbeCoverage::Mismatched,
        Coverage::NotCovered => ProbeCoverage::NotCovered,
    }
}
