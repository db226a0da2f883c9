//! Who may say and ask what: a probe speaks for the node of its token only, and nobody reads without one.

use std::time::Duration;

use crate::support::{AUDIENCE, House, LONG, with_token};
use mechanic_proto::v1::{
    Evidence, ExplainNodeRequest, Hello, ListNodesRequest, NodePhase, Observation, ProbeCoverage,
    ReportRequest, ScheduledEvent, VirtualMachine, WatchObservationsRequest,
    fleet_service_client::FleetServiceClient, probe_service_client::ProbeServiceClient,
    report_request::Message, report_response::Message as Answer,
    watch_observations_response::Message as Heard,
};
use mechanic_sandbox::{azure::Vm, nodes::NodeSpec};
use tonic::{Code, Status};

/// What a forger says: that it is the probe of that machine, which is about to be rebooted.
async fn forged(house: &House, victim: &NodeSpec) -> Vec<ReportRequest> {
    let vm = Vm::of_node(&house.node(&victim.name).await).unwrap();
    let compute = vm.compute();
    let hello = Hello {
        node_name: victim.name.clone(),
        boot_id: victim.boot_id.clone(),
        virtual_machine: Some(VirtualMachine {
            vm_id: compute["vmId"].as_str().unwrap().to_owned(),
            resource_id: compute["resourceId"].as_str().unwrap().to_owned(),
            name: victim.vm_name(),
            placement_group_id: String::new(),
        }),
        ..Hello::default()
    };
    let event = ScheduledEvent {
        event_id: "forged".into(),
        r#type: "Reboot".into(),
        status: "Scheduled".into(),
        resources: vec![victim.vm_name()],
        ..ScheduledEvent::default()
    };
    let evidence = Evidence { consecutive_polls: 9, ..Evidence::default() };
    let observation = Observation { events: vec![event], evidence: Some(evidence), ..Observation::default() };
    [Message::Hello(hello), Message::Observation(observation)]
        .map(|message| ReportRequest { message: Some(message) })
        .to_vec()
}

