//! Coordinators of two releases beside each other, in mid-batch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/previous.rs"]
mod previous;
mod support;

use std::time::Duration;

use mechanic_sandbox::{
    programs::{Profile, Programs, silent},
    workloads::Workload,
};
use support::House;

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
        previous::coordinator().unwrap_or_else(|| {
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
