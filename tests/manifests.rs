//! What must stay true of `deploy/`, whoever edits it.

use std::collections::BTreeSet;

use crate::support::manifests::{
    BUILT, built, kustomization_of_the_page, object, of_kind, overlay, own_kustomization,
};
use serde_json::{Value, json};

fn pod<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    &object(objects, kind, name)["spec"]["template"]["spec"]
}

fn coordinator(objects: &[Value]) -> &Value {
    pod(objects, "Deployment", "mechanic-coordinator")
}

fn probe(objects: &[Value]) -> &Value {
    pod(objects, "DaemonSet", "mechanic-probe")
}

#[test]
fn pod_security_is_restricted_but_for_the_network_of_the_nodes() {
    for (name, objects) in &*BUILT {
        let [namespace] = of_kind(objects, "Namespace").collect::<Vec<_>>().try_into().unwrap();
        let wanted = if name == "host-network" { "privileged" } else { "restricted" };
        assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], wanted, "{name}");
    }
    // The level says less than it could there, so what it admits is compared with what "restricted" has admitted.
    let (usual, mut host_network) = (overlay("default"), overlay("host-network").to_vec());
    assert_eq!(coordinator(usual), coordinator(&host_network));
    let set = host_network.iter_mut().find(|object| object["kind"] == "DaemonSet").unwrap();
    let spec = set["spec"]["template"]["spec"].as_object_mut().unwrap();
    assert_eq!(spec.remove("hostNetwork"), Some(json!(true)));
    assert_eq!(spec.remove("dnsPolicy"), Some(json!("ClusterFirstWithHostNet")));
    assert_eq!(probe(usual), probe(&host_network));
}

#[test]
fn the_probe_has_no_rights_and_runs_wherever_it_can() {
    for (name, objects) in &*BUILT {
        let probe = probe(objects);
        assert_eq!(probe["automountServiceAccountToken"], false, "{name}");
        let account = object(objects, "ServiceAccount", probe["serviceAccountName"].as_str().unwrap());
        assert_eq!(account["automountServiceAccountToken"], false, "{name}");
        let bindings = objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Binding"));
        for binding in bindings {
            let subjects = binding["subjects"].as_array().unwrap();
            assert!(
                !subjects.iter().any(|subject| subject["name"] == account["metadata"]["name"]),
                "{binding}"
            );
        }
        assert_eq!(probe["tolerations"], json!([{"operator": "Exists"}]), "{name}");
        assert_eq!(probe["priorityClassName"], "system-node-critical", "{name}");
        assert!(probe["containers"][0].get("ports").is_none(), "{name}");
    }
}

