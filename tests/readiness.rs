//! `/readyz` tells the truth: who no longer sees the cluster is not ready, and who sees it again is.

use std::time::{Duration, Instant};

use crate::support::House;
use mechanic_sandbox::{
    fault_proxy::{Effect, Fault, Requests},
    install::PodProcess,
};

/// After the API server is back.
const SOON: Duration = Duration::from_mins(1);
/// For a busy machine.
const GENEROUS: Duration = Duration::from_secs(90);

fn watches_on(what: &'static str) -> Requests {
    Requests::any().that(what, move |seen| seen.path.contains(what) && seen.path.contains("watch=true"))
}

impl House {
    async fn readyz(&self, pod: &PodProcess) -> String {
        self.installation.http(pod, "/readyz").await.unwrap()
    }

    /// Waits until a coordinator says so of itself, and its kubelet of its pod; returns what it says.
    async fn wait_ready(&self, pod: &PodProcess, ready: bool) -> String {
        let status = if ready { "HTTP/1.0 200" } else { "HTTP/1.0 503" };
        self.wait(&format!("{} is ready: {ready}", pod.pod), async || {
            let said = self.readyz(pod).await;
            let known = self.installation.pod(&pod.pod).ok()?.ready;
            (said.starts_with(status) && known == ready).then_some(said)
        })
        .await
    }

    async fn wait_ready_again(&self, pod: &PodProcess) {
        let begun = Instant::now();
        self.wait_ready(pod, true).await;
        let took = begun.elapsed();
        println!("ready again after {:.1} s", took.as_secs_f64());
        assert!(took < GENEROUS, "{took:?}, and {SOON:?} on a machine that does nothing else");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_with_a_dead_watch_is_not_ready_and_comes_back_by_itself() {
    let house = House::with_nodes(3, 1).await;
    let leader = house.leader().await;
    let coordinators = house.installation.coordinators();
    let follower = coordinators.iter().find(|pod| pod.pod != leader.pod).unwrap();
    for pod in &coordinators {
        house.wait_ready(pod, true).await;
    }

    // One watch is refused, another is not answered; the others are cut, and then have nothing to show.
    let refused = Fault::always(
        watches_on("/api/v1/nodes?").from(&follower.pod),
        Effect::refuse(503, "ServiceUnavailable"),
    );
    let refused = house.fault_proxy.inject(refused);
    let held =
        house.fault_proxy.inject(Fault::always(watches_on("/leases?").from(&follower.pod), Effect::Hold));
    house.fault_proxy.cut_watches(Some(&follower.pod));
    let said = house.wait_ready(follower, false).await;
    println!("{said}");
    assert!(said.contains("no watch on Nodes for"), "{said}");
    house
        .wait("the Lease is named too", async || {
            let said = house.readyz(follower).await;
            assert!(!said.contains("PodDisruptionBudgets") && !said.contains("ConfigMap"), "{said}");
            said.contains("no watch on the Lease for").then_some(())
        })
        .await;
    assert!(refused.hits() > 0 && held.hits() > 0);
    assert!(house.readyz(&leader).await.contains("200 OK"), "the leader sees everything");
    assert!(house.logs_of(follower).contains("not ready: no watch on "), "the log says why");
    refused.clear();
    held.clear();
    house.wait_ready_again(follower).await;

    // Nobody sees anything for a while. Streams that are open stay so.
    let streams = house.metric(&leader, "mechanic_probe_streams").await;
    let dropped = house.fault_proxy.inject(Fault::always(watches_on("?"), Effect::DropBefore));
    house.fault_proxy.cut_watches(None);
    for pod in &coordinators {
        let said = house.wait_ready(pod, false).await;
        assert_eq!(said.contains("the Lease"), pod.pod != leader.pod, "a leader doesn't watch it: {said}");
    }
    assert!((house.metric(&leader, "mechanic_probe_streams").await - streams).abs() < f64::EPSILON);
    dropped.clear();
    for pod in &coordinators {
        house.wait_ready_again(pod).await;
    }

    // The same leader goes on with what it sees now.
    assert_eq!(house.leader().await.pod, leader.pod);
    let node = house.node_without_coordinator();
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}
