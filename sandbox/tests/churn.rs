//! How often a compare-and-swap on a Node meets somebody else's write, at 1,000 nodes written once a second.
//!
//! `cargo test --release -p mechanic-sandbox --test churn -- --ignored --nocapture` prints the numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use mechanic_sandbox::cluster::{Cluster, ClusterOptions, User};
use mechanic_sandbox::nodes::Pool;
use serde_json::json;

const NODES: u32 = 1000;
/// Claims in all, one each so often: the rate of a bad day, not of the bench's own making.
const CLAIMS: usize = 300;
const EVERY: Duration = Duration::from_millis(50);

fn status_writes(nodes: &[Node], before: &[Node]) -> usize {
    let version = |node: &Node| node.resource_version().unwrap_or_default();
    nodes.iter().zip(before).filter(|(now, then)| version(now) != version(then)).count()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a bench: a minute of 1,000 busy nodes"]
async fn claims_succeed_on_busy_nodes() {
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    let specs = Pool::new("userpool").nodes(NODES);
    let nodes = cluster.nodes().await.unwrap();
    let begun = Instant::now();
    nodes.create_ready(&specs, Duration::from_mins(5)).await.unwrap();
    println!("{NODES} nodes Ready in {:?}", begun.elapsed());
    stream::iter(&specs)
        .for_each_concurrent(32, async |spec| nodes.churn(&spec.name, true).await.unwrap())
        .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let api: Api<Node> = Api::all(cluster.client(User::Person).await.unwrap());
    let before = api.list(&ListParams::default()).await.unwrap().items;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let now = api.list(&ListParams::default()).await.unwrap().items;
    println!("{} of {NODES} nodes written within about a second", status_writes(&now, &before));

    // Two ways: with the version of a watch's age (up to a second old), and read just before.
    for fresh in [false, true] {
        let mut conflicts = 0;
        let mut took = Vec::new();
        let known = api.list(&ListParams::default()).await.unwrap().items;
        let mut pace = tokio::time::interval(EVERY);
        for node in known.iter().skip(if fresh { CLAIMS } else { 0 }).take(CLAIMS) {
            pace.tick().await;
            let name = node.name_any();
            let begun = Instant::now();
            let mut version = if fresh {
                api.get(&name).await.unwrap().resource_version()
            } else {
                node.resource_version()
            };
            loop {
                let claim = json!({
                    "metadata": { "resourceVersion": version, "uid": node.uid(),
                        "labels": { "mechanic.cordoned": "true" }, "annotations": { "mechanic/claim": "{\"v\":1}" } },
                    "spec": { "unschedulable": true },
                });
                let params = PatchParams { field_manager: Some("mechanic".into()), ..PatchParams::default() };
                match api.patch(&name, &params, &Patch::Merge(claim)).await {
                    Ok(_) => break,
                    Err(kube::Error::Api(status)) if status.is_conflict() => {
                        conflicts += 1;
                        version = api.get(&name).await.unwrap().resource_version();
                    }
                    Err(error) => panic!("{name}: {error}"),
                }
            }
            took.push(begun.elapsed());
        }
        took.sort();
        println!(
            "{}: {CLAIMS} claims, {conflicts} conflicts, time to success p50 {:?} p95 {:?} max {:?}",
            if fresh { "read just before" } else { "version from a list" },
            took[CLAIMS / 2],
            took[CLAIMS * 95 / 100],
            took[CLAIMS - 1]
        );
        assert!(took[CLAIMS - 1] < Duration::from_secs(30));
    }
}
