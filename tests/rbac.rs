//! The rights in `deploy/` are exactly those that a run uses, as the API server's audit log shows it.

use std::{fmt, net::SocketAddr, path::Path, time::Duration};

use crate::support::{House, kill, overlay, overlay_with_last_call, with_token};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap, rbac::v1::PolicyRule};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use mechanic_proto::v1::{ListNodesRequest, fleet_service_client::FleetServiceClient};
use mechanic_sandbox::{azure::Event, referee::Request, workloads::Workload};
use serde_json::{Value, json};

/// One thing that an account may do.
struct Grant {
    /// Where, unless everywhere.
    namespace: Option<String>,
    api_group: String,
    /// With its subresource.
    resource: String,
    verb: String,
    /// To which object, unless to all.
    name: Option<String>,
}

impl Grant {
    fn licenses(&self, request: &Request) -> bool {
        let resource = [request.resource.as_str(), request.subresource.as_str()].join("/");
        self.namespace.as_ref().is_none_or(|namespace| *namespace == request.namespace)
            && self.api_group == request.api_group
            && self.resource == resource.trim_end_matches('/')
            && self.verb == request.verb
            && self.name.as_ref().is_none_or(|name| *name == request.name)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, api_group, resource, verb, name } = self;
        write!(f, "{verb} {resource}.{api_group} {name:?} in {namespace:?}")
    }
}

/// What the overlay's bindings give to this account of mechanic's. `mechanic-viewer` isn't looked at: it asks the API server
/// for nothing, its right is what `FleetService` looks for.
fn grants(objects: &[Value], account: &str) -> Vec<Grant> {
    let mut grants = Vec::new();
    for binding in objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Binding")) {
        let subjects = binding["subjects"].as_array().unwrap();
        assert!(subjects.iter().all(|subject| subject["kind"] == "ServiceAccount"), "{binding}");
        if !subjects.iter().any(|subject| subject["name"] == account) {
            continue;
        }
        let reference = &binding["roleRef"];
        let named = |object: &&Value| {
            object["kind"] == reference["kind"] && object["metadata"]["name"] == reference["name"]
        };
        let role = objects.iter().find(named).expect("a role of the overlay's own");
        let namespace = binding["metadata"]["namespace"].as_str();
        let rules: Vec<PolicyRule> = serde_json::from_value(role["rules"].clone()).unwrap();
        grants.extend(rules.iter().flat_map(|rule| grants_of(rule, namespace)));
    }
    grants
}

fn grants_of(rule: &PolicyRule, namespace: Option<&str>) -> Vec<Grant> {
    assert_eq!(rule.non_resource_urls, None);
    let names: Vec<_> = match &rule.resource_names {
        Some(names) => names.iter().cloned().map(Some).collect(),
        None => vec![None],
    };
    let mut grants = Vec::new();
    for api_group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                grants.extend(names.iter().map(|name| Grant {
                    namespace: namespace.map(str::to_owned),
                    api_group: api_group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                    name: name.clone(),
                }));
            }
        }
    }
    grants
}

impl House {
    /// Of the Service.
    fn address(&self) -> SocketAddr {
        self.installation.coordinator_address().unwrap()
    }
}

/// A reboot from its announcement to the uncordon, a leader killed on the way, settings changed, the fleet asked for.
async fn run(house: &House) {
    let config_maps: Api<ConfigMap> = Api::namespaced(house.client.clone(), "mechanic");
    let kept = async || config_maps.get_opt("mechanic-accepted").await.unwrap()?.data;
    // Kept for the first time, then changed: the rights to create and to update.
    house.wait("the settings are kept", kept).await;
    house.configure(json!({"lead-time": "20m"})).await;
    house.wait("the change is kept", async || (kept().await?.get("lead-time")? == "20m").then_some(())).await;
    // Whom probes trust, put right where somebody has broken it.
    let broken = Patch::Merge(json!({"data": {"ca.crt": ""}}));
    config_maps.patch("mechanic-ca", &PatchParams::default(), &broken).await.unwrap();
    house.wait("it is put right", async || house.installation.connect(house.address()).await.ok()).await;
    house.deploy(&Workload::new("web", 6).spread(), Some(1)).await;
    let node = house.node_without_coordinator();
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "drained").await;
    let leases: Api<Lease> = Api::namespaced(house.client.clone(), "mechanic");
    let holder =
        async || leases.get("mechanic-coordinator").await.unwrap().spec.and_then(|spec| spec.holder_identity);
    let killed = holder().await;
    kill(house.leader().await.pid.unwrap());
    house.wait("the Lease is taken over", async || (holder().await != killed).then_some(())).await;
    house.start(&event);
    house.power_off(node).await;
    house.power_on(node).await;
    house.remove(&event);
    house.wait_released(&node.name).await;

    let token = house.viewer().await;
    let service = house.installation.endpoint(house.address()).await.unwrap().connect_lazy();
    house
        .wait("FleetService answers", async || {
            let mut fleet = FleetServiceClient::new(service.clone());
            fleet.list_nodes(with_token(ListNodesRequest::default(), &token)).await.ok()
        })
        .await;
}

