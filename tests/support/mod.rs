//! A house for whole-system tests: a cluster, Azure's side, mechanic installed from `deploy/`, and the referee.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use mechanic_sandbox::{
    azure::{Azure, Event},
    cluster::{Cluster, ClusterOptions, User},
    fault_proxy::FaultProxy,
    install::{InstallOptions, Installation, PodProcess, azure_of},
    nodes::{NodeSpec, Nodes, Pool},
    programs::{Profile, Programs, silent, workspace},
    referee::{AzureFact, Promises, Referee},
    workloads::{Workload, create},
};
use serde_json::{Value, json};
use tonic::Request;

/// Longer than anything takes that works, on a slow machine.
pub(crate) const LONG: Duration = Duration::from_mins(2);
/// Notice of an event: enough for any drain here.
pub(crate) const NOTICE: Duration = Duration::from_mins(10);

pub(crate) struct House {
    pub(crate) installation: Installation,
    pub(crate) referee: Referee,
    pub(crate) azure: Azure,
    pub(crate) fault_proxy: Arc<FaultProxy>,
    pub(crate) nodes: Vec<NodeSpec>,
    pub(crate) kubelets: Nodes,
    pub(crate) client: Client,
    pub(crate) cluster: Cluster,
}

/// The holds of the ConfigMap, shortened.
pub(crate) fn short_holds(max_concurrent_drains: usize) -> Value {
    json!({
        "max-concurrent-drains": max_concurrent_drains.to_string(),
        "release-hold": "2s",
        "release-hold-never-started": "4s",
        "release-hold-after-boot": "6s",
    })
}

impl House {
    /// Nodes Ready, coordinators and probes too, and somebody leads.
    pub(crate) async fn with_nodes(count: u32, max_concurrent_drains: usize) -> Self {
        let programs = tokio::task::spawn_blocking(|| Programs::prepare(Profile::Dev, &silent()))
            .await
            .unwrap()
            .unwrap();
        let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
        let client = cluster.client(User::Sandbox).await.unwrap();
        let nodes = Pool::new("userpool").nodes(count);
        let kubelets = cluster.nodes().await.unwrap();
        kubelets.create_ready(&nodes, LONG).await.unwrap();
        let azure = azure_of(&cluster).await.unwrap();
        let promises =
            Promises { max_concurrent_drains, release_hold: Duration::from_secs(2), ..Promises::default() };
        let referee = Referee::start(&cluster, promises).await.unwrap();
        let address = cluster.network().next_address().unwrap();
        let upstream = cluster.config(User::Sandbox).await.unwrap();
        let fault_proxy = Arc::new(FaultProxy::new(&upstream, address).unwrap());
        let mut options = InstallOptions::new(&programs);
        options.fault_proxy = Some(Arc::clone(&fault_proxy));
        options.restart_backoff = Duration::from_secs(1);
        options.env.insert("MECHANIC_HEARTBEAT_INTERVAL".into(), "1s".into());
        let installation = Installation::apply(&cluster, &azure, &overlay(), options).await.unwrap();
        installation.wait_ready(LONG).await.unwrap();
        let house = Self { installation, referee, azure, fault_proxy, nodes, kubelets, client, cluster };
        house.configure(short_holds(max_concurrent_drains)).await;
        house.leader().await;
        house
    }

    /// Puts keys into the ConfigMap `mechanic`.
    pub(crate) async fn configure(&self, data: Value) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), "mechanic");
        let patch = Patch::Merge(json!({ "data": data }));
        api.patch("mechanic", &PatchParams::default(), &patch).await.unwrap();
    }

    /// The coordinator that leads.
    pub(crate) async fn leader(&self) -> PodProcess {
        self.wait("somebody leads", async || {
            self.installation.leader().await.unwrap().filter(|pod| pod.pid.is_some())
        })
        .await
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
        let coordinators = self.installation.coordinators();
        let free = |spec: &&NodeSpec| !coordinators.iter().any(|pod| pod.node == spec.name);
        self.nodes.iter().find(free).expect("more nodes than coordinators")
    }

    /// Announces a reboot of the node's machine, to Azure's side and to the referee.
    pub(crate) fn announce_reboot(&self, node: &NodeSpec) -> String {
        self.announce(node, &Event::scheduled("Reboot", [node.vm_name()], NOTICE))
    }

    pub(crate) fn announce(&self, node: &NodeSpec, event: &Event) -> String {
        let id = self.azure.announce(event).unwrap();
        let about = format!("a {} of {}", event.event_type, node.name);
        let fact =
            AzureFact::Announced { event: id.clone(), about, node: node.name.clone(), avoidable: true };
        self.referee.witness(fact);
        id
    }

    pub(crate) fn start(&self, event: &str) {
        self.referee.witness(AzureFact::Started { event: event.to_owned() });
        self.azure.start(event).unwrap();
    }

    pub(crate) fn remove(&self, event: &str) {
        self.azure.remove(event).unwrap();
        self.referee.witness(AzureFact::Removed { event: event.to_owned() });
    }

    /// The machine goes, and everything on it.
    pub(crate) async fn power_off(&self, node: &NodeSpec) {
        self.referee.witness(AzureFact::PoweredOff { node: node.name.clone() });
        self.installation.power_off(&node.name).await.unwrap();
        self.kubelets.wait_off(&node.name, LONG).await.unwrap();
    }

    /// It comes back with a new boot.
    pub(crate) async fn power_on(&self, node: &NodeSpec) {
        self.installation.power_on(&node.name).await.unwrap();
        self.referee.witness(AzureFact::PoweredOn { node: node.name.clone() });
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
        tokio::time::timeout(LONG, seen)
            .await
            .unwrap_or_else(|_| panic!("never came about: {what}\n{}", self.logs()))
    }

    /// What the coordinators have said, for a test that failed.
    fn logs(&self) -> String {
        let coordinators = self.installation.coordinators();
        let logs = coordinators.iter().map(|pod| {
            let log = std::fs::read_to_string(self.installation.log(&pod.pod)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(40).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            format!("--- {} on {}\n{}\n", pod.pod, pod.node, lines.join("\n"))
        });
        logs.collect()
    }

    /// A token of an account of mechanic's.
    pub(crate) async fn token(&self, account: &str, more: &[&str]) -> String {
        let arguments = ["--namespace", "mechanic", "create", "token", account];
        let token = self.cluster.kubectl(arguments.iter().chain(more)).await.unwrap();
        token.trim().to_owned()
    }

    /// Ends a test: every promise was kept.
    pub(crate) async fn judge(&self) {
        let verdict = self.referee.verdict().await;
        assert!(verdict.is_clean(), "{verdict}\n{}", self.logs());
    }
}

/// What is installed.
pub(crate) fn overlay() -> PathBuf {
    workspace().join("deploy/overlays/default")
}

/// A call that presents a token.
pub(crate) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// SIGKILL, to a process of this house.
pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
