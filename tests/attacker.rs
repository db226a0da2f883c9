//! Somebody has a probe's token and speaks as its node: no pod moves but what that node's own events justify, and everybody
//! else is served.

use std::time::Duration;

use crate::support::{House, kill, with_token};
use mechanic_proto::v1::{
    Evidence, Heartbeat, Hello, Observation, ReportRequest, ScheduledEvent, VirtualMachine,
    probe_service_client::ProbeServiceClient, report_request::Message,
};
use mechanic_sandbox::{azure::Vm, install::PodProcess, nodes::NodeSpec, workloads::Workload};
use serde_json::json;
use tokio_stream::StreamExt;
use tonic::Code;

/// Far more than all nodes here, events and streams included, ever need.
const MORE_MEMORY_KB: u64 = 48 * 1024;
/// Long enough for mechanic to do what it must not.
const A_WHILE: Duration = Duration::from_secs(4);

impl House {
    /// The truth about the attacker's own machine.
    async fn hello(&self, node: &NodeSpec) -> Message {
        let compute = Vm::of_node(&self.node(&node.name).await).unwrap().compute();
        let text = |key: &str| compute[key].as_str().unwrap().to_owned();
        Message::Hello(Hello {
            node_name: node.name.clone(),
            boot_id: node.boot_id.clone(),
            virtual_machine: Some(VirtualMachine {
                vm_id: text("vmId"),
                resource_id: text("resourceId"),
                name: node.vm_name(),
                placement_group_id: String::new(),
            }),
            ..Hello::default()
        })
    }

    /// Sends all that on one stream as the probe of `node`, keeps it open for a while, and returns how it ended, if it
    /// has.
    async fn say(
        &self,
        node: &NodeSpec,
        token: &str,
        messages: impl IntoIterator<Item = Message> + Send,
    ) -> Option<Code> {
        let all: Vec<Message> = std::iter::once(self.hello(node).await).chain(messages).collect();
        let all = tokio_stream::iter(all.into_iter().map(|message| ReportRequest { message: Some(message) }));
        let mut probe = ProbeServiceClient::new(self.channel(&self.leader().await).await);
        let answers = probe.report(with_token(all.chain(tokio_stream::pending()), token)).await;
        let mut answers = match answers {
            Ok(answers) => answers.into_inner(),
            Err(status) => return Some(status.code()),
        };
        let end = async {
            loop {
                match answers.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Code::Ok,
                    Err(status) => return status.code(),
                }
            }
        };
        tokio::time::timeout(A_WHILE, end).await.ok()
    }
}

fn event(number: usize, event_type: &str, not_before: &str, machines: &[String]) -> ScheduledEvent {
    ScheduledEvent {
        event_id: format!("forged-{number}"),
        r#type: event_type.to_owned(),
        status: "Scheduled".to_owned(),
        resource_type: "VirtualMachine".to_owned(),
        resources: machines.to_vec(),
        not_before: not_before.to_owned(),
        ..ScheduledEvent::default()
    }
}

fn document(events: Vec<ScheduledEvent>, bytes: usize) -> Message {
    let evidence = Evidence { consecutive_polls: 9, unbroken_polls: 9, ..Evidence::default() };
    Message::Observation(Observation {
        events,
        evidence: Some(evidence),
        document: vec![b' '; bytes].into(),
        document_number: 1,
        ..Observation::default()
    })
}

fn memory_kb(pod: &PodProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pod.pid.unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_valid_token_of_one_node_nothing_is_moved_on_any_other() {
    let house = House::with_nodes(5, 1).await;
    house.deploy(&Workload::new("web", 10).spread(), None).await;
    let own = house.node_without_coordinator();
    let token = house.probe_token(own).await;
    // Its real probe is silent from here on.
    let probe = house.installation.probe_on(&own.name).unwrap();
    house.installation.hold_start(&probe.pod);
    kill(probe.pid.unwrap());
    let leader = house.leader().await;
    let before = memory_kb(&leader);
    let others: Vec<String> =
        house.nodes.iter().filter(|node| node.name != own.name).map(NodeSpec::vm_name).collect();

    let all_others = vec![event(0, "Terminate", "", &others)];
    assert_eq!(house.say(own, &token, [document(all_others, 0)]).await, None);
    // A document of 10 MB is not even read.
    let large = house.say(own, &token, [document(vec![], 10_000_000)]).await;
    assert!(large.is_some(), "a document of 10 MB is taken");
    let refused = house.metric(&leader, "mechanic_probe_streams_ended_total{reason=\"too_large\"}").await;
    assert!(refused > 0.0, "nobody would know of it");
    let thousands = (0..5_000).map(|number| event(number, "Preempt", "", &others)).collect();
    assert_eq!(house.say(own, &token, [document(thousands, 0)]).await, None);
    let never = vec![event(1, "Reboot", "Fri, 31 Dec 9999 23:59:59 GMT", &[own.vm_name()])];
    assert_eq!(house.say(own, &token, [document(never, 0)]).await, None);
    assert_eq!(house.claim(&own.name).await, None, "a node is held for an event in eight thousand years");
    let nonsense = vec![event(2, &"X".repeat(100_000), "99999-99-99", &["/".repeat(100_000)])];
    assert_eq!(house.say(own, &token, [document(nonsense, 0)]).await, None);
    let flood = std::iter::repeat_n(Message::Heartbeat(Heartbeat::default()), 20_000);
    house.say(own, &token, flood).await;
    let held_back = house.metric(&leader, "mechanic_probe_messages_held_back_total").await;
    assert!(held_back > 0.0, "a flood is read as fast as it comes");
    // A claim that says that pods are to leave, on its own Node: a kubelet may write there.
    let uid = house.node(&own.name).await.metadata.uid.unwrap();
    let claim =
        json!({"version": 1, "phase": "draining", "nodeUid": uid, "epoch": 1, "events": {"forged": {}}});
    let claim = format!("mechanic/claim={claim}");
    house.kubectl(&["annotate", "node", &own.name, &claim]).await;
    house.kubectl(&["label", "node", &own.name, "mechanic.cordoned=true"]).await;
    tokio::time::sleep(A_WHILE).await;

    for node in house.nodes.iter().filter(|node| node.name != own.name) {
        assert_eq!(house.claim(&node.name).await, None, "{} is claimed", node.name);
    }
    assert_eq!(house.referee.verdict().await.facts.evictions_accepted, 0);
    assert_eq!(house.leader().await.pid, leader.pid, "the leader was brought down");
    let after = memory_kb(&leader);
    assert!(after < before + MORE_MEMORY_KB, "{before} kB, and {after} kB after all that");

    // Everybody else is served, while the flood goes on.
    let flooding = async {
        loop {
            let flood = std::iter::repeat_n(Message::Heartbeat(Heartbeat::default()), 20_000);
            house.say(own, &token, flood).await;
        }
    };
    let served = async {
        let free = house.nodes_without_coordinator();
        let node = free.into_iter().find(|node| node.name != own.name).unwrap();
        let event = house.announce_reboot(node);
        house.wait_for_phase(&node.name, "drained").await;
        house.remove(&event);
        house.wait_released(&node.name).await;
    };
    tokio::select! {
        () = flooding => {}
        () = served => {}
    }
}
