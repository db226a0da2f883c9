//! People cordon and uncordon what mechanic holds: what they say goes, whether or not anybody saw them do it.

use std::time::Duration;

use crate::support::House;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use mechanic_sandbox::{
    fault_proxy::{Effect, Fault, Requests},
    nodes::NodeSpec,
    workloads::Workload,
};
use serde_json::json;

/// Long enough for mechanic to do what it must not.
const A_WHILE: Duration = Duration::from_secs(4);

impl House {
    /// A reboot is announced, and its drain waits for a budget.
    async fn drain_that_waits(&self) -> (&NodeSpec, String) {
        let node = self.node_without_coordinator();
        self.deploy(&Workload::new("web", 6).spread(), Some(0)).await;
        let event = self.announce_reboot(node);
        self.wait_for_phase(&node.name, "draining").await;
        (node, event)
    }

    async fn wait_vetoed(&self, node: &str, event: &str) {
        self.wait("the veto is on the claim", async || {
            let claim = self.claim(node).await?;
            (claim["events"][event]["vetoed"] == true && claim["phase"] == "cordoned").then_some(())
        })
        .await;
    }

    async fn is_unschedulable(&self, node: &str) -> bool {
        self.node(node).await.spec.and_then(|spec| spec.unschedulable).unwrap_or(false)
    }

    /// Waits until nothing of mechanic's is left on the node, cordoned or not.
    async fn wait_let_go(&self, node: &str) {
        self.wait("the claim is off", async || self.claim(node).await.is_none().then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uncordon_is_a_veto_until_another_event_comes() {
    let house = House::with_nodes(4, 1).await;
    let (node, event) = house.drain_that_waits().await;
    house.kubectl(&["uncordon", &node.name]).await;
    house.wait_vetoed(&node.name, &event).await;
    house.open_budget("web").await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert!(!house.is_unschedulable(&node.name).await, "the veto is overruled");
    assert_eq!(house.referee.verdict().await.facts.evictions_accepted, 0);

    let another = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&event);
    house.remove(&another);
    house.wait_released(&node.name).await;
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordon_in_place_of_mechanics_stays_though_no_coordinator_saw_the_change() {
    let house = House::with_nodes(4, 1).await;
    let (node, event) = house.drain_that_waits().await;
    let outage = house.fault_proxy.inject(Fault::always(Requests::any(), Effect::DropBefore));
    house.fault_proxy.cut_watches(None);
    house.kubectl(&["uncordon", &node.name]).await;
    house.kubectl(&["cordon", &node.name]).await;
    outage.clear();
    house.wait_vetoed(&node.name, &event).await;
    house.remove(&event);
    house.wait_let_go(&node.name).await;
    assert!(house.is_unschedulable(&node.name).await, "somebody else's cordon is taken off");
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordon_that_is_applied_beside_mechanics_stops_no_drain_and_stays() {
    let house = House::with_nodes(4, 1).await;
    let (node, event) = house.drain_that_waits().await;
    let nodes: Api<Node> = Api::all(house.client.clone());
    let cordoned = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": node.name}, "spec": {"unschedulable": true},
    });
    nodes.patch(&node.name, &PatchParams::apply("gitops"), &Patch::Apply(&cordoned)).await.unwrap();
    house.open_budget("web").await.unwrap();
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&event);
    house.wait_let_go(&node.name).await;
    assert!(house.is_unschedulable(&node.name).await, "what somebody applies is undone");
    house.judge().await;
}
