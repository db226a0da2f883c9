//! Pods that an eviction can't move, on a real API server: each says why it is still there, and goes when it is freed.
//! The numbers are those of `tests/README.md`.

use std::{fmt::Debug, sync::Arc};

use crate::support::{House, LONG, kill};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{
            ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
        },
        core::v1::Namespace,
        policy::v1::PodDisruptionBudget,
    },
    serde::{Serialize, de::DeserializeOwned},
};
use kube::{
    Api, Resource,
    api::{DeleteParams, PostParams},
    core::ClusterResourceScope,
};
use mechanic_sandbox::{
    azure::Event,
    child::Child,
    fault_proxy::{Effect, Fault, Requests},
    referee::Fact,
    workloads::{Workload, create},
};
use serde_json::{Value, json};

impl House {
    async fn make<K>(&self, object: Value)
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        Api::<K>::all(self.client.clone()).create(&PostParams::default(), &object).await.unwrap();
    }

    async fn unmake<K>(&self, name: &str)
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        Api::<K>::all(self.client.clone()).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// A second budget over the workload's pods.
    async fn second_budget(&self, workload: &Workload) {
        let mut second = workload.max_unavailable(1).unwrap();
        second.metadata.name = Some("second".into());
        create(&self.client, &second).await.unwrap();
    }
}

/// Evictions in this namespace are answered by an admission policy that says no, and in the other by a webhook that
/// nobody answers for.
async fn guard(house: &House) {
    let evictions_in = |namespace: &str| {
        json!({
            "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/eviction"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        })
    };
    for namespace in ["guarded", "unanswered"] {
        house.make::<Namespace>(json!({"metadata": {"name": namespace}})).await;
    }
    house
        .make::<ValidatingAdmissionPolicy>(json!({
            "metadata": {"name": "guard"},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": evictions_in("guarded"),
                "validations": [{"expression": "false", "message": "not before the backup"}],
            },
        }))
        .await;
    house
        .make::<ValidatingAdmissionPolicyBinding>(json!({
            "metadata": {"name": "guard"},
            "spec": {"policyName": "guard", "validationActions": ["Deny"]},
        }))
        .await;
    let evictions = evictions_in("unanswered");
    house
        .make::<ValidatingWebhookConfiguration>(json!({
            "metadata": {"name": "unanswered"},
            "webhooks": [{
                "name": "guard.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {"url": "https://127.0.0.1:1/"},
                "rules": evictions["resourceRules"],
                "namespaceSelector": evictions["namespaceSelector"],
            }],
        }))
        .await;
}

