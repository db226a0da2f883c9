//! What kwok's Stages make of nodes and pods: power, eviction, slow, stuck and finalizer pods.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use mechanic_sandbox::cluster::{Cluster, ClusterOptions, User};
use mechanic_sandbox::nodes::Pool;
use mechanic_sandbox::workloads::{Workload, create, is_ready};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_mins(1);

async fn cluster(nodes: u32) -> (Cluster, Vec<String>, Client) {
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    let specs = Pool::new("userpool").nodes(nodes);
    cluster.nodes().await.unwrap().create_ready(&specs, SOON).await.unwrap();
    let client = cluster.client(User::Sandbox).await.unwrap();
    (cluster, specs.into_iter().map(|spec| spec.name).collect(), client)
}

fn pods(client: &Client) -> Api<Pod> {
    Api::namespaced(client.clone(), "default")
}

async fn evict(client: &Client, pod: &Pod) -> u16 {
    let name = pod.name_any();
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name, "namespace": "default" },
        "deleteOptions": { "preconditions": { "uid": pod.uid() } },
    });
    let (pods, asked) = (pods(client), PostParams::default());
    match pods.create_subresource::<Value, Value>("eviction", &name, &asked, &eviction).await {
        Ok(_) => 201,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("the eviction got no answer: {error}"),
    }
}

async fn gone_within(client: &Client, pod: &str, within: Duration) -> Option<Duration> {
    let begun = Instant::now();
    while begun.elapsed() < within {
        if pods(client).get_opt(pod).await.unwrap().is_none() {
            return Some(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_goes_off_and_comes_back_in_another_boot() {
    let (cluster, names, client) = cluster(2).await;
    let nodes = cluster.nodes().await.unwrap();
    let web = Workload::new("web", 1).on_node(&names[0]);
    create(&client, &web.deployment().unwrap()).await.unwrap();
    let before = web.ready(&client, 1, SOON).await.unwrap().remove(0);

    let begun = Instant::now();
    nodes.power_off(&names[0]).await.unwrap();
    nodes.wait_off(&names[0], SOON).await.unwrap();
    println!("NotReady and tainted after {:?}", begun.elapsed());
    let begun = Instant::now();
    while web.pods(&client).await.unwrap().iter().any(is_ready) {
        assert!(begun.elapsed() < SOON, "a pod on a VM that is off is not Ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let begun = Instant::now();
    nodes.power_on(&names[0], "another-boot").await.unwrap();
    nodes.wait_ready(&[&names[0]], SOON).await.unwrap();
    println!("Ready again after {:?}", begun.elapsed());
    let after = web.ready(&client, 1, SOON).await.unwrap().remove(0);
    assert_eq!(after.uid(), before.uid(), "the pod is the same one, its containers were started again");
    let status = after.status.unwrap().container_statuses.unwrap().remove(0);
    assert_eq!((status.restart_count, status.ready), (1, true));
    let node = Api::<Node>::all(client).get(&names[0]).await.unwrap();
    assert_eq!(node.status.unwrap().node_info.unwrap().boot_id, "another-boot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_says_no_and_later_yes() {
    let (_cluster, _, client) = cluster(3).await;
    let shop = Workload::new("shop", 2).start_after(Duration::from_secs(3)).spread();
    create(&client, &shop.deployment().unwrap()).await.unwrap();
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), "default");
    create(&client, &shop.max_unavailable(1).unwrap()).await.unwrap();
    let two = shop.ready(&client, 2, SOON).await.unwrap();
    while budgets.get("shop").await.unwrap().status.is_none_or(|status| status.disruptions_allowed != 1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(evict(&client, &two[0]).await, 201);
    assert_eq!(evict(&client, &two[1]).await, 429, "the first one's replacement isn't ready yet");
    let begun = Instant::now();
    let mut answer = 429;
    while answer == 429 && begun.elapsed() < SOON {
        tokio::time::sleep(Duration::from_millis(200)).await;
        answer = evict(&client, &two[1]).await;
    }
    println!("the budget said yes after {:?}", begun.elapsed());
    assert_eq!(answer, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_stuck_and_finalizer_pods_end_as_told() {
    let (_cluster, _, client) = cluster(1).await;
    let seconds = Duration::from_secs;
    let quick = Workload::new("quick", 1);
    let slow = Workload::new("slow", 1).stop_after(seconds(4));
    let killed = Workload::new("killed", 1).stop_after(seconds(60)).grace(seconds(3));
    let stuck = Workload::new("stuck", 1).never_stopping().grace(seconds(1));
    let held = Workload::new("held", 1).finalizer("sandbox/hold");
    for workload in [&quick, &slow, &killed, &stuck, &held] {
        create(&client, &workload.bare_pod().unwrap()).await.unwrap();
        workload.ready(&client, 1, SOON).await.unwrap();
    }
    let end = async |name: &str, within| {
        pods(&client).delete(name, &DeleteParams::default()).await.unwrap();
        gone_within(&client, name, within).await
    };
    let (quick, slow, killed, stuck, held) = tokio::join!(
        end("quick", SOON),
        end("slow", SOON),
        end("killed", SOON),
        end("stuck", seconds(6)),
        end("held", seconds(6))
    );
    println!("quick {quick:?}, slow {slow:?}, killed {killed:?}");
    assert!(quick.unwrap() < seconds(3));
    // The API's times are whole seconds, so an end may come one early.
    assert!(slow.unwrap() >= seconds(3));
    assert!(killed.is_some_and(|time| time >= seconds(2) && time < seconds(30)));
    assert_eq!((stuck, held), (None, None));
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    pods(&client).patch("held", &PatchParams::default(), &free).await.unwrap();
    assert!(gone_within(&client, "held", SOON).await.is_some());
}