#[test]
fn nodes_are_linux_of_the_architectures_that_there_are_images_for() {
    let images = json!({"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]});
    for (name, objects) in &*BUILT {
        for pod in [coordinator(objects), probe(objects)] {
            assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/os": "linux"}), "{name}");
            let required = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
            let [term] = required["nodeSelectorTerms"].as_array().unwrap().as_slice() else {
                panic!("{name}")
            };
            assert!(term["matchExpressions"].as_array().unwrap().contains(&images), "{name}");
        }
    }
}

#[test]
fn no_right_is_wider_than_it_must_be() {
    for (name, objects) in &*BUILT {
        for role in of_kind(objects, "Role").chain(of_kind(objects, "ClusterRole")) {
            for rule in role["rules"].as_array().unwrap() {
                assert!(!rule.to_string().contains('*'), "{name}: {rule}");
                let resources = rule["resources"].as_array().unwrap();
                let delicate = ["secrets", "configmaps", "leases"];
                if !resources.iter().any(|resource| delicate.iter().any(|one| resource == one)) {
                    continue;
                }
                assert_eq!(role["kind"], "Role", "{name}: {rule} in the whole cluster");
                let only_creates = rule["verbs"] == json!(["create"]);
                assert!(only_creates || rule["resourceNames"].is_array(), "{name}: {rule} for all of them");
            }
        }
    }
    // With certificates of somebody else's there is no reason to touch a Secret.
    let rights: Vec<_> = overlay("cert-manager").iter().filter_map(|object| object.get("rules")).collect();
    assert!(!json!(rights).to_string().contains("secrets"), "{rights:?}");
}

#[test]
fn two_coordinators_are_apart_and_an_update_never_leaves_less_than_two() {
    for (name, objects) in &*BUILT {
        let deployment = object(objects, "Deployment", "mechanic-coordinator");
        let spec = &deployment["spec"];
        assert_eq!(spec["replicas"], 2, "{name}");
        assert_eq!(spec["strategy"]["rollingUpdate"], json!({"maxSurge": 1, "maxUnavailable": 0}), "{name}");
        let labels = &spec["template"]["metadata"]["labels"];
        let selected = |selector: &Value| {
            let wanted = selector["matchLabels"].as_object().unwrap();
            wanted.iter().all(|(key, value)| labels[key] == *value)
        };
        let spread = coordinator(objects)["topologySpreadConstraints"].as_array().unwrap();
        let over: BTreeSet<_> = spread.iter().map(|one| one["topologyKey"].as_str().unwrap()).collect();
        assert_eq!(over, BTreeSet::from(["kubernetes.io/hostname", "topology.kubernetes.io/zone"]), "{name}");
        assert!(spread.iter().all(|one| selected(&one["labelSelector"])), "{name}");
        let budget = object(objects, "PodDisruptionBudget", "mechanic-coordinator");
        assert_eq!(budget["spec"]["maxUnavailable"], 1, "{name}");
        assert!(selected(&budget["spec"]["selector"]), "{name}");
    }
}

#[test]
fn network_policies_let_in_what_is_needed_and_none_is_about_pods_that_none_can_select() {
    for (name, objects) in &*BUILT {
        let coordinator = &object(objects, "NetworkPolicy", "mechanic-coordinator")["spec"];
        // A wrong guess at where the API server is would cut mechanic off from it.
        assert_eq!(coordinator["policyTypes"], json!(["Ingress"]), "{name}");
        let ports: Vec<_> =
            coordinator["ingress"].as_array().unwrap().iter().map(|rule| &rule["ports"]).collect();
        assert_eq!(ports, [&json!([{"port": 7443}]), &json!([{"port": 8080}])], "{name}");
        let policies: Vec<_> = of_kind(objects, "NetworkPolicy").collect();
        if name == "host-network" {
            assert!(!json!(policies).to_string().contains("mechanic-probe"), "{policies:?}");
            assert!(!json!(policies).to_string().contains("\"from\""), "{policies:?}");
            continue;
        }
        let probe = &object(objects, "NetworkPolicy", "mechanic-probe")["spec"];
        assert_eq!(probe["policyTypes"], json!(["Ingress", "Egress"]), "{name}");
        assert!(probe.get("ingress").is_none(), "{name}");
        let [imds, to_coordinator, dns] = probe["egress"].as_array().unwrap().as_slice() else {
            panic!("{name}")
        };
        assert_eq!(imds["to"], json!([{"ipBlock": {"cidr": "169.254.169.254/32"}}]), "{name}");
        assert_eq!(imds["ports"], json!([{"port": 80}]), "{name}");
        assert_eq!(to_coordinator["ports"], json!([{"port": 7443}]), "{name}");
        assert_eq!(dns["ports"], json!([{"port": 53, "protocol": "UDP"}, {"port": 53}]), "{name}");
    }
}

#[test]
fn a_node_gets_no_key_of_the_coordinators_certificate() {
    let objects = overlay("cert-manager");
    let certificate = &object(objects, "Certificate", "mechanic-coordinator")["spec"];
    assert_eq!(certificate["dnsNames"], json!(["mechanic-coordinator"]));
    let mounted = |pod: &Value| json!(pod["volumes"]).to_string();
    let secret = certificate["secretName"].as_str().unwrap();
    assert!(mounted(coordinator(objects)).contains(secret));
    let of_probe = mounted(probe(objects));
    assert!(!of_probe.contains(secret) && !of_probe.contains("tls.key"), "{of_probe}");
    let issuers: BTreeSet<_> = of_kind(objects, "Certificate")
        .filter(|certificate| certificate["spec"]["isCA"] != true)
        .map(|certificate| certificate["spec"]["issuerRef"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(issuers, BTreeSet::from(["mechanic-issuer"]), "probes would trust another authority");
}

/// The names of metrics and the values of labels that an expression of Prometheus' mentions.
fn mentioned(expression: &str) -> Vec<String> {
    let is_of_a_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let names = expression.split(|character| !is_of_a_name(character));
    let metrics = names.filter(|name| name.starts_with("mechanic_")).map(str::to_owned);
    let values =
        expression.split('"').skip(1).step_by(2).flat_map(|value| value.split('|')).map(str::to_owned);
    metrics.chain(values).collect()
}

#[test]
fn each_alert_is_about_metrics_that_there_are_and_says_what_to_do() {
    let docs = include_str!("../docs/metrics.md");
    let objects = overlay("prometheus-operator");
    let rules = &object(objects, "PrometheusRule", "mechanic")["spec"]["groups"][0]["rules"];
    for rule in rules.as_array().unwrap() {
        let expression = rule["expr"].as_str().unwrap();
        let mentioned = mentioned(expression);
        assert!(mentioned.iter().any(|name| name.starts_with("mechanic_")), "{expression}");
        for name in mentioned {
            // Of a histogram.
            let name = name.trim_end_matches("_count");
            assert!(docs.contains(&format!("`{name}`")), "docs/metrics.md has no `{name}`: {expression}");
        }
        let named = format!("| `{}` |", rule["alert"].as_str().unwrap());
        let what_to_do = format!("| {} |", rule["annotations"]["runbook"].as_str().unwrap());
        let listed = include_str!("../docs/operations.md").lines().find(|line| line.starts_with(&named));
        assert!(
            listed.is_some_and(|line| line.ends_with(&what_to_do)),
            "docs/operations.md: {named} … {what_to_do}"
        );
        for annotation in ["summary", "description", "runbook"] {
            assert!(!rule["annotations"][annotation].as_str().unwrap().is_empty(), "{rule}");
        }
    }
    let monitor = &object(objects, "PodMonitor", "mechanic-coordinator")["spec"];
    let deployment = &object(objects, "Deployment", "mechanic-coordinator")["spec"];
    assert_eq!(monitor["selector"], deployment["selector"]);
    let ports = deployment["template"]["spec"]["containers"][0]["ports"].as_array().unwrap();
    let scraped = &monitor["podMetricsEndpoints"][0];
    assert!(ports.iter().any(|port| port["name"] == scraped["port"] && port["containerPort"] == 8080));
}

#[test]
fn a_dry_run_differs_in_that_key_alone() {
    let (usual, dry_run) = (json!(overlay("default")).to_string(), json!(overlay("dry-run")).to_string());
    assert_eq!(usual.replace(r#""dry-run":"false""#, r#""dry-run":"true""#), dry_run);
    assert_ne!(usual, dry_run);
}

/// The kustomization that docs/install.md shows.
#[test]
fn components_can_be_combined() {
    let page = include_str!("../docs/install.md");
    let shown = page.split("```yaml\n").nth(1).and_then(|block| block.split("```").next()).unwrap();
    let objects = crate::support::manifests::built(own_kustomization(shown).path());
    assert_eq!(probe(&objects)["hostNetwork"], true);
    assert_eq!(object(&objects, "ConfigMap", "mechanic")["data"]["last-call"], "Preempt,Terminate");
    for object in &objects {
        let namespace = object["metadata"].get("namespace");
        let kind = object["kind"].as_str().unwrap();
        let has_none = kind == "Namespace" || kind.starts_with("Cluster");
        assert_eq!(namespace, (!has_none).then_some(&json!("mechanic")), "{object}");
    }
}

/// Whether Azure's Prometheus reads it can't be seen here; that it is what Microsoft's page asks for can.
#[test]
fn the_kustomization_for_azures_prometheus_leaves_nothing_of_the_operators() {
    let own = own_kustomization(kustomization_of_the_page("azmonitoring"));
    let mut made = built(own.path());
    let monitor = made.iter_mut().find(|object| object["kind"] == "PodMonitor").unwrap();
    assert_eq!(monitor["apiVersion"], "azmonitoring.coreos.com/v1");
    let spec = monitor["spec"].as_object_mut().unwrap();
    let limits = ["labelLimit", "labelNameLengthLimit", "labelValueLengthLimit"].map(|key| spec.remove(key));
    assert_eq!(limits, [63, 511, 1023].map(|limit| Some(json!(limit))));
    assert_eq!(
        monitor["spec"],
        object(overlay("prometheus-operator"), "PodMonitor", "mechanic-coordinator")["spec"]
    );
    assert!(
        !json!(made).to_string().contains("\"monitoring.coreos.com"),
        "an object of the operator's is left"
    );
    made.retain(|object| object["kind"] != "PodMonitor");
    assert_eq!(made, overlay("default"));
}