/// U11 and edges 3 to 7 and 14; with a pod that comes back, and one that never stops.
#[tokio::test(flavor = "multi_thread")]
async fn u11_edge_3_edge_4_edge_5_edge_6_edge_7_edge_14_each_pod_says_what_keeps_it_and_goes_when_it_is_freed()
 {
    let house = House::with_nodes(4, 1).await;
    house.configure(json!({"set-aside-after": "1h"})).await;
    let node = house.node_without_coordinator();
    let on_node = |name: &str| Workload::new(name, 1).on_node(&node.name);
    guard(&house).await;

    let single = on_node("single");
    house.deploy(&single, None).await;
    create(&house.client, &single.min_available(1).unwrap()).await.unwrap();
    let twice = on_node("twice");
    house.deploy(&twice, Some(1)).await;
    house.second_budget(&twice).await;
    let crashing = Workload { replicas: 2, ..on_node("crashing") };
    house.deploy(&crashing, None).await;
    create(&house.client, &crashing.min_available(1).unwrap()).await.unwrap();
    // Running, and never Ready again, as where they crash again and again.
    let crashed = r#"{"status":{"conditions":[
        {"type":"ContainersReady","status":"False"}, {"type":"Ready","status":"False"}]}}"#;
    for pod in crashing.pods(&house.client).await.unwrap() {
        let name = pod.metadata.name.unwrap();
        house
            .kubectl(&["patch", "pod", &name, "--subresource=status", "--type=strategic", "--patch", crashed])
            .await;
    }
    let guarded = on_node("guarded").namespace("guarded");
    let unanswered = on_node("unanswered").namespace("unanswered");
    let sticky = on_node("sticky").finalizer("example.com/keep");
    let endless = on_node("endless").never_stopping();
    let tolerant = on_node("tolerant").tolerant();
    for workload in [&guarded, &unanswered, &sticky, &endless, &tolerant] {
        house.deploy(workload, None).await;
    }
    house.deploy(&on_node("ordinary"), None).await;

    let event = house.announce(node, &Event::scheduled("Redeploy", [node.vm_name()], crate::support::NOTICE));
    house.wait_for_phase(&node.name, "draining").await;
    let token = house.viewer().await;
    for expected in [
        (&single, "BlockedForGood", &["single", "`minAvailable: 1`", "one replica more"] as &[&str]),
        (&twice, "BlockedForGood", &["more than one", "second, twice"]),
        (&crashing, "BlockedByBudget", &["0 of the 2 pods", "crashing", "AlwaysAllow"]),
        (&guarded, "BlockedForGood", &["guard", "not before the backup"]),
        (&unanswered, "EvictionRefused", &["until the webhook answers", "guard.example.com"]),
        (&sticky, "Terminating", &["example.com/keep"]),
        (&endless, "Terminating", &["asked to be gone by"]),
        (&tolerant, "CameBack", &["tolerates the cordon"]),
    ] {
        house.wait_explained(&node.name, &token, expected).await;
        house.wait_told(expected).await;
    }
    let single_pod = single.pods(&house.client).await.unwrap().remove(0).metadata.name.unwrap();
    let described = house.cluster.kubectl(["describe", "pod", &single_pod]).await.unwrap();
    assert!(described.contains("BlockedForGood") && described.contains("one replica more"), "{described}");
    let left = house.explained(&node.name, &token).await.pods;
    assert!(left.iter().all(|pod| !pod.name.starts_with("ordinary-")), "{left:?}");

    house.kubectl(&["delete", "pdb", "single", "second"]).await;
    let lenient = r#"{"spec":{"unhealthyPodEvictionPolicy":"AlwaysAllow"}}"#;
    house.kubectl(&["patch", "pdb", "crashing", "--type=merge", "--patch", lenient]).await;
    house.unmake::<ValidatingAdmissionPolicyBinding>("guard").await;
    house.unmake::<ValidatingWebhookConfiguration>("unanswered").await;
    let released = r#"{"metadata":{"finalizers":null}}"#;
    for pod in sticky.pods(&house.client).await.unwrap() {
        let name = pod.metadata.name.unwrap();
        house.kubectl(&["patch", "pod", &name, "--type=merge", "--patch", released]).await;
    }
    for pod in endless.pods(&house.client).await.unwrap() {
        if pod.metadata.deletion_timestamp.is_some() {
            let name = pod.metadata.name.unwrap();
            house.kubectl(&["delete", "pod", &name, "--force", "--grace-period=0"]).await;
        }
    }
    let claim = house.wait_for_phase(&node.name, "drained").await;
    assert_eq!(claim["podsLeft"], 1, "only who tolerates the cordon and came back: {claim}");
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(house.client.clone());
    assert!(budgets.get_opt("twice").await.unwrap().is_some());
    for went in [&single, &twice, &guarded, &unanswered] {
        house.wait_told((went, "Evict", &["at last"])).await;
    }
    house.assert_told_once().await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

/// The next leader finds the same pod kept by the same budget under the same claim, and its Event there already.
#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_pod_is_told_once_whoever_leads() {
    let house = House::with_nodes(4, 1).await;
    house.configure(json!({"set-aside-after": "1h"})).await;
    let node = house.node_without_coordinator();
    house.make::<Namespace>(json!({"metadata": {"name": "kept"}})).await;
    let kept = Workload::new("kept", 1).on_node(&node.name).namespace("kept");
    house.deploy(&kept, Some(0)).await;
    let event = house.announce_reboot(node);
    house.wait_told((&kept, "BlockedForGood", &["maxUnavailable: 0"])).await;

    kill(house.leader().await.pid.unwrap());
    let is_refused = |fact: &Fact| match fact {
        Fact::Request(request) => {
            request.resource == "events" && request.namespace == "kept" && request.code == 409
        }
        _ => false,
    };
    let was_refused =
        async || house.referee.look(|history| history.records.iter().any(|record| is_refused(&record.fact)));
    house.wait("the next leader tells it again", async || was_refused().await.then_some(())).await;
    house.assert_told_once().await;
    house.kubectl(&["delete", "pdb", "kept", "--namespace=kept"]).await;
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