/// What the leader says to a stream with this token. Only a leader looks at tokens, and a new one knows that it
/// leads a moment after everybody else does.
async fn refusal(house: &House, token: &str) -> Status {
    house
        .wait("a coordinator that leads refuses the stream", async || {
            let mut probe = ProbeServiceClient::new(house.channel(&house.leader().await).await);
            let answer = probe.report(with_token(tokio_stream::pending(), token)).await;
            let mut answers = match answer {
                Ok(answers) => answers.into_inner(),
                Err(status) => return Some(status),
            };
            let first = answers.message().await.unwrap().unwrap().message;
            assert!(
                matches!(first, Some(Answer::Redirect(_) | Answer::NoLeader(_))),
                "the token is accepted: {first:?}"
            );
            None
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_refused_with_its_reason_where_its_token_is_no_living_probes() {
    let house = House::with_nodes(3, 1).await;
    let [gone, renewed, _] = house.nodes.as_slice() else { panic!("three nodes") };
    let of_gone_pod = house.probe_token(gone).await;
    let of_other_node = house.probe_token(renewed).await;
    let expired = house.cluster.expired(&of_other_node).unwrap();
    let cases = [
        (String::new(), Code::Unauthenticated, "no_token"),
        ("made up".to_owned(), Code::Unauthenticated, "token_rejected"),
        (expired, Code::Unauthenticated, "token_rejected"),
        (house.token("mechanic-probe", &[]).await, Code::Unauthenticated, "token_rejected"),
        (house.token("mechanic-coordinator", &[AUDIENCE]).await, Code::PermissionDenied, "not_a_probe"),
        (house.token("mechanic-probe", &[AUDIENCE]).await, Code::PermissionDenied, "no_node"),
    ];
    for (token, code, reason) in cases {
        house.refuses(&token, code, reason).await;
    }
    let pod = house.installation.probe_on(&gone.name).unwrap().pod;
    house.kubectl(&["--namespace=mechanic", "delete", "pod", &pod]).await;
    house.refuses(&of_gone_pod, Code::Unauthenticated, "token_rejected").await;
    // The token lives as long as its pod, which outlives its Node for a while.
    house.kubectl(&["delete", "node", &renewed.name]).await;
    house.refuses(&of_other_node, Code::FailedPrecondition, "node_gone").await;
}

impl House {
    async fn refuses(&self, token: &str, code: Code, reason: &str) {
        let mut samples = vec![format!("mechanic_probe_streams_refused_total{{reason=\"{reason}\"}}")];
        // Whose a good token is, is looked at here; without one there is nothing to ask the API server.
        let review = match reason {
            "no_token" => None,
            "token_rejected" => Some("rejected"),
            _ => Some("accepted"),
        };
        samples.extend(review.map(|result| format!("mechanic_token_reviews_total{{result=\"{result}\"}}")));
        let leader = self.leader().await;
        let mut before = Vec::new();
        for sample in &samples {
            before.push(self.metric(&leader, sample).await);
        }
        assert_eq!(refusal(self, token).await.code(), code, "{reason}");
        for (sample, before) in samples.iter().zip(before) {
            assert!(self.metric(&leader, sample).await > before, "{sample}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_moves_nothing_but_what_its_token_is_bound_to() {
    let house = House::with_nodes(4, 1).await;
    let leader = house.leader().await;
    let (own, victim) = (&house.nodes[0], &house.nodes[1]);

    // A forged node name, over a stream whose token is the own node's.
    let mut probe = ProbeServiceClient::new(house.channel(&leader).await);
    let messages = forged(&house, victim).await;
    let stream = tokio_stream::StreamExt::chain(tokio_stream::iter(messages), tokio_stream::pending());
    let token = house.probe_token(own).await;
    let mut answers = probe.report(with_token(stream, &token)).await.unwrap().into_inner();
    let welcome = answers.message().await.unwrap().unwrap().message;
    assert!(matches!(welcome, Some(Answer::Welcome(welcome)) if welcome.node_name == own.name));
    tokio::time::sleep(Duration::from_secs(4)).await;
    for node in &house.nodes {
        assert_eq!(house.claim(&node.name).await, None, "{} is claimed on a forged report", node.name);
    }
    drop(answers);
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_is_told_to_whom_the_api_server_knows_by_leader_and_follower_alike() {
    let house = House::with_nodes(3, 1).await;
    let token = house.viewer().await;
    let node = house.node_without_coordinator();
    let mut heard = Vec::new();
    for pod in house.installation.coordinators() {
        let mut fleet = FleetServiceClient::new(house.channel(&pod).await);
        let request = WatchObservationsRequest { node_name: node.name.clone() };
        heard.push(fleet.watch_observations(with_token(request, &token)).await.unwrap().into_inner());
    }
    let event = house.announce_reboot(node);
    for stream in &mut heard {
        let shown = async {
            loop {
                let message = stream.message().await.unwrap().expect("the stream goes on").message;
                if let Some(Heard::Observation(observation)) = message
                    && observation.events.iter().any(|shown| shown.event_id == event)
                {
                    return;
                }
            }
        };
        tokio::time::timeout(LONG, shown).await.expect("the event is heard live");
    }
    house.wait_for_phase(&node.name, "drained").await;
    assert_eq!(house.installation.coordinators().len(), 2);
    for pod in house.installation.coordinators() {
        let mut fleet = FleetServiceClient::new(house.channel(&pod).await);
        let refused = fleet.list_nodes(ListNodesRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{}", pod.pod);
        let stranger = house.token("mechanic-probe", &[AUDIENCE]).await;
        let refused = fleet.list_nodes(with_token(ListNodesRequest::default(), &stranger)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "who may not get nodes");
        for reason in ["no_token", "not_a_reader"] {
            let sample = format!("mechanic_fleet_calls_refused_total{{reason=\"{reason}\"}}");
            assert!(house.metric(&pod, &sample).await > 0.5, "{reason} is not counted by whoever was asked");
        }
        let listed =
            fleet.list_nodes(with_token(ListNodesRequest::default(), &token)).await.unwrap().into_inner();
        assert_eq!(listed.nodes.len(), 3);
        assert!(listed.nodes.iter().all(|node| node.coverage() == ProbeCoverage::Covered), "{listed:?}");
        let request = ExplainNodeRequest { node_name: node.name.clone() };
        let explained = fleet.explain_node(with_token(request, &token)).await.unwrap().into_inner();
        let status = explained.node.unwrap();
        assert_eq!((status.phase(), status.reason.as_str()), (NodePhase::Drained, "Drained"));
        assert!(
            explained.events[0].event_id == event
                && explained.events[0].present
                && explained.events[0].claimed
        );
        let absent = ExplainNodeRequest { node_name: "absent".into() };
        assert_eq!(fleet.explain_node(with_token(absent, &token)).await.unwrap_err().code(), Code::NotFound);
    }
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}
