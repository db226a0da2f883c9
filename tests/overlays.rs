//! Every overlay and each base alone on a real API server, as people apply them: admitted in full, applied again without a
//! change, taken away without a rest.

use std::{collections::BTreeMap, path::Path, time::Duration};

use crate::support::manifests::{
    built, kustomization_of_the_page, kustomization_of_the_readme, object, of_kind, overlay, overlays,
    own_kustomization,
};
use mechanic_sandbox::{
    cluster::{Cluster, ClusterOptions},
    nodes::Pool,
    programs::workspace,
};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_mins(2);
const NODES: u32 = 3;
const PROBES: (&str, u32) = ("mechanic-probe", NODES);
const COORDINATORS: (&str, u32) = ("mechanic-coordinator", 2);
/// Selects what is mechanic's.
const OWN: &str = "--selector=app.kubernetes.io/part-of=mechanic";

/// The objects of a folder as they stand, by kind and name: their versions.
async fn versions(cluster: &Cluster, folder: &str) -> BTreeMap<String, (String, Value)> {
    let list = cluster.kubectl(["get", "-o", "json", "-k", folder]).await.unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let version = |object: &Value| {
        let metadata = &object["metadata"];
        let name = format!("{} {}", object["kind"], metadata["name"]);
        (name, (metadata["resourceVersion"].to_string(), metadata["generation"].clone()))
    };
    list["items"].as_array().unwrap().iter().map(version).collect()
}

/// The same, once the controllers have nothing more to write there.
async fn settled(cluster: &Cluster, folder: &str) -> BTreeMap<String, (String, Value)> {
    let settled = async {
        let mut before = versions(cluster, folder).await;
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = versions(cluster, folder).await;
            if now == before {
                return now;
            }
            before = now;
        }
    };
    tokio::time::timeout(LONG, settled).await.expect("somebody goes on writing to the overlay's objects")
}

async fn apply(cluster: &Cluster, folder: &str) {
    let applied = cluster.kubectl(["apply", "--server-side", "--validate=strict", "-k", folder]).await;
    applied.unwrap_or_else(|error| panic!("{folder}: {error:#}"));
}

