//! Coordinators of two releases beside each other, in mid-batch.

use std::time::{Duration, Instant};

use crate::support::{House, LONG};
use mechanic_sandbox::{
    programs::{Profile, Programs, silent},
    workloads::Workload,
};

const DEPLOYMENT: &str = "deployment/mechanic-coordinator";

impl House {
    async fn roll_to(&self, image: &str) {
        let container = format!("coordinator={image}:dev");
        self.kubectl_in_mechanic(&["set", "image", DEPLOYMENT, &container]).await;
    }

    async fn rolled(&self) {
        self.kubectl_in_mechanic(&["rollout", "status", DEPLOYMENT, "--timeout=120s"]).await;
    }

    async fn kubectl_in_mechanic(&self, arguments: &[&str]) {
        self.cluster.kubectl(["--namespace", "mechanic"].iter().chain(arguments)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_on_through_a_rollback_and_an_update_of_the_coordinators() {
    let programs = tokio::task::spawn_blocking(|| {
        let present = Programs::prepare(Profile::Dev, &silent()).unwrap().coordinator;
        crate::support::previous::coordinator().unwrap_or_else(|| {
            println!("this clone has no history: both releases are the present one");
            present
        })
    });
    let house = House::with_images(6, 2, [("previous-coordinator", programs.await.unwrap())]).await;
    let one_by_one = Workload::new("web", 18)
        .start_after(Duration::from_secs(2))
        .stop_after(Duration::from_secs(1))
        .spread();
    house.deploy(&one_by_one, Some(2)).await;
    let batch = &house.nodes[..4];
    let events: Vec<_> = batch.iter().map(|node| house.announce_reboot(node)).collect();

    // Back to the release before while the first of them are drained, and forth again while the rest is.
    house.wait_for_phase(&batch[0].name, "draining").await;
    // Events went through another API group there. Who goes back by `kubectl apply` has the rights of that release, too.
    let role = ["create", "clusterrole", "previous", "--verb=create", "--resource=events.events.k8s.io"];
    let account = "--serviceaccount=mechanic:mechanic-coordinator";
    let binding = ["create", "clusterrolebinding", "previous", "--clusterrole=previous", account];
    house.kubectl_in_mechanic(&role).await;
    house.kubectl_in_mechanic(&binding).await;
    house.roll_to("previous-coordinator").await;
    house.wait_for_phase(&batch[0].name, "drained").await;
    house.rolled().await;
    house.roll_to("mechanic-coordinator").await;
    for node in batch {
        house.wait_for_phase(&node.name, "drained").await;
    }
    house.rolled().await;
    for event in &events {
        house.remove(event);
    }
    for node in batch {
        house.wait_released(&node.name).await;
    }
    let leaders = house.referee.verdict().await.facts.leaders;
    assert!(leaders.len() > 2, "each of them has led: {leaders:?}");
    house.judge().await;
}

/// What `maxSurge` and the Lease that is given back are for.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_a_hand_over_and_two_are_ready_throughout() {
    let house = House::with_nodes(4, 1).await;
    let before: Vec<_> = house.installation.coordinators().into_iter().map(|pod| pod.pod).collect();
    house.kubectl_in_mechanic(&["rollout", "restart", DEPLOYMENT]).await;
    let updated = house.rolled();
    tokio::pin!(updated);
    let (mut is_updated, mut led) = (false, Instant::now());
    let (mut longest, mut fewest) = (Duration::ZERO, usize::MAX);
    loop {
        let leader = house.installation.leader().await.unwrap().filter(|pod| pod.pid.is_some());
        longest = longest.max(led.elapsed());
        if let Some(leader) = leader {
            led = Instant::now();
            if is_updated && !before.contains(&leader.pod) {
                break;
            }
        }
        let coordinators = house.installation.coordinators();
        fewest = fewest.min(coordinators.iter().filter(|pod| pod.ready && !pod.terminating).count());
        tokio::select! {
            () = &mut updated, if !is_updated => is_updated = true,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        assert!(longest < LONG, "nobody leads any more\n{}", house.logs());
    }
    // Of a Lease that nobody gives back they would have to wait for the end: 15 s.
    assert!(longest < Duration::from_secs(8), "nobody led for {longest:?}");
    assert_eq!(fewest, 2);
    println!("nobody led for {longest:?} at most");
    house.judge().await;
}
