//! `mechanic-coordinator release --all`: what mechanic holds is given back, and nothing else.

use std::{path::PathBuf, process::Output};

use mechanic_sandbox::cluster::User;
use tokio::process::Command;

use crate::support::{House, programs};

async fn release(house: &House, program: &PathBuf) -> Output {
    let mut command = Command::new(program);
    command
        .args(["release", "--all"])
        .env("KUBECONFIG", house.cluster.kubeconfig(User::Admin))
        .kill_on_drop(true);
    tokio::time::timeout(crate::support::LONG, command.output()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_held_is_given_back_and_nothing_else_and_not_while_a_coordinator_leads() {
    let program = programs().await.coordinator;
    let house = House::with_nodes(6, 4).await;
    let free = house.nodes_without_coordinator();
    let [ours, foreign, labelled, _] = free.as_slice() else { panic!("four nodes without a coordinator") };
    let mut events = vec![house.announce_reboot(ours)];
    // It was cordoned before, so it stays so.
    house.kubectl(&["cordon", &foreign.name]).await;
    events.push(house.announce_reboot(foreign));
    for node in [ours, foreign] {
        house.wait_for_phase(&node.name, "drained").await;
    }
    // A label alone is somebody else's.
    house.kubectl(&["label", "node", &labelled.name, "mechanic.cordoned=true"]).await;
    house.kubectl(&["cordon", &labelled.name]).await;

    let refused = release(&house, &program).await;
    let says = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && says.contains("scale deployment mechanic-coordinator --replicas 0"),
        "{says}"
    );
    assert!(house.claim(&ours.name).await.is_some(), "it gives nothing back beside a leader");

    house.kubectl(&["-n", "mechanic", "scale", "deployment/mechanic-coordinator", "--replicas=0"]).await;
    let released = release(&house, &program).await;
    let says = String::from_utf8_lossy(&released.stdout);
    assert!(released.status.success(), "{says}{}", String::from_utf8_lossy(&released.stderr));
    assert!(says.contains("2 nodes are given back, 0 are left as they are"), "{says}");
    house.wait_released(&ours.name).await;
    assert_eq!(house.claim(&foreign.name).await, None);
    for node in [foreign, labelled] {
        let unschedulable = house.node(&node.name).await.spec.and_then(|spec| spec.unschedulable);
        assert_eq!(unschedulable, Some(true), "{}: somebody else's cordon", node.name);
    }
    assert!(house.node(&labelled.name).await.metadata.labels.unwrap().contains_key("mechanic.cordoned"));

    // A claim that nobody can read: it is named, and stays.
    house.kubectl(&["annotate", "node", &labelled.name, "mechanic/claim={"]).await;
    let left = release(&house, &program).await;
    let says = String::from_utf8_lossy(&left.stdout);
    assert!(!left.status.success() && says.contains(&format!("{}: left as it is", labelled.name)), "{says}");
    house.kubectl(&["annotate", "node", &labelled.name, "mechanic/claim-"]).await;
    house.kubectl(&["label", "node", &labelled.name, "mechanic.cordoned-"]).await;
    for event in &events {
        house.remove(event);
    }
    house.judge().await;
}