/// Waits until the real controllers have made all pods and the real scheduler has placed them, no two on one node.
async fn placed(cluster: &Cluster, namespace: &str, component: &str, count: usize) {
    let label = format!("--selector=app.kubernetes.io/name={component}");
    let nodes = async {
        loop {
            let pods = cluster.kubectl(["get", "pods", "-n", namespace, &label, "-o", "json"]).await.unwrap();
            let pods: Value = serde_json::from_str(&pods).unwrap();
            let pods = pods["items"].as_array().unwrap().iter();
            let mut nodes: Vec<String> =
                pods.filter_map(|pod| pod["spec"]["nodeName"].as_str()).map(str::to_owned).collect();
            nodes.sort();
            if nodes.len() == count {
                return nodes;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let Ok(mut nodes) = tokio::time::timeout(LONG, nodes).await else {
        let events = cluster.kubectl(["get", "events", "-n", namespace]).await.unwrap();
        panic!("there are not {count} pods of {component}'s on nodes:\n{events}")
    };
    nodes.dedup();
    assert_eq!(nodes.len(), count, "two of {component}'s are on one node: {nodes:?}");
}

/// `kubectl delete -k` and what only a kubelet does otherwise.
async fn taken_away(cluster: &Cluster, folder: &str, namespace: &str) {
    cluster.kubectl(["delete", "--wait=false", "-k", folder]).await.unwrap();
    let pods = ["delete", "pods", "--all", "--force", "--grace-period=0", "-n", namespace];
    cluster.kubectl(pods).await.unwrap();
    let left = cluster.kubectl(["get", "clusterroles,clusterrolebindings", OWN, "-o", "name"]).await.unwrap();
    assert_eq!(left, "");
}

/// Applied twice and taken away.
async fn comes_and_goes(cluster: &Cluster, folder: &Path, namespace: &str, components: &[(&str, u32)]) {
    let folder = folder.display().to_string();
    apply(cluster, &folder).await;
    for (component, count) in components {
        placed(cluster, namespace, component, usize::try_from(*count).unwrap()).await;
    }
    let before = settled(cluster, &folder).await;
    apply(cluster, &folder).await;
    assert_eq!(versions(cluster, &folder).await, before, "{folder}: the second time has changed something");
    taken_away(cluster, &folder, namespace).await;
}

/// An overlay, which brings its namespace and takes it with it.
async fn overlay_comes_and_goes(cluster: &Cluster, folder: &Path, namespace: &str) {
    comes_and_goes(cluster, folder, namespace, &[PROBES, COORDINATORS]).await;
    let gone = format!("namespace/{namespace}");
    cluster.kubectl(["wait", "--for=delete", &gone, "--timeout=120s"]).await.unwrap();
}

/// A base, which stands in a namespace of somebody's own.
async fn base_comes_and_goes(cluster: &Cluster, base: &str, component: (&str, u32)) {
    let own = own_kustomization(&format!("namespace: platform\nresources: [mechanic/deploy/{base}]"));
    comes_and_goes(cluster, own.path(), "platform", &[component]).await;
    let left = async || {
        let all = "all,configmaps,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets";
        cluster.kubectl(["get", all, OWN, "-n", "platform", "-o", "name"]).await.unwrap()
    };
    let gone = async { while !left().await.is_empty() {} };
    tokio::time::timeout(LONG, gone).await.expect("something of the base is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_overlay_and_base_is_admitted_applied_again_without_a_change_and_taken_away_without_a_rest() {
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    let nodes = Pool::new("userpool").nodes(NODES);
    cluster.nodes().await.unwrap().create_ready(&nodes, LONG).await.unwrap();
    let kinds = workspace().join("tests/overlays/kinds-of-others.yaml").display().to_string();
    cluster.kubectl(["apply", "-f", &kinds]).await.unwrap();
    cluster.kubectl(["wait", "--for=condition=Established", "-f", &kinds]).await.unwrap();
    for (name, folder) in overlays() {
        println!("{name}");
        overlay_comes_and_goes(&cluster, &folder, "mechanic").await;
    }
    let own = own_kustomization(&kustomization_of_the_readme("default"));
    overlay_comes_and_goes(&cluster, own.path(), "maintenance").await;
    cluster.kubectl(["create", "namespace", "platform"]).await.unwrap();
    let restricted = ["label", "namespace", "platform", "pod-security.kubernetes.io/enforce=restricted"];
    cluster.kubectl(restricted).await.unwrap();
    base_comes_and_goes(&cluster, "coordinator", COORDINATORS).await;
    base_comes_and_goes(&cluster, "probe", PROBES).await;
    let release = kustomization_of_the_page("deploy/release").replace("maintenance", "platform");
    let release = own_kustomization(&release);
    apply(&cluster, &release.path().display().to_string()).await;
    let image = ["get", "job", "mechanic-release", "-n", "platform", "-o", "jsonpath={..image}"];
    assert_eq!(cluster.kubectl(image).await.unwrap(), "registry.example/mechanic-coordinator:0.1.0");
    // Strict means strict: a slip in a field's name is no success.
    let slip = own_kustomization(
        "resources: [mechanic/deploy/overlays/default]\npatches: [{patch: '{apiVersion: policy/v1, kind: \
         PodDisruptionBudget, metadata: {name: mechanic-coordinator}, spec: {maxUnavailible: 1}}'}]",
    );
    let slip = slip.path().display().to_string();
    let refused = cluster.kubectl(["apply", "--server-side", "--validate=strict", "-k", &slip]).await;
    assert!(refused.unwrap_err().to_string().contains("maxUnavailible"));
    cluster.stop().await.unwrap();
}

/// What docs/install.md says of a namespace that is there already.
#[test]
fn the_bases_together_are_the_default_overlay_without_its_namespace() {
    let bases = built(own_kustomization(kustomization_of_the_page("deploy/probe")).path());
    let bases = json!(bases).to_string().replace(r#""platform""#, r#""mechanic""#);
    let mut default = overlay("default").to_vec();
    default.retain(|object| object["kind"] != "Namespace");
    assert_eq!(serde_json::from_str::<Value>(&bases).unwrap(), json!(default));
}

/// What README.md's kustomization changes, and that it changes nothing else.
#[test]
fn images_namespace_and_budget_change_by_ordinary_means_over_each_overlay() {
    for (name, _) in overlays() {
        let own = own_kustomization(&kustomization_of_the_readme(&name));
        let mut changed = built(own.path());
        let namespaces: Vec<_> =
            of_kind(&changed, "Namespace").map(|object| &object["metadata"]["name"]).collect();
        assert_eq!(namespaces, ["maintenance"], "{name}");
        assert!(!json!(changed).to_string().contains(r#""namespace":"mechanic""#), "{name}");
        for (kind, component) in [("Deployment", "mechanic-coordinator"), ("DaemonSet", "mechanic-probe")] {
            let image =
                &object(&changed, kind, component)["spec"]["template"]["spec"]["containers"][0]["image"];
            assert_eq!(*image, format!("registry.example/{component}:0.1.0"), "{name}");
        }
        let settings = changed.iter_mut().find(|object| object["kind"] == "ConfigMap").unwrap();
        assert_eq!(settings["metadata"]["name"], "mechanic", "it is watched by this name");
        assert_eq!(settings["data"]["max-concurrent-drains"], "2", "{name}");
        settings["data"]["max-concurrent-drains"] = "10%".into();
        let back = json!(changed)
            .to_string()
            .replace(r#""maintenance""#, r#""mechanic""#)
            .replace("registry.example/", "")
            .replace(":0.1.0", ":dev");
        assert_eq!(back, json!(overlay(&name)).to_string(), "{name}: something else has changed");
    }
}
