//! The referee against the real API server: one honest run, and for each promise a rogue who breaks it and is caught.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "referee/stage.rs"]
mod stage;

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use mechanic_sandbox::azure::Event;
use mechanic_sandbox::referee::{Amount, AzureFact, Check, Fact, Promises, Settings};
use mechanic_sandbox::workloads::Workload;
use serde_json::json;
use stage::{EVENT, SOON, Stage};

fn may_stay_held() -> Promises {
    let names = mechanic_sandbox::nodes::Pool::new("apps").nodes(2).into_iter().map(|spec| spec.name);
    let both = Amount::Number(2);
    let settings = Settings { max_cordoned: both, max_unavailable_nodes: both, ..Settings::default() };
    Promises { may_stay_held: names.collect(), settings, ..Promises::default() }
}

#[tokio::test]
async fn an_honest_run_keeps_every_promise() -> Result<()> {
    let settings = Settings {
        release_hold: Duration::from_secs(1),
        release_hold_after_boot: Duration::from_secs(1),
        ..Settings::default()
    };
    let stage = Stage::set(Promises { settings, ..Promises::default() }).await?;
    let node = stage.nodes[0].clone();
    let workload = Workload::new("cart", 2).on_node(&node).start_after(Duration::from_secs(1));
    let pods = stage.deploy_with_budget(&workload, 1).await?;
    let leader = stage.leader().await?;
    stage.announce(&node);
    leader.claim(&node).await?;
    leader.evict(&pods[0]).await?;
    let refused = leader.evict(&pods[1]).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 429), "the budget allows one");
    stage.see_gone(&pods[0]).await?;
    // Its successor can't go anywhere else; let the budget have room for one more.
    stage
        .cluster
        .kubectl(["patch", "pdb", "cart", "--type=merge", "-p", r#"{"spec":{"minAvailable":0}}"#])
        .await?;
    let begun = std::time::Instant::now();
    while leader.evict(&pods[1]).await.is_err() {
        assert!(begun.elapsed() < SOON, "the budget never says yes");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.see_gone(&pods[1]).await?;
    let nodes = stage.cluster.nodes().await?;
    stage.referee.witness(AzureFact::Started { event: EVENT.into() });
    stage.referee.witness(AzureFact::PoweredOff { node: node.clone() });
    nodes.power_off(&node).await?;
    nodes.wait_off(&node, SOON).await?;
    stage.referee.witness(AzureFact::PoweredOn { node: node.clone() });
    nodes.power_on(&node, "11111111-0000-4000-8000-000000000000").await?;
    nodes.wait_ready(&[&node], SOON).await?;
    stage.referee.witness(AzureFact::Removed { event: EVENT.into() });
    tokio::time::sleep(Duration::from_millis(1200)).await;
    leader.release(&node).await?;
    let verdict = stage.ends_with(&[]).await?;
    assert_eq!(
        verdict.facts.refused_then_accepted,
        [format!("default/{}", pods[1].metadata.name.as_deref().unwrap())]
    );
    assert_eq!(verdict.facts.drains.len(), 1, "{verdict}");
    assert_eq!(verdict.facts.leaders.len(), 1, "{verdict}");
    Ok(())
}

#[tokio::test]
async fn two_drains_at_once() -> Result<()> {
    let stage = Stage::set(may_stay_held()).await?;
    let leader = stage.leader().await?;
    for (index, node) in stage.nodes.clone().iter().enumerate() {
        let slow =
            Workload::new(&format!("slow-{index}"), 1).on_node(node).stop_after(Duration::from_secs(10));
        let pods = stage.deploy(&slow).await?;
        leader.claim(node).await?;
        leader.evict(&pods[0]).await?;
    }
    stage.ends_with(&[Check::TooManyDrains]).await.map(drop)
}

#[tokio::test]
async fn half_a_pool_and_one_more_cordoned() -> Result<()> {
    let settings = Settings { max_cordoned: Amount::Percent(50), ..Settings::default() };
    let stage = Stage::set(Promises { settings, ..may_stay_held() }).await?;
    let leader = stage.leader().await?;
    leader.claim(&stage.nodes[0]).await?;
    leader.claim(&stage.nodes[1]).await?;
    stage.ends_with(&[Check::TooManyCordoned]).await.map(drop)
}

#[tokio::test]
async fn a_drain_begun_while_half_of_the_nodes_is_out_of_use() -> Result<()> {
    let settings = Settings { max_unavailable_nodes: Amount::Percent(50), ..may_stay_held().settings };
    let stage = Stage::set(Promises { settings, ..may_stay_held() }).await?;
    let leader = stage.leader().await?;
    stage.cluster.kubectl_as(mechanic_sandbox::cluster::User::Person, ["cordon", &stage.nodes[1]]).await?;
    stage.taken_effect(|fact| matches!(fact, Fact::Node(seen) if seen.unschedulable)).await?;
    leader.claim(&stage.nodes[0]).await?;
    stage.ends_with(&[Check::TooManyUnavailable]).await.map(drop)
}

#[tokio::test]
async fn a_pod_moved_for_a_freeze_of_seconds() -> Result<()> {
    let stage = Stage::set(may_stay_held()).await?;
    let pods = stage.deploy(&Workload::new("cart", 1).on_node(&stage.nodes[0])).await?;
    let leader = stage.leader().await?;
    stage.announce_event(&stage.nodes[0], Event::scheduled("Freeze", ["vm"], Duration::ZERO));
    leader.claim(&stage.nodes[0]).await?;
    leader.evict(&pods[0]).await?;
    stage.ends_with(&[Check::MovedInVain]).await.map(drop)
}

#[tokio::test]
async fn a_claim_while_paused() -> Result<()> {
    let stage = Stage::set(may_stay_held()).await?;
    let leader = stage.leader().await?;
    leader.claim(&stage.nodes[0]).await?;
    stage.configure(json!({ "paused": "true" })).await?;
    leader.claim(&stage.nodes[1]).await?;
    let verdict = stage.ends_with(&[Check::PausedAndBegan]).await?;
    assert_eq!(verdict.violations.len(), 1, "only what began after the pause: {verdict}");
    Ok(())
}

#[tokio::test]
async fn a_write_in_a_dry_run() -> Result<()> {
    let stage = Stage::set(may_stay_held()).await?;
    let leader = stage.leader().await?;
    stage.configure(json!({ "dry-run": "true" })).await?;
    leader.take_lease().await?;
    leader.claim(&stage.nodes[0]).await?;
    let verdict = stage.ends_with(&[Check::DryRunAndWrote]).await?;
    assert_eq!(verdict.violations.len(), 1, "the Lease is written all the same: {verdict}");
    Ok(())
}

#[tokio::test]
async fn a_node_touched_that_is_opted_out() -> Result<()> {
    let stage = Stage::set(may_stay_held()).await?;
    let leader = stage.leader().await?;
    let label = ["label", "node", &stage.nodes[0], "mechanic/opt-out=true"];
    stage.cluster.kubectl_as(mechanic_sandbox::cluster::User::Person, label).await?;
    stage.taken_effect(|fact| matches!(fact, Fact::Node(seen) if seen.opted_out)).await?;
    leader.claim(&stage.nodes[0]).await?;
    leader.claim(&stage.nodes[1]).await?;
    let verdict = stage.ends_with(&[Check::OptedOut]).await?;
    assert_eq!(verdict.violations.len(), 1, "{verdict}");
    Ok(())
}

#[tokio::test]
async fn a_terminate_believed_too_soon() -> Result<()> {
    let settings = Settings {
        release_hold: Duration::ZERO,
        release_hold_never_started: Duration::ZERO,
        ..Settings::default()
    };
    let stage = Stage::set(Promises { settings, ..Promises::default() }).await?;
    let leader = stage.leader().await?;
    stage.announce_event(&stage.nodes[0], Event::scheduled("Terminate", ["vm"], Duration::ZERO));
    leader.claim(&stage.nodes[0]).await?;
    stage.referee.witness(AzureFact::Removed { event: EVENT.into() });
    leader.release(&stage.nodes[0]).await?;
    stage.ends_with(&[Check::ReleasedEarly]).await.map(drop)
}

#[tokio::test]
async fn a_pod_deleted_instead_of_evicted() -> Result<()> {
    let stage = Stage::set(may_stay_held()).await?;
    let pods = stage.deploy(&Workload::new("cart", 1).on_node(&stage.nodes[0])).await?;
    let leader = stage.leader().await?;
    leader.claim(&stage.nodes[0]).await?;
    leader.delete(&pods[0]).await?;
    stage.ends_with(&[Check::PodDeleted]).await.map(drop)
}

#[tokio::test]
async fn a_cordon_of_a_person_undone() -> Result<()> {
    let stage = Stage::set(Promises::default()).await?;
    let leader = stage.leader().await?;
    let person = Api::<Node>::all(stage.person().await?);
    person.cordon(&stage.nodes[0]).await?;
    leader.release(&stage.nodes[0]).await?;
    stage.ends_with(&[Check::ForeignCordon]).await.map(drop)
}

#[tokio::test]
async fn a_label_of_somebody_else_taken_off() -> Result<()> {
    let stage = Stage::set(Promises::default()).await?;
    let leader = stage.leader().await?;
    let label = ["label", "node", &stage.nodes[0], "mechanic.cordoned=true"];
    stage.cluster.kubectl_as(mechanic_sandbox::cluster::User::Person, label).await?;
    leader.release(&stage.nodes[0]).await?;
    stage.ends_with(&[Check::ForeignCordon]).await.map(drop)
}

#[tokio::test]
async fn a_node_given_back_while_its_event_is_there() -> Result<()> {
    let stage = Stage::set(Promises::default()).await?;
    let leader = stage.leader().await?;
    stage.announce(&stage.nodes[0]);
    leader.claim(&stage.nodes[0]).await?;
    leader.release(&stage.nodes[0]).await?;
    stage.ends_with(&[Check::ReleasedEarly]).await.map(drop)
}

#[tokio::test]
async fn a_node_given_back_while_its_vm_is_off() -> Result<()> {
    let stage = Stage::set(Promises::default()).await?;
    let leader = stage.leader().await?;
    let node = stage.nodes[0].clone();
    stage.announce(&node);
    leader.claim(&node).await?;
    stage.referee.witness(AzureFact::PoweredOff { node: node.clone() });
    let nodes = stage.cluster.nodes().await?;
    nodes.power_off(&node).await?;
    nodes.wait_off(&node, SOON).await?;
    stage.referee.witness(AzureFact::Removed { event: EVENT.into() });
    leader.release(&node).await?;
    stage.ends_with(&[Check::ReleasedEarly]).await.map(drop)
}

#[tokio::test]
async fn a_follower_that_writes() -> Result<()> {
    let stage = Stage::set(may_stay_held()).await?;
    let pods = stage.deploy(&Workload::new("cart", 1).on_node(&stage.nodes[0])).await?;
    stage.leader().await?.claim(&stage.nodes[0]).await?;
    let follower = stage.player("mechanic-coordinator", "mechanic-coordinator-b").await?;
    follower.evict(&pods[0]).await?;
    stage.ends_with(&[Check::NotTheLeader]).await.map(drop)
}

#[tokio::test]
async fn a_former_leader_that_goes_on() -> Result<()> {
    let stage = Stage::set(may_stay_held()).await?;
    let former = stage.leader().await?;
    former.claim(&stage.nodes[0]).await?;
    let next = stage.player("mechanic-coordinator", "mechanic-coordinator-b").await?;
    next.take_lease().await?;
    next.claim(&stage.nodes[0]).await?;
    former.claim(&stage.nodes[1]).await?;
    let verdict = stage.ends_with(&[Check::NotTheLeader]).await?;
    assert_eq!(verdict.violations.len(), 1, "{verdict}");
    assert_eq!(verdict.facts.leaders.len(), 2, "{verdict}");
    Ok(())
}

#[tokio::test]
async fn an_eviction_bound_to_no_uid() -> Result<()> {
    let stage = Stage::set(may_stay_held()).await?;
    let pods = stage.deploy(&Workload::new("cart", 1).on_node(&stage.nodes[0])).await?;
    let leader = stage.leader().await?;
    leader.claim(&stage.nodes[0]).await?;
    leader.evict_with(&pods[0], json!({})).await?;
    stage.ends_with(&[Check::NoUidPrecondition]).await.map(drop)
}

#[tokio::test]
async fn an_eviction_from_a_node_that_is_not_held() -> Result<()> {
    let stage = Stage::set(Promises::default()).await?;
    let pods = stage.deploy(&Workload::new("cart", 1).on_node(&stage.nodes[0])).await?;
    stage.leader().await?.evict(&pods[0]).await?;
    stage.ends_with(&[Check::NodeNotClaimed]).await.map(drop)
}

#[tokio::test]
async fn an_eviction_without_grace() -> Result<()> {
    let stage = Stage::set(may_stay_held()).await?;
    let pods = stage.deploy(&Workload::new("cart", 1).on_node(&stage.nodes[0])).await?;
    let leader = stage.leader().await?;
    leader.claim(&stage.nodes[0]).await?;
    let options = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": pods[0].metadata.uid } });
    leader.evict_with(&pods[0], options).await?;
    stage.ends_with(&[Check::NoGrace]).await.map(drop)
}

#[tokio::test]
async fn pods_that_could_have_been_moved() -> Result<()> {
    let stage = Stage::set(may_stay_held()).await?;
    stage.deploy(&Workload::new("cart", 1).on_node(&stage.nodes[0])).await?;
    let leader = stage.leader().await?;
    stage.announce(&stage.nodes[0]);
    leader.claim(&stage.nodes[0]).await?;
    stage.referee.witness(AzureFact::Started { event: EVENT.into() });
    stage.ends_with(&[Check::PodsLeftBehind]).await.map(drop)
}

#[tokio::test]
async fn a_node_left_cordoned() -> Result<()> {
    let stage = Stage::set(Promises::default()).await?;
    let leader = stage.leader().await?;
    leader.claim(&stage.nodes[0]).await?;
    stage.ends_with(&[Check::LeftCordoned]).await.map(drop)
}

#[tokio::test]
async fn a_budget_broken() -> Result<()> {
    let stage = Stage::set(may_stay_held()).await?;
    let workload = Workload::new("cart", 2).on_node(&stage.nodes[0]).start_after(Duration::from_secs(5));
    let pods = stage.deploy_with_budget(&workload, 1).await?;
    let leader = stage.leader().await?;
    leader.claim(&stage.nodes[0]).await?;
    // The API server itself never lets an eviction break a budget; a DELETE does.
    for pod in &pods {
        leader.delete(pod).await?;
    }
    stage
        .referee
        .see("the budget fall short", SOON, |history| {
            let short = |fact: &mechanic_sandbox::referee::Fact| {
                matches!(fact, mechanic_sandbox::referee::Fact::Budget(seen) if seen.healthy < seen.desired)
            };
            history.records.iter().rev().take(200).any(|record| short(&record.fact)).then_some(())
        })
        .await?;
    stage.ends_with(&[Check::PodDeleted, Check::BudgetBroken]).await.map(drop)
}

#[tokio::test]
async fn a_probe_that_asks_the_api_server() -> Result<()> {
    let stage = Stage::set(Promises::default()).await?;
    let probe = stage.player("mechanic-probe", "mechanic-probe-x").await?;
    let answer = Api::<Node>::all(probe.client).list(&ListParams::default()).await;
    assert!(answer.is_err(), "it has no rights");
    stage.ends_with(&[Check::ProbeTouchedApi]).await.map(drop)
}

#[tokio::test]
async fn a_coordinator_that_asks_for_what_it_has_no_right_to() -> Result<()> {
    let stage = Stage::set(Promises::default()).await?;
    let leader = stage.leader().await?;
    stage.take_rights().await?;
    let nodes = Api::<Node>::all(leader.client);
    // The authorizer hears of it a little later.
    tokio::time::timeout(SOON, async { while nodes.list(&ListParams::default()).await.is_ok() {} }).await?;
    stage.ends_with(&[Check::WithoutRight]).await.map(drop)
}

#[tokio::test]
async fn a_referee_that_can_no_longer_see() -> Result<()> {
    let stage = Stage::set(Promises::default()).await?;
    stage.cluster.kill_api_server().await?;
    let verdict = stage.referee.verdict().await;
    assert_eq!(verdict.broken(), [Check::Blind], "{verdict}");
    stage.cluster.stop().await
}
