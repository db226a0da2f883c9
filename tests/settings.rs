//! Settings that keep mechanic from acting, and settings that somebody breaks.

use std::time::{Duration, Instant};

use crate::support::{House, LONG, kill};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use mechanic_sandbox::install::PodProcess;
use mechanic_sandbox::workloads::{Workload, create};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// What docs/configuration.md says.
const IN_FORCE: Duration = Duration::from_secs(2);
/// Long enough for mechanic to do what it must not.
const A_WHILE: Duration = Duration::from_secs(4);

impl House {
    async fn opt_out(&self, node: &str, value: Option<&str>) {
        let api: Api<Node> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"labels": {"mechanic/opt-out": value}}}));
        api.patch(node, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A setting as it was accepted last.
    async fn accepted(&self, key: &str) -> Option<String> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "mechanic");
        config_maps.get_opt("mechanic-accepted").await.unwrap()?.data?.remove(key)
    }

    /// What the Events on the ConfigMap say.
    async fn refusals(&self) -> Vec<String> {
        self.told_of_settings("SettingRefused").await
    }

    /// Has a coordinator say something that is for debugging only, and tells whether it is in its log.
    async fn logs_for_debugging(&self, pod: &PodProcess) -> bool {
        let failed = async || self.metric(pod, "mechanic_handshakes_failed_total{reason=\"tls\"}").await;
        let lines = || self.logs_of(pod).matches("a handshake failed").count();
        let (failed_before, lines_before) = (failed().await, lines());
        let mut nobody = TcpStream::connect((pod.ip, 7443)).await.unwrap();
        nobody.write_all(b"not even TLS\r\n\r\n").await.unwrap();
        self.wait("the handshake fails", async || (failed().await > failed_before).then_some(())).await;
        lines() > lines_before
    }

    /// Changes settings, and waits until all coordinators have them in force.
    async fn configure_all(&self, data: serde_json::Value) {
        let changes = async |pod: &PodProcess| self.metric(pod, "mechanic_settings_changes_total").await;
        let mut before = Vec::new();
        for pod in self.installation.coordinators() {
            before.push((changes(&pod).await, pod));
        }
        let edited = Instant::now();
        self.configure(data).await;
        for (count, pod) in before {
            let in_force = async || (changes(&pod).await > count).then_some(());
            self.wait("the settings are in force", in_force).await;
        }
        let took = edited.elapsed();
        println!("in force in all coordinators {:.2} s after the edit", took.as_secs_f64());
        assert!(took < 5 * IN_FORCE, "{took:?}, and {IN_FORCE:?} on a machine that does nothing else");
    }

    async fn pods_on(&self, workload: &Workload, node: &str) -> usize {
        let pods = workload.pods(&self.client).await.unwrap();
        pods.iter()
            .filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node))
            .count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_paused_nothing_begins_a_drain_stops_at_the_next_pod_and_releases_go_on() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    let one_by_one = Workload::new("web", 8).start_after(Duration::from_secs(3)).spread();
    house.deploy(&one_by_one, Some(1)).await;
    let before = house.pods_on(&one_by_one, &node.name).await;
    assert!(before >= 2, "the drain is over before it can be paused");

    let event = house.announce_reboot(node);
    house
        .wait("the first pod is gone", async || {
            (house.pods_on(&one_by_one, &node.name).await < before).then_some(())
        })
        .await;
    house.configure(json!({"paused": "true"})).await;
    house.wait_for_phase(&node.name, "cordoned").await;
    let left = house.pods_on(&one_by_one, &node.name).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(house.pods_on(&one_by_one, &node.name).await, left, "pods are evicted while paused");
    let other = house.nodes.iter().find(|other| other.name != node.name).unwrap();
    let second = house.announce_reboot(other);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(house.claim(&other.name).await, None, "a node is cordoned while paused");

    house.remove(&event);
    house.wait_released(&node.name).await;
    house.configure(json!({"paused": "false"})).await;
    house.wait_for_phase(&other.name, "drained").await;
    house.remove(&second);
    house.wait_released(&other.name).await;
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_opted_out_is_left_alone_until_it_no_longer_is() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    house.deploy(&Workload::new("web", 6).spread(), None).await;
    house.opt_out(&node.name, Some("true")).await;
    let event = house.announce_reboot(node);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(house.claim(&node.name).await, None);
    house.opt_out(&node.name, None).await;
    house.wait_for_phase(&node.name, "drained").await;
    // It is given back though it is opted out again.
    house.opt_out(&node.name, Some("")).await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_u19_a_dry_run_writes_nothing() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    let (web, held) = (Workload::new("web", 6).spread(), Workload::new("held", 4).spread());
    house.deploy(&web, None).await;
    house.deploy(&held, Some(0)).await;
    house.configure(json!({"dry-run": "true"})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = house.node(&node.name).await;
    let event = house.announce_reboot(node);
    // The API server is asked about each pod, and nothing comes of it.
    let token = house.viewer().await;
    for expected in [
        (&web, "Evict", &["in a dry run; the API server would evict it now"] as &[&str]),
        (&held, "BlockedForGood", &["held", "`maxUnavailable: 0`"]),
    ] {
        house.wait_explained(&node.name, &token, expected).await;
    }
    tokio::time::sleep(A_WHILE).await;
    let log = house.logs_of(&house.leader().await);
    let shown = log.lines().filter(|line| line.contains("dry run: ") && line.contains(&event));
    let shown: Vec<&str> = shown.collect();
    assert!(shown.len() == 1 && shown[0].contains("Cordoning") && shown[0].contains(&node.name), "{log}");
    assert_eq!(house.referee.verdict().await.facts.evictions_accepted, 0);
    let after = house.node(&node.name).await;
    assert_eq!((after.spec, after.metadata.annotations), (before.spec, before.metadata.annotations));
    house.configure(json!({"dry-run": "false"})).await;
    house.kubectl(&["delete", "pdb", "held"]).await;
    house.wait_for_phase(&node.name, "drained").await;
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_of_the_log_changes_in_every_coordinator_without_a_restart() {
    let house = House::with_nodes(2, 1).await;
    let coordinators = house.installation.coordinators();
    assert_eq!(coordinators.len(), 2, "one that leads, one that follows");
    let told = |pod: &PodProcess| house.logs_of(pod).matches("settings in force").count();
    for (level, for_debugging, usual) in
        [("info", false, true), ("debug", true, true), ("warn", false, false), ("info", false, true)]
    {
        house.configure_all(json!({"log-level": level, "lead-time": "11m"})).await;
        let before: Vec<_> = coordinators.iter().map(told).collect();
        house.configure_all(json!({"lead-time": "12m"})).await;
        for (pod, before) in coordinators.iter().zip(before) {
            assert_eq!(house.logs_for_debugging(pod).await, for_debugging, "{level} on {}", pod.pod);
            assert_eq!(told(pod) > before, usual, "{level} on {}", pod.pod);
        }
    }
    let pids = |pods: &[PodProcess]| pods.iter().map(|pod| pod.pid).collect::<Vec<_>>();
    assert_eq!(pids(&house.installation.coordinators()), pids(&coordinators), "the same processes");
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_broken_or_gone_stay_as_they_were_accepted_for_the_next_leader_too() {
    let house = House::with_nodes(5, 2).await;
    house.deploy(&Workload::new("slow", 10).stop_after(Duration::from_secs(4)).spread(), None).await;
    let config_maps: Api<ConfigMap> = Api::namespaced(house.client.clone(), "mechanic");
    let key = "max-concurrent-drains";
    house.wait("the settings are kept", async || house.accepted(key).await.filter(|kept| kept == "2")).await;
    house.configure(json!({"max-concurrent-drains": "many"})).await;
    kill(house.leader().await.pid.unwrap());
    let events: Vec<_> = house.nodes.iter().take(3).map(|node| house.announce_reboot(node)).collect();
    for node in house.nodes.iter().take(3) {
        house.wait_for_phase(&node.name, "drained").await;
    }
    let drains = house.referee.verdict().await.facts.most_drains_at_once;
    assert_eq!(drains, 2, "neither the default, which is 1, nor more than was accepted");

    // Gone altogether: what was accepted stays, so the nodes come back within the short holds.
    config_maps.delete("mechanic", &DeleteParams::default()).await.unwrap();
    kill(house.leader().await.pid.unwrap());
    for event in &events {
        house.remove(event);
    }
    for node in house.nodes.iter().take(3) {
        house.wait_released(&node.name).await;
    }
    assert!(house.metric(&house.leader().await, "mechanic_settings_refused").await > 0.5, "nobody is told");
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_people_write_decide_on_pods_and_one_that_makes_no_sense_changes_nothing() {
    let house = House::with_nodes(4, 1).await;
    let node = house.node_without_coordinator();
    let (tool, other) = (Workload::new("tool", 1), Workload::new("other", 1));
    for workload in [&tool, &other] {
        let pod = workload.clone().on_node(&node.name).bare_pod().unwrap();
        create(&house.client, &pod).await.unwrap();
        workload.ready(&house.client, 1, LONG).await.unwrap();
    }
    let event = house.announce_reboot(node);
    let claim = house.wait_for_phase(&node.name, "drained").await;
    assert_eq!(claim["podsLeft"], 2, "nothing brings them back elsewhere, and they outlive a reboot");
    house.remove(&event);
    house.wait_released(&node.name).await;

    let rule = "pods:\n- events: [Reboot]\n  podSelector: {matchLabels: {app: tool}}\n  unmanaged: Leave\n";
    house.configure(json!({"policy.yaml": rule})).await;
    house
        .wait("the rule is kept", async || house.accepted("policy.yaml").await.filter(|kept| kept == rule))
        .await;
    house.configure(json!({"policy.yaml": rule.replace("unmanaged", "unmanagd"), "max-cordned": "1"})).await;
    house.wait("the slips are told", async || (house.refusals().await.len() == 2).then_some(())).await;
    let told = house.refusals().await.join("; ");
    assert!(told.contains("`max-cordoned` may be meant") && told.contains("unmanagd"), "{told}");
    assert!(told.contains("line 4"), "{told}");
    let leader = house.leader().await;
    assert!(house.metric(&leader, "mechanic_settings_refused").await > 1.0);
    // A next leader has the same to say, and says it where it is asked only.
    kill(leader.pid.unwrap());
    let token = house.viewer().await;
    let refused = house.listed_after(1, &token).await.refused_settings;
    assert_eq!(
        refused.iter().map(|setting| setting.key.as_str()).collect::<Vec<_>>(),
        ["max-cordned", "policy.yaml"]
    );
    let event = house.announce_reboot(node);
    let claim = house.wait_for_phase(&node.name, "drained").await;
    assert_eq!((claim["podsLeft"].as_u64(), house.pods_on(&tool, &node.name).await), (Some(1), 0));
    house.remove(&event);
    house.wait_released(&node.name).await;
    assert_eq!(house.refusals().await.len(), 2, "each is told once, whoever leads");
    house.judge().await;
}