/// N1, N2 and edge 11 on a real API server.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_namespace_is_going_is_waited_for_and_goes_with_it() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    house.make::<Namespace>(json!({"metadata": {"name": "going"}})).await;
    let going = Workload::new("going", 1).on_node(&node.name).namespace("going");
    house.deploy(&going, None).await;

    // Whoever would delete what is in it at once.
    let is_controller_manager = |child: &Arc<Child>| child.name() == "kube-controller-manager";
    let controller_manager = house.cluster.children().find(is_controller_manager).unwrap();
    controller_manager.freeze().unwrap();
    house.unmake::<Namespace>("going").await;
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "draining").await;
    let token = house.viewer().await;
    let refused = (&going, "EvictionRefused", &["until its namespace is gone"] as &[&str]);
    house.wait_explained(&node.name, &token, refused).await;
    assert_eq!(going.pods(&house.client).await.unwrap()[0].metadata.deletion_timestamp, None);

    controller_manager.thaw().unwrap();
    house.wait_for_phase(&node.name, "drained").await;
    assert_eq!(house.referee.verdict().await.facts.evictions_accepted, 0);
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

/// W2, U9 and edge 1 on a real API server: the UID says which pod is meant, and not the name.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_has_taken_the_name_of_one_whose_eviction_was_on_its_way_stays() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    house.close_others(&[node]).await.unwrap();
    let database = Workload::new("db", 1);
    create(&house.client, &database.stateful_set().unwrap()).await.unwrap();
    let old = database.ready(&house.client, 1, LONG).await.unwrap().remove(0).metadata.uid;
    house.open_others(&[node]).await.unwrap();

    let evictions = Requests::any().method("POST").path_contains("/eviction");
    let fault = house.fault_proxy.inject(Fault::once(evictions, Effect::HoldOnItsWay));
    let event = house.announce_reboot(node);
    fault.hit(LONG).await.unwrap();
    house.kubectl(&["delete", "pod", "db-0"]).await;
    let new = database.ready(&house.client, 1, LONG).await.unwrap().remove(0).metadata.uid;
    assert_ne!(new, old);
    fault.release();
    house.wait_for_phase(&node.name, "drained").await;
    let now = database.ready(&house.client, 1, LONG).await.unwrap().remove(0).metadata.uid;
    assert_eq!(now, new, "another pod than the one that was meant is evicted");
    assert_eq!(house.referee.verdict().await.facts.evictions_accepted, 0);
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

/// The garbage collector's part in pods whose DaemonSet is gone, which is why mechanic needn't ask for DaemonSets.
#[tokio::test(flavor = "multi_thread")]
async fn u1_u2_edge_18_an_orphan_of_a_daemon_set_is_a_naked_pod_or_no_pod_at_all() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    let agent = Workload::new("agent", 1);
    create(&house.client, &agent.daemon_set().unwrap()).await.unwrap();
    agent.ready(&house.client, house.nodes.len(), LONG).await.unwrap();
    let dangling = Workload::new("dangling", 1).on_node(&node.name);
    let mut pod = dangling.bare_pod().unwrap();
    pod.metadata.owner_references = serde_json::from_value(json!([{
        "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "gone", "controller": true,
        "uid": "6e7d0fd6-5b1c-4a3e-8a57-0d1c6a1f9b10",
    }]))
    .unwrap();
    create(&house.client, &pod).await.unwrap();
    house
        .wait("the garbage collector takes it", async || {
            dangling.pods(&house.client).await.unwrap().is_empty().then_some(())
        })
        .await;

    house.kubectl(&["delete", "daemonset", "agent", "--cascade=orphan"]).await;
    let event = house.announce_reboot(node);
    let claim = house.wait_for_phase(&node.name, "drained").await;
    assert_eq!(claim["podsLeft"], 1, "it outlives the reboot, and nothing would bring it back: {claim}");
    house.remove(&event);
    house.wait_released(&node.name).await;
    let event = house.announce(node, &Event::scheduled("Redeploy", [node.vm_name()], crate::support::NOTICE));
    let claim = house.wait_for_phase(&node.name, "drained").await;
    assert_eq!(claim["podsLeft"], Value::Null, "it would be lost where it is: {claim}");
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}
