//! The audit log names the pod behind a bound token, and shows an eviction as it was asked for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use mechanic_sandbox::cluster::{Cluster, ClusterOptions, User};
use mechanic_sandbox::kubeconfig::{Credentials, Kubeconfig};
use mechanic_sandbox::nodes::Pool;
use mechanic_sandbox::workloads::{Workload, create};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_with_a_bound_token_is_written_down_with_its_pod_and_its_precondition() {
    let soon = Duration::from_mins(1);
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    cluster.nodes().await.unwrap().create_ready(&Pool::new("userpool").nodes(1), soon).await.unwrap();
    let client = cluster.client(User::Sandbox).await.unwrap();
    let caller = Workload::new("caller", 1);
    let victim = Workload::new("victim", 1).grace(Duration::from_secs(7));
    for workload in [&caller, &victim] {
        create(&client, &workload.bare_pod().unwrap()).await.unwrap();
        workload.ready(&client, 1, soon).await.unwrap();
    }
    cluster
        .kubectl([
            "create",
            "clusterrolebinding",
            "caller",
            "--clusterrole=cluster-admin",
            "--serviceaccount=default:default",
        ])
        .await
        .unwrap();
    let token = cluster
        .kubectl(["create", "token", "default", "--bound-object-kind=Pod", "--bound-object-name=caller"])
        .await
        .unwrap();
    let path = cluster.run_folder().join("bound");
    let file = Kubeconfig {
        server: cluster.api_server_url().into(),
        certificate_authority: Some(cluster.api_server_ca().into()),
        name: "caller".into(),
        credentials: Credentials::Token(token.trim().into()),
    };
    file.write(&path).unwrap();
    let bound = kube::config::Kubeconfig::read_from(&path).unwrap();
    let config = kube::Config::from_custom_kubeconfig(bound, &kube::config::KubeConfigOptions::default())
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(kube::Client::try_from(config).unwrap(), "default");
    let uid = pods.get("victim").await.unwrap().uid().unwrap();
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "victim", "namespace": "default" },
        "deleteOptions": { "gracePeriodSeconds": 5, "preconditions": { "uid": uid } },
    });
    let _: Value =
        pods.create_subresource("eviction", "victim", &PostParams::default(), &eviction).await.unwrap();

    let log = std::fs::read_to_string(cluster.audit_log()).unwrap();
    let request: Value = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|event| event["objectRef"]["subresource"] == "eviction")
        .unwrap();
    assert_eq!(request["user"]["extra"]["authentication.kubernetes.io/pod-name"][0], "caller");
    assert_eq!(request["requestObject"]["deleteOptions"]["preconditions"]["uid"], json!(uid));
    assert_eq!(request["requestObject"]["deleteOptions"]["gracePeriodSeconds"], 5);
    assert_eq!(request["responseStatus"]["code"], 201);
}