/// A pod that its budget holds, on a machine that is about to be destroyed.
async fn last_call(house: &House) {
    let node = house.node_without_coordinator();
    let held = Workload::new("held", 1).on_node(&node.name).grace(Duration::from_secs(10));
    house.deploy(&held, Some(0)).await;
    house.deploy(&Workload::new("free", 1).on_node(&node.name), None).await;
    let event =
        house.announce(node, &Event::scheduled("Terminate", [node.vm_name()], Duration::from_secs(40)));
    house.wait_for_phase(&node.name, "drained").await;
    let events = house.cluster.kubectl(["get", "events", "--output=wide"]).await.unwrap();
    for part in [
        "LastCall ",
        "a PodDisruptionBudget doesn't let this pod go",
        "LastCallAnswered",
        "deleted from node",
    ] {
        assert!(events.contains(part), "{part}: {events}");
    }
    assert_eq!(house.referee.verdict().await.facts.last_calls, 1);
    house.start(&event);
    house.delete_node(node).await.unwrap();
    house.remove(&event);
}

/// The overlay's objects, as the API server reads them.
async fn built(house: &House, overlay: &Path) -> Vec<Value> {
    let overlay = overlay.display().to_string();
    let built =
        house.cluster.kubectl(["apply", "--dry-run=server", "-o", "json", "-k", &overlay]).await.unwrap();
    let mut built: Value = serde_json::from_str(&built).unwrap();
    serde_json::from_value(built["items"].take()).unwrap()
}

fn unused<'a>(granted: impl IntoIterator<Item = &'a Grant>, asked: &[Request]) -> Vec<String> {
    let unused = granted.into_iter().filter(|grant| !asked.iter().any(|request| grant.licenses(request)));
    unused.map(Grant::to_string).collect()
}

/// Denied, or not by a rule of `deploy/`.
fn wanting<'a>(granted: &[Grant], asked: &'a [Request]) -> Vec<&'a Request> {
    let wanting = |request: &&Request| {
        matches!(request.code, 401 | 403) || !granted.iter().any(|grant| grant.licenses(request))
    };
    asked.iter().filter(wanting).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_is_used_and_each_request_has_its_right() {
    let house = House::with(4, 1, |options| {
        options.env.insert("MECHANIC_AUTHORITY_OVERLAP".into(), "10s".into());
    })
    .await;
    run(&house).await;
    house.judge().await;

    let objects = built(&house, &overlay()).await;
    let (granted, asked) = (grants(&objects, "mechanic-coordinator"), house.requests("mechanic-coordinator"));
    assert_eq!(unused(&granted, &asked), [""; 0], "granted and never used");
    assert!(wanting(&granted, &asked).is_empty(), "{:#?}", wanting(&granted, &asked));
    assert!(grants(&objects, "mechanic-probe").is_empty());
    assert_eq!(house.requests("mechanic-probe"), []);
}

/// The component's run of its own; what the default grants is the other run's.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_call_has_a_right_of_its_own_and_uses_it() {
    let house = House::with(4, 1, |options| options.overlay = overlay_with_last_call()).await;
    let objects = built(&house, &overlay_with_last_call()).await;
    last_call(&house).await;
    house.judge().await;

    let usual: Vec<String> = grants(&built(&house, &overlay()).await, "mechanic-coordinator")
        .iter()
        .map(Grant::to_string)
        .collect();
    let (granted, asked) = (grants(&objects, "mechanic-coordinator"), house.requests("mechanic-coordinator"));
    let own: Vec<&Grant> = granted.iter().filter(|grant| !usual.contains(&grant.to_string())).collect();
    assert_eq!(own.len(), 1, "no more than to delete pods");
    assert_eq!(unused(own, &asked), [""; 0], "granted and never used");
    assert!(wanting(&granted, &asked).is_empty());
}
