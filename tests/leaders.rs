//! Leaders that are frozen, killed and robbed in mid-drain: never two that act, and the line goes on to its end.

use std::time::{Duration, Instant};

use crate::support::{House, kill, signal};
use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use mechanic_sandbox::{
    fault_proxy::{Effect, Fault, Requests},
    nodes::NodeSpec,
    workloads::Workload,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The Lease's duration, and 4 s: on a machine that does nothing else.
const NEXT_LEADER: Duration = Duration::from_secs(19);
/// For one that does.
const GENEROUS: Duration = Duration::from_secs(40);

/// One pod after the other: long enough to do something to a leader in the middle of it.
fn slow() -> Workload {
    Workload::new("web", 4).start_after(Duration::from_secs(4))
}

impl House {
    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), "mechanic")
    }

    async fn holder(&self) -> String {
        let lease = self.leases().get_opt("mechanic-coordinator").await.unwrap();
        lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
    }

    /// A drain that has begun, on a node without a coordinator; returns its event.
    async fn in_mid_drain(&self, node: &NodeSpec, workload: &Workload) -> String {
        self.close_others(&[node]).await.unwrap();
        self.deploy(workload, Some(1)).await;
        self.open_others(&[node]).await.unwrap();
        let before = self.referee.verdict().await.facts.evictions_accepted;
        let event = self.announce_reboot(node);
        let begun = async || self.referee.verdict().await.facts.evictions_accepted > before;
        self.wait("a pod is evicted", async || begun().await.then_some(())).await;
        event
    }

    async fn to_the_end(&self, node: &NodeSpec, event: &str) {
        self.wait_for_phase(&node.name, "drained").await;
        self.remove(event);
        self.wait_released(&node.name).await;
    }

    /// Waits for another holder than that; returns how long it took.
    async fn wait_taken_over(&self, from: &str) -> Duration {
        let began = Instant::now();
        let other = async || {
            let holder = self.holder().await;
            (!holder.is_empty() && holder != from).then_some(())
        };
        self.wait("the Lease is taken over", other).await;
        began.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_frozen_in_mid_drain_and_wakes_up_does_no_harm() {
    let house = House::with_nodes(4, 1).await;
    let mut late = 0;
    for (seconds, name) in [(5, "short"), (20, "long"), (60, "longest")] {
        let node = house.node_without_coordinator();
        let workload = Workload { name: name.to_owned(), ..slow() };
        let event = house.in_mid_drain(node, &workload).await;
        let (leader, holder) = (house.leader().await, house.holder().await);
        signal(&leader, Signal::STOP);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        signal(&leader, Signal::CONT);
        if seconds > 15 {
            // It is not the holder any more, and ends; its container is started again, and follows.
            house.wait_taken_over(&holder).await;
            let ended = async || house.logs_of(&leader).contains("the Lease is lost").then_some(());
            house.wait("it says why it ends", ended).await;
        }
        house.to_the_end(node, &event).await;
        late = house.referee.verdict().await.facts.in_flight_at_change;
    }
    println!("{late} writes were received before a change of the leader and answered after it");
    house.judge().await;
}

/// Nobody's clock is asked whether a Lease has run out, so none can be too early or too late.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_by_an_hour_make_nobody_lead_too_early_or_too_late() {
    let house = House::with_nodes(4, 1).await;
    for (hours, name) in [(1, "ahead"), (-1, "behind")] {
        let (leader, holder) = (house.leader().await, house.holder().await);
        let coordinators = house.installation.coordinators();
        let follower = coordinators.iter().find(|pod| pod.pod != leader.pod).unwrap();
        let leases = Requests::any().from(&follower.pod).path_contains("/leases");
        let ahead = Effect::ClockAhead(SignedDuration::from_hours(hours));
        let clock = house.fault_proxy.inject(Fault::always(leases, ahead));
        // A clock is off from the start on.
        kill(follower.pid.unwrap());
        let again = async || {
            let pod = house.installation.pod(&follower.pod).unwrap();
            (pod.ready && pod.pid != follower.pid).then_some(())
        };
        house.wait("the follower is back", again).await;

        let node = house.node_without_coordinator();
        let event = house.in_mid_drain(node, &Workload { name: name.to_owned(), ..slow() }).await;
        assert_eq!(house.holder().await, holder, "a live leader's Lease is taken");
        kill(leader.pid.unwrap());
        let took = house.wait_taken_over(&holder).await;
        println!("{name}: the next leads after {:.1} s", took.as_secs_f64());
        // It was renewed up to two seconds before.
        assert!(took > Duration::from_secs(10), "{took:?} is earlier than a Lease runs out");
        assert!(took < GENEROUS, "{took:?}, and {NEXT_LEADER:?} on a machine that does nothing else");
        assert!(house.holder().await.contains(&follower.pod));
        house.to_the_end(node, &event).await;
        assert!(clock.hits() > 0);
        // It leads with this clock, and ends with it.
        let holder = house.holder().await;
        kill(house.leader().await.pid.unwrap());
        clock.clear();
        house.wait_taken_over(&holder).await;
    }
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_and_of_five_coordinators_one_leads_whichever_is_killed() {
    let house = House::with_nodes(7, 1).await;
    for replicas in [3_usize, 5] {
        let scale = format!("--replicas={replicas}");
        house.kubectl(&["--namespace=mechanic", "scale", "deployment/mechanic-coordinator", &scale]).await;
        let all_ready = async || {
            let pods = house.installation.coordinators();
            (pods.len() == replicas && pods.iter().all(|pod| pod.ready)).then_some(())
        };
        house.wait("all coordinators are ready", all_ready).await;
        let node = house.node_without_coordinator();
        let event = house.in_mid_drain(node, &Workload { name: format!("web-{replicas}"), ..slow() }).await;
        for _ in 0..2 {
            let (leader, holder) = (house.leader().await, house.holder().await);
            kill(leader.pid.unwrap());
            let took = house.wait_taken_over(&holder).await;
            println!("{replicas} coordinators: the next leads after {:.1} s", took.as_secs_f64());
            assert!(took < GENEROUS, "{took:?}, and {NEXT_LEADER:?} on a machine that does nothing else");
        }
        house.to_the_end(node, &event).await;
    }
    house.judge().await;
}

/// Deleted, given to a stranger and emptied, each in mid-drain.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_person_does_to_the_lease_the_drain_goes_on_to_its_end() {
    let house = House::with_nodes(4, 1).await;
    let edits: [(&str, Option<Value>); 3] = [
        ("deleted", None),
        ("robbed", Some(json!({"spec": {"holderIdentity": "somebody"}}))),
        ("emptied", Some(json!({"spec": {"holderIdentity": ""}}))),
    ];
    for (name, edit) in edits {
        let node = house.node_without_coordinator();
        let event = house.in_mid_drain(node, &Workload { name: name.to_owned(), ..slow() }).await;
        match edit {
            None => {
                house.leases().delete("mechanic-coordinator", &DeleteParams::default()).await.unwrap();
            }
            Some(edit) => {
                let patch = Patch::Merge(edit);
                house.leases().patch("mechanic-coordinator", &PatchParams::default(), &patch).await.unwrap();
            }
        }
        house.to_the_end(node, &event).await;
    }
    house.judge().await;
}

/// What was on its way when the API server stood still may land late: at most ten evictions, each bound to its UID.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_stands_still_in_mid_drain_makes_no_two_leaders() {
    let house = House::with(4, 1, |options| options.promises.api_server_stalls = true).await;
    for (seconds, name) in [(5, "short"), (20, "long"), (60, "longest")] {
        let node = house.node_without_coordinator();
        let event = house.in_mid_drain(node, &Workload { name: name.to_owned(), ..slow() }).await;
        house.cluster.freeze_api_server().unwrap();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        house.cluster.thaw_api_server().unwrap();
        house.to_the_end(node, &event).await;
    }
    let late = house.referee.verdict().await.facts.in_flight_at_change;
    println!("{late} writes of a former leader were on their way when the Lease changed hands");
    house.judge().await;
}
