//! Rules that people write for nodes and their events, on the whole system.

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use mechanic_proto::v1::NodeStatus;
use mechanic_sandbox::workloads::{Workload, create};
use serde_json::json;

use crate::support::{House, LONG, kill};

const POLICY: &str = "
events:
- nodeSelector: {matchLabels: {team: still}}
  respond: Cordon
- nodeSelector: {matchLabels: {team: calm}}
  respond: Tolerate
budgets:
- name: one-by-one
  pools: [userpool]
  maxConcurrentDrains: 1
pods:
- nodeSelector: {matchLabels: {team: light}}
  unmanaged: Leave
- nodeSelector: {matchLabels: {team: heavy}}
  unmanaged: Stay
optOutLabel: example.com/leave-alone
";

impl House {
    async fn label(&self, node: &str, label: &str, value: &str) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"labels": {label: value}}}));
        nodes.patch(node, &PatchParams::default(), &patch).await.unwrap();
    }

    /// What the leader says of a node.
    async fn status(&self, node: &str, token: &str) -> NodeStatus {
        self.explained(node, token).await.node.unwrap()
    }

    async fn wait_for_reason(&self, node: &str, token: &str, reason: &str) -> NodeStatus {
        let look = async || Some(self.status(node, token).await).filter(|status| status.reason == reason);
        self.wait(&format!("{node} is {reason}"), look).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_is_handled_by_the_rules_that_are_for_it_and_the_tightest_budget_counts() {
    let house = House::with_nodes(7, 5).await;
    house.configure(json!({"policy.yaml": POLICY})).await;
    let nodes = house.nodes_without_coordinator();
    let [still, calm, alone, first, second] = nodes[..5] else { panic!("{}", nodes.len()) };
    house.label(&still.name, "team", "still").await;
    house.label(&calm.name, "team", "calm").await;
    house.label(&alone.name, "example.com/leave-alone", "true").await;
    house.label(&first.name, "team", "light").await;
    house.label(&second.name, "team", "heavy").await;
    let by_hand = [(Workload::new("goes", 1), first), (Workload::new("stays", 1), second)];
    for (workload, node) in &by_hand {
        let pod = workload.clone().on_node(&node.name).bare_pod().unwrap();
        create(&house.client, &pod).await.unwrap();
        workload.ready(&house.client, 1, LONG).await.unwrap();
    }
    // Pods that take their time to start hold the first drain for long enough to look at the second.
    let web = Workload::new("web", 14).spread().start_after(std::time::Duration::from_secs(3));
    house.deploy(&web, Some(1)).await;
    let token = house.viewer().await;

    let events = [still, calm, alone, first, second].map(|node| house.announce_reboot(node));
    let reason = async |node: &str, reason: &str| house.wait_for_reason(node, &token, reason).await;
    for (node, code, part) in [
        (still, "CordonedOnly", "by the rule at line 3 of policy.yaml"),
        (calm, "Tolerated", "by the rule at line 5 of policy.yaml"),
        (alone, "OptedOut", "label example.com/leave-alone"),
    ] {
        let status = reason(&node.name, code).await;
        assert!(status.message.contains(part), "{}", status.message);
    }
    let look = async || {
        for node in [first, second] {
            let status = house.status(&node.name, &token).await;
            if status.reason == "WaitingForSlot" {
                return Some(status.message);
            }
        }
        None
    };
    let message = house.wait("one waits for the other", look).await;
    assert!(message.contains("1 of at most 1 nodes of budget one-by-one"), "{message}");
    for (node, left) in [(first, None), (second, Some(1))] {
        let claim = house.wait_for_phase(&node.name, "drained").await;
        assert_eq!(claim["podsLeft"].as_u64(), left, "what is started by hand, by the rule for its node");
    }
    house.wait_told((&by_hand[1].0, "Unmanaged", &["the rule at line 14 of policy.yaml says Stay"])).await;
    for node in [calm, alone] {
        assert_eq!(house.claim(&node.name).await, None, "{}", node.name);
    }
    assert_eq!(house.claim(&still.name).await.unwrap()["phase"], "cordoned");
    // The rules go, and all that they have kept is done.
    house.configure(json!({"policy.yaml": null})).await;
    for node in [still, calm, alone] {
        house.wait_for_phase(&node.name, "drained").await;
    }
    for event in &events {
        house.remove(event);
    }
    for node in [still, calm, alone, first, second] {
        house.wait_released(&node.name).await;
    }
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_names_no_node_is_accepted_and_told_once_with_the_name_that_may_be_meant() {
    let house = House::with_nodes(3, 1).await;
    let token = house.viewer().await;
    assert_eq!(house.listed_after(0, &token).await.unmatched_rules, []);
    let rule = "events:\n- pools: [usrepool]\n  respond: Cordon\n";
    let slip = "no node is in pool `usrepool`; `userpool` may be meant";
    house.configure(json!({"policy.yaml": rule})).await;
    let told = async || house.told_of_settings("RuleUnmatched").await;
    let first = house.wait("the slip is told", async || told().await.pop()).await;
    assert!(first.contains("line 2 of policy.yaml") && first.contains(slip), "{first}");
    let leader = house.leader().await;
    assert_eq!(house.logs_of(&leader).matches(slip).count(), 1, "{}", house.logs_of(&leader));

    // A next leader has the same to say, and says it where it is asked, and in its own log.
    kill(leader.pid.unwrap());
    let listed = house.listed_after(1, &token).await;
    assert_eq!((listed.refused_settings.len(), listed.unmatched_rules.len()), (0, 1));
    assert_eq!((listed.unmatched_rules[0].line, &listed.unmatched_rules[0].message), (2, &first));
    let next = house.leader().await;
    house.wait("it is logged", async || house.logs_of(&next).contains(slip).then_some(())).await;
    assert_eq!(told().await, [first], "once, whoever leads");

    house.configure(json!({"policy.yaml": rule.replace("usrepool", "userpool")})).await;
    let mended = async || house.listed_after(1, &token).await.unmatched_rules.is_empty().then_some(());
    house.wait("the rule has its nodes", mended).await;
    // It is in force: its nodes are cordoned, and nothing is moved.
    let node = house.node_without_coordinator();
    let event = house.announce_reboot(node);
    house.wait_for_reason(&node.name, &token, "CordonedOnly").await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}
