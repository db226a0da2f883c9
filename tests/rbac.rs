//! The rights in `deploy/` are exactly those that a run uses, as the API server's audit log shows it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fmt;

use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap, rbac::v1::PolicyRule};
use kube::Api;
use mechanic_proto::v1::{ListNodesRequest, fleet_service_client::FleetServiceClient};
use mechanic_sandbox::{
    referee::{Fact, Request},
    workloads::Workload,
};
use serde_json::{Value, json};
use support::{House, kill, overlay, with_token};
use tonic::transport::Endpoint;

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

/// What the overlay's bindings give to this account of mechanic's.
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

/// A reboot from its announcement to the uncordon, a leader killed on the way, settings changed, the fleet asked for.
async fn run(house: &House) {
    let config_maps: Api<ConfigMap> = Api::namespaced(house.client.clone(), "mechanic");
    let kept = async || config_maps.get_opt("mechanic-accepted").await.unwrap()?.data;
    // Kept for the first time, then changed: the rights to create and to update.
    house.wait("the settings are kept", kept).await;
    house.configure(json!({"lead-time": "20m"})).await;
    house.wait("the change is kept", async || (kept().await?.get("lead-time")? == "20m").then_some(())).await;
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

    let token = house.token("mechanic-coordinator", &["--audience=mechanic-coordinator"]).await;
    let address = house.installation.coordinator_address().unwrap();
    let service = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    house
        .wait("FleetService answers", async || {
            let mut fleet = FleetServiceClient::new(service.clone());
            fleet.list_nodes(with_token(ListNodesRequest::default(), &token)).await.ok()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_is_used_and_each_request_has_its_right() {
    let house = House::with_nodes(4, 1).await;
    run(&house).await;
    house.judge().await;

    let overlay = overlay().display().to_string();
    let built =
        house.cluster.kubectl(["apply", "--dry-run=server", "-o", "json", "-k", &overlay]).await.unwrap();
    let mut built: Value = serde_json::from_str(&built).unwrap();
    let objects: Vec<Value> = serde_json::from_value(built["items"].take()).unwrap();
    let requests = |account: &str| -> Vec<Request> {
        let user = format!("system:serviceaccount:mechanic:{account}");
        house.referee.look(|history| {
            let requests = history.records.iter().filter_map(|record| match &record.fact {
                Fact::Request(request) if request.user == user => Some((**request).clone()),
                _ => None,
            });
            requests.collect()
        })
    };

    let (granted, asked) = (grants(&objects, "mechanic-coordinator"), requests("mechanic-coordinator"));
    let unused: Vec<String> = granted
        .iter()
        .filter(|grant| !asked.iter().any(|request| grant.licenses(request)))
        .map(Grant::to_string)
        .collect();
    assert!(unused.is_empty(), "granted and never used: {unused:#?}");
    let wanting = |request: &&Request| {
        matches!(request.code, 401 | 403) || !granted.iter().any(|grant| grant.licenses(request))
    };
    let wanting: Vec<&Request> = asked.iter().filter(wanting).collect();
    assert!(wanting.is_empty(), "denied, or not by a rule of deploy/: {wanting:#?}");

    assert!(grants(&objects, "mechanic-probe").is_empty());
    assert_eq!(requests("mechanic-probe"), []);
}
