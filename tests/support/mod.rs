//! A house for whole-system tests: the sandbox's world, and what makes a test short.

pub(crate) mod manifests;
pub(crate) mod previous;
pub(crate) mod shell;
mod told;
pub(crate) mod trust;

use std::{collections::BTreeMap, ops::Deref, path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use mechanic_proto::v1::{
    ExplainNodeRequest, ExplainNodeResponse, ListNodesRequest, ListNodesResponse,
    fleet_service_client::FleetServiceClient,
};
use mechanic_sandbox::{
    azure::Event,
    fault_proxy::FaultProxy,
    install::PodProcess,
    nodes::{NodeSpec, Pool},
    programs::{Profile, Programs, silent, workspace},
    referee::{Fact, Request as Asked},
    workloads::{Workload, create},
    world::{World, WorldOptions},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tonic::{Request, transport::Channel};

/// Longer than anything takes that works, on a slow machine.
pub(crate) const LONG: Duration = Duration::from_mins(2);
/// Notice of an event: enough for any drain here, and within the default of `lead-time`.
pub(crate) const NOTICE: Duration = Duration::from_mins(9);

/// Whom tokens for mechanic are made for.
pub(crate) const AUDIENCE: &str = "--audience=mechanic-coordinator";

/// A workload, the reason code of one of its pods, and what must stand in the sentence.
pub(crate) type Expected<'a> = (&'a Workload, &'a str, &'a [&'a str]);

/// A world whose helpers panic with what the coordinators said, as a test wants it.
pub(crate) struct House {
    pub(crate) fault_proxy: Arc<FaultProxy>,
    world: World,
}

impl Deref for House {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// The holds of the ConfigMap, shortened, and as many cordons as there are events.
pub(crate) fn short_holds(max_concurrent_drains: usize) -> BTreeMap<String, String> {
    let drains = max_concurrent_drains.to_string();
    [
        ("max-concurrent-drains", drains.as_str()),
        ("max-cordoned", "100%"),
        ("release-hold", "2s"),
        ("release-hold-never-started", "4s"),
        ("release-hold-after-boot", "6s"),
        ("release-hold-after-terminate", "6s"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

impl House {
    /// Nodes Ready, coordinators and probes too, and somebody leads.
    pub(crate) async fn with_nodes(count: u32, max_concurrent_drains: usize) -> Self {
        Self::with_images(count, max_concurrent_drains, []).await
    }

    /// The same, with programs of more images by their names.
    pub(crate) async fn with_images(
        count: u32,
        max_concurrent_drains: usize,
        images: impl IntoIterator<Item = (&str, PathBuf)>,
    ) -> Self {
        let images = images.into_iter().map(|(name, program)| (name.to_owned(), program)).collect();
        Self::with(count, max_concurrent_drains, |options| options.images = images).await
    }

    /// The same, with what else is different.
    pub(crate) async fn with(
        count: u32,
        max_concurrent_drains: usize,
        change: impl FnOnce(&mut WorldOptions),
    ) -> Self {
        let programs = programs().await;
        let mut options = WorldOptions {
            config: short_holds(max_concurrent_drains),
            env: BTreeMap::from([("MECHANIC_HEARTBEAT_INTERVAL".to_owned(), "1s".to_owned())]),
            fault_proxy: true,
            ..WorldOptions::new(programs, Pool::new("userpool").nodes(count))
        };
        change(&mut options);
        let world = World::build(options, &|_| {}).await.unwrap();
        Self { fault_proxy: world.fault_proxy.clone().unwrap(), world }
    }

    /// Puts keys into the ConfigMap `mechanic`.
    pub(crate) async fn configure(&self, data: Value) {
        self.world.configure(&data).await.unwrap();
    }

    /// The coordinator that leads.
    pub(crate) async fn leader(&self) -> PodProcess {
        self.world.leader().await.unwrap_or_else(|error| panic!("{error:#}\n{}", self.logs()))
    }

    /// A Deployment whose pods all start on one node; they may go anywhere.
    pub(crate) async fn deploy(&self, workload: &Workload, max_unavailable: Option<u32>) {
        create(&self.client, &workload.deployment().unwrap()).await.unwrap();
        if let Some(pods) = max_unavailable {
            create(&self.client, &workload.max_unavailable(pods).unwrap()).await.unwrap();
        }
        let count = usize::try_from(workload.replicas).unwrap();
        workload.ready(&self.client, count, LONG).await.unwrap();
    }

    /// A node without a coordinator, so that its drain is about nothing else.
    pub(crate) fn node_without_coordinator(&self) -> &NodeSpec {
        self.nodes_without_coordinator().first().copied().expect("more nodes than coordinators")
    }

    /// Announces a reboot of the node's machine, to Azure's side and to the referee.
    pub(crate) fn announce_reboot(&self, node: &NodeSpec) -> String {
        self.announce(node, &Event::scheduled("Reboot", [node.vm_name()], NOTICE))
    }

    pub(crate) fn announce(&self, node: &NodeSpec, event: &Event) -> String {
        self.world.announce(event, &[node], true).unwrap()
    }

    pub(crate) fn start(&self, event: &str) {
        self.world.start(event).unwrap();
    }

    pub(crate) fn remove(&self, event: &str) {
        self.world.remove(event).unwrap();
    }

    /// The machine goes, and everything on it; returns when the node is no longer Ready.
    pub(crate) async fn power_off(&self, node: &NodeSpec) {
        self.world.power_off(node).await.unwrap();
        self.kubelets.wait_off(&node.name, LONG).await.unwrap();
    }

    /// It comes back with a new boot; returns when the node is Ready.
    pub(crate) async fn power_on(&self, node: &NodeSpec) {
        self.world.power_on(node).await.unwrap();
        self.kubelets.wait_ready(&[&node.name], LONG).await.unwrap();
    }

    pub(crate) async fn node(&self, name: &str) -> Node {
        Api::<Node>::all(self.client.clone()).get(name).await.unwrap()
    }

    /// The claim on a node, if there is one.
    pub(crate) async fn claim(&self, name: &str) -> Option<Value> {
        let node = self.node(name).await;
        let annotation = node.metadata.annotations?.remove("mechanic/claim")?;
        Some(serde_json::from_str(&annotation).unwrap())
    }

    pub(crate) async fn wait_for_phase(&self, node: &str, phase: &str) -> Value {
        self.wait(&format!("{node} is {phase}"), async || {
            self.claim(node).await.filter(|claim| claim["phase"] == phase)
        })
        .await
    }

    /// kubectl, as an administrator.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) {
        self.cluster.kubectl(arguments).await.unwrap();
    }

    /// Waits until mechanic has given the node back.
    pub(crate) async fn wait_released(&self, node: &str) {
        self.wait(&format!("{node} is given back"), async || {
            let node = self.node(node).await;
            let annotations = node.metadata.annotations.unwrap_or_default();
            let unschedulable = node.spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
            (!annotations.contains_key("mechanic/claim") && !unschedulable).then_some(())
        })
        .await;
    }

    /// A connection to this coordinator.
    pub(crate) async fn channel(&self, pod: &PodProcess) -> Channel {
        self.installation.connect(format!("{}:7443", pod.ip)).await.unwrap()
    }

    /// A sample of a coordinator's metrics, by its name and labels as Prometheus shows them.
    pub(crate) async fn metric(&self, pod: &PodProcess, sample: &str) -> f64 {
        self.installation.metrics(pod).await.unwrap().sample(sample).unwrap()
    }

    /// A token as the probe on this node has it.
    pub(crate) async fn probe_token(&self, node: &NodeSpec) -> String {
        let pod = self.installation.probe_on(&node.name).unwrap().pod;
        let bound = format!("--bound-object-name={pod}");
        self.token("mechanic-probe", &[AUDIENCE, "--bound-object-kind=Pod", &bound]).await
    }

    /// What a leader later than that epoch lists.
    pub(crate) async fn listed_after(&self, epoch: u64, token: &str) -> ListNodesResponse {
        let listed = async || {
            let address = format!("{}:7443", self.leader().await.ip);
            let mut fleet = FleetServiceClient::new(self.installation.connect(address).await.ok()?);
            let listed = fleet.list_nodes(with_token(ListNodesRequest::default(), token)).await;
            Some(listed.ok()?.into_inner()).filter(|listed| listed.epoch > epoch)
        };
        self.wait("the leader lists the nodes", listed).await
    }

    /// A node, as the leader explains it.
    pub(crate) async fn explained(&self, node: &str, token: &str) -> ExplainNodeResponse {
        let mut fleet = FleetServiceClient::new(self.channel(&self.leader().await).await);
        let request = ExplainNodeRequest { node_name: node.to_owned() };
        fleet.explain_node(with_token(request, token)).await.unwrap().into_inner()
    }

    /// Waits until a pod of a workload is said to be so.
    pub(crate) async fn wait_explained(
        &self,
        node: &str,
        token: &str,
        (workload, reason, parts): Expected<'_>,
    ) {
        let prefix = format!("{}-", workload.name);
        self.wait(&format!("{} is {reason} with {parts:?}", workload.name), async || {
            let pods = self.explained(node, token).await.pods;
            let mut mine = pods.iter().filter(|pod| pod.name.starts_with(&prefix));
            mine.any(|pod| pod.reason == reason && parts.iter().all(|part| pod.message.contains(part)))
                .then_some(())
        })
        .await;
    }

    /// Waits until `look` finds something.
    pub(crate) async fn wait<R>(&self, what: &str, look: impl AsyncFn() -> Option<R>) -> R {
        let seen = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let Ok(found) = tokio::time::timeout(LONG, seen).await else {
            panic!("never came about: {what}\n{}\n{}", self.objects().await, self.logs())
        };
        found
    }

    /// Nodes, pods and budgets as kubectl lists them.
    async fn objects(&self) -> String {
        let list = ["get", "nodes,pods,poddisruptionbudgets", "--all-namespaces", "--output=wide"];
        self.cluster.kubectl(list).await.unwrap_or_else(|error| format!("{error:#}"))
    }

    /// What the coordinators have said of late.
    pub(crate) fn logs(&self) -> String {
        let coordinators = self.installation.coordinators();
        let logs = coordinators.iter().map(|pod| {
            let log = self.logs_of(pod);
            let lines: Vec<&str> = log.lines().rev().take(40).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            format!("--- {} on {}\n{}\n", pod.pod, pod.node, lines.join("\n"))
        });
        logs.collect()
    }

    /// What a pod of mechanic's has said.
    pub(crate) fn logs_of(&self, pod: &PodProcess) -> String {
        std::fs::read_to_string(self.installation.log(&pod.pod)).unwrap_or_default()
    }

    /// A token of who may ask `FleetService`.
    pub(crate) async fn viewer(&self) -> String {
        self.token("mechanic-viewer", &[AUDIENCE]).await
    }

    /// A token of an account of mechanic's.
    pub(crate) async fn token(&self, account: &str, more: &[&str]) -> String {
        let arguments = ["--namespace", "mechanic", "create", "token", account];
        let token = self.cluster.kubectl(arguments.iter().chain(more)).await.unwrap();
        token.trim().to_owned()
    }

    /// What this account of mechanic's has asked of the API server.
    pub(crate) fn requests(&self, account: &str) -> Vec<Asked> {
        let user = format!("system:serviceaccount:mechanic:{account}");
        self.referee.look(|history| {
            let requests = history.records.iter().filter_map(|record| match &record.fact {
                Fact::Request(request) if request.user == user => Some((**request).clone()),
                _ => None,
            });
            requests.collect()
        })
    }

    /// Ends a test: every promise was kept.
    pub(crate) async fn judge(&self) {
        let verdict = self.referee.verdict().await;
        assert!(verdict.is_clean(), "{verdict}\n{}", self.logs());
        assert_eq!(verdict.facts.evicted_twice, 0, "{verdict}");
    }
}

/// Kubernetes' programs and mechanic's, built where they aren't yet.
pub(crate) async fn programs() -> Programs {
    tokio::task::spawn_blocking(|| Programs::prepare(Profile::Dev, &silent())).await.unwrap().unwrap()
}

/// What is installed usually.
pub(crate) fn overlay() -> PathBuf {
    workspace().join("deploy/overlays/default")
}

/// The same with the component that allows a last call.
pub(crate) fn overlay_with_last_call() -> PathBuf {
    workspace().join("tests/overlays/last-call")
}

/// A call that presents a token.
pub(crate) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// SIGKILL, to a process of this house.
pub(crate) fn kill(pid: u32) {
    send(pid, Signal::KILL);
}

/// A signal to a pod's process.
pub(crate) fn signal(pod: &PodProcess, signal: Signal) {
    send(pod.pid.unwrap(), signal);
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}
