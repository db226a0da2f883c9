//! mechanic, installed: an overlay of `deploy/` applied with kubectl, and the pods that the real controllers then make
//! run as processes of this machine.
//!
//! The sandbox plays kubelet for these pods and for nothing else. What only a real node has is handed over through the
//! environment: a stand-in for the Service, a kubeconfig for the in-cluster credentials, the IMDS address, a boot id.

mod connect;
mod container;
mod course;
mod kubelet;
mod lifecycle;
mod pods;
mod prober;
mod report;
mod service;
mod status;
mod surroundings;
mod volumes;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{Api, ListParams};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::azure::{Azure, Vm};
use crate::cluster::{Cluster, User};
use crate::fault_proxy::FaultProxy;
use crate::nodes::Nodes;
use crate::programs::Programs;

pub use connect::Metrics;
pub use pods::PodProcess;

use kubelet::{Kubelet, OWN_PODS};
use pods::Pods;
use service::ServiceProxy;
use surroundings::Surroundings;

/// The namespace that mechanic's overlays install into.
pub const NAMESPACE: &str = "mechanic";
const COORDINATOR: &str = "mechanic-coordinator";
const PROBE: &str = "mechanic-probe";

/// How an installation differs from the usual one.
#[derive(Clone, Debug)]
pub struct InstallOptions {
    /// The program for each image, by the image's name without registry and tag.
    pub programs: BTreeMap<String, PathBuf>,
    /// If given, all pods with API credentials reach the API server through it, each by an entrance of its own that is
    /// named after the pod.
    pub fault_proxy: Option<Arc<FaultProxy>>,
    /// The first wait of a crash loop (the very first restart comes at once); a kubelet's is 10 s.
    pub restart_backoff: Duration,
    /// Variables that every process gets, whatever its pod says.
    pub env: BTreeMap<String, String>,
}

impl InstallOptions {
    /// mechanic's own programs, otherwise as on a real node.
    #[must_use]
    pub fn new(programs: &Programs) -> Self {
        Self::with_programs([(PROBE, programs.probe.clone()), (COORDINATOR, programs.coordinator.clone())])
    }

    /// Other programs, by their images' names.
    #[must_use]
    pub fn with_programs<'a>(programs: impl IntoIterator<Item = (&'a str, PathBuf)>) -> Self {
        Self {
            programs: programs.into_iter().map(|(image, path)| (image.to_owned(), path)).collect(),
            fault_proxy: None,
            restart_backoff: Duration::from_secs(10),
            env: BTreeMap::new(),
        }
    }
}

/// A running installation. Dropping it kills its processes.
pub struct Installation {
    azure: Azure,
    nodes: Nodes,
    surroundings: Arc<Surroundings>,
    services: Vec<ServiceProxy>,
    kubelet: AbortOnDropHandle<()>,
    end: CancellationToken,
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installation").field("pods", &self.pods()).finish_non_exhaustive()
    }
}

/// A VM for each node that the cluster has now, each with a metadata service on an address of its own.
pub async fn azure_of(cluster: &Cluster) -> Result<Azure> {
    let azure = Azure::new();
    let api: Api<Node> = Api::all(cluster.client(User::Sandbox).await?);
    for node in api.list(&ListParams::default()).await? {
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        let boot_id = info.map(|info| info.boot_id.clone()).unwrap_or_default();
        azure.add_vm(Vm::of_node(&node)?, cluster.network().next_address()?, &boot_id).await?;
    }
    Ok(azure)
}

impl Installation {
    /// Applies the overlay and begins to play kubelet. Returns before the pods are ready.
    pub async fn apply(
        cluster: &Cluster,
        azure: &Azure,
        overlay: &Path,
        options: InstallOptions,
    ) -> Result<Self> {
        let overlay_text = overlay.display().to_string();
        cluster
            .kubectl(["apply", "-k", &overlay_text])
            .await
            .with_context(|| format!("the overlay {overlay_text} can't be applied"))?;
        let client = cluster.client(User::Sandbox).await?;
        let folder = cluster.run_folder().to_path_buf();
        for part in ["logs", "pods", "boot-ids"] {
            let part = folder.join(part);
            std::fs::create_dir_all(&part).with_context(|| format!("can't make {}", part.display()))?;
        }
        let pods = Pods::default();
        let mut services = Vec::new();
        let mut names = Vec::new();
        let api: Api<Service> = Api::all(client.clone());
        for service in api.list(&ListParams::default().labels(OWN_PODS)).await? {
            let ip = cluster.network().next_address()?.into();
            for port in service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
                let proxy = ServiceProxy::start(&service, port, ip, pods.clone()).await?;
                names.extend(names_of(&service, port.port).map(|name| (name, proxy.address)));
                services.push(proxy);
            }
        }
        let coordinator = names.iter().find(|(name, _)| name.starts_with(COORDINATOR)).map(|(_, at)| *at);
        let surroundings = Arc::new(Surroundings {
            client,
            api_server: cluster.api_server_url().to_string(),
            fault_proxy: options.fault_proxy,
            programs: options.programs,
            folder,
            services: names,
            coordinator,
            env: options.env,
            host_ip: "127.0.0.1".into(),
            restart_backoff: options.restart_backoff,
            pods,
        });
        let kubelet = Arc::new(Kubelet {
            surroundings: Arc::clone(&surroundings),
            azure: azure.clone(),
            network: Arc::clone(cluster.network()),
        });
        let end = CancellationToken::new();
        let kubelet = AbortOnDropHandle::new(tokio::spawn(kubelet.run(end.clone())));
        let nodes = cluster.nodes().await?;
        Ok(Self { azure: azure.clone(), nodes, surroundings, services, kubelet, end })
    }

    /// All of mechanic's pods that are on a node, ordered by name.
    #[must_use]
    pub fn pods(&self) -> Vec<PodProcess> {
        self.surroundings.pods.processes()
    }

    /// The coordinators' pods.
    #[must_use]
    pub fn coordinators(&self) -> Vec<PodProcess> {
        self.pods().into_iter().filter(|pod| pod.is(COORDINATOR)).collect()
    }

    /// The probe's pod on this node.
    pub fn probe_on(&self, node: &str) -> Result<PodProcess> {
        let probe = self.pods().into_iter().find(|pod| pod.is(PROBE) && pod.node == node);
        probe.with_context(|| format!("no probe's pod is on node {node}"))
    }

    /// The pod of this name.
    pub fn pod(&self, name: &str) -> Result<PodProcess> {
        let pod = self.pods().into_iter().find(|pod| pod.pod == name);
        pod.with_context(|| format!("the sandbox's kubelet has no pod {name}"))
    }

    /// The coordinator that holds the Lease, if there is one.
    pub async fn leader(&self) -> Result<Option<PodProcess>> {
        let leases: Api<Lease> = Api::namespaced(self.surroundings.client.clone(), NAMESPACE);
        let lease = leases.get_opt(COORDINATOR).await?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
        // Whatever else a holder's identity says, it begins with its pod's name.
        let is_holder = |pod: &PodProcess| {
            holder.strip_prefix(&pod.pod).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        Ok(self.coordinators().into_iter().find(is_holder))
    }

    /// Where the stand-in of mechanic's Service listens.
    pub fn coordinator_address(&self) -> Result<SocketAddr> {
        self.surroundings.coordinator.context("the overlay has no Service mechanic-coordinator")
    }

    /// What the pod's processes have written, all starts in one file.
    #[must_use]
    pub fn log(&self, pod: &str) -> PathBuf {
        self.surroundings.folder.join("logs").join(format!("{pod}.log"))
    }

    /// The VM under this node goes, with everything on it: IMDS is silent, mechanic's processes are killed, the kubelet
    /// doesn't report any more, the pods that were left stop.
    pub async fn power_off(&self, node: &str) -> Result<()> {
        self.azure.power_off(&self.vm_of(node).await?)?;
        self.nodes.power_off(node).await
    }

    /// The VM under this node boots. Returns the boot's id; what is on the node comes back by itself.
    pub async fn power_on(&self, node: &str) -> Result<String> {
        let boot_id = self.azure.power_on(&self.vm_of(node).await?)?;
        self.nodes.power_on(node, &boot_id).await?;
        Ok(boot_id)
    }

    async fn vm_of(&self, node: &str) -> Result<String> {
        kubelet::vm_of(&self.surroundings.client, &self.azure, node).await.map(|vm| vm.name)
    }

    /// The pod's next start waits until [`Installation::allow_start`]; a process that runs goes on.
    pub fn hold_start(&self, pod: &str) {
        self.surroundings.pods.hold(pod);
    }

    /// Ends a [`Installation::hold_start`].
    pub fn allow_start(&self, pod: &str) {
        self.surroundings.pods.let_go(pod);
    }

    /// Waits until `look` finds something in the pods; `what` names it in the error's message.
    pub async fn wait_for<R>(
        &self,
        what: &str,
        within: Duration,
        look: impl Fn(&[PodProcess]) -> Option<R>,
    ) -> Result<R> {
        if self.kubelet.is_finished() {
            bail!("the sandbox's kubelet has ended");
        }
        self.surroundings.pods.wait_for(what, within, look).await
    }

    /// Waits until every Deployment and DaemonSet of mechanic's is ready in full.
    pub async fn wait_ready(&self, within: Duration) -> Result<()> {
        let ready = async {
            while !self.is_ready().await? {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        };
        match tokio::time::timeout(within, ready).await {
            Ok(result) => result,
            // Says which pods there are.
            Err(_) => self.wait_for("a ready installation", Duration::ZERO, |_| None).await,
        }
    }

    async fn is_ready(&self) -> Result<bool> {
        let client = self.surroundings.client.clone();
        let own = ListParams::default().labels(OWN_PODS);
        let deployments = Api::<Deployment>::all(client.clone()).list(&own).await?;
        let daemon_sets = Api::<DaemonSet>::all(client).list(&own).await?;
        let deployed = deployments.iter().all(|deployment| {
            let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
            let status = deployment.status.clone().unwrap_or_default();
            status.observed_generation == deployment.metadata.generation
                && status.ready_replicas.unwrap_or(0) == wanted
        });
        let everywhere = daemon_sets.iter().all(|set| {
            let status = set.status.clone().unwrap_or_default();
            status.observed_generation == set.metadata.generation
                && status.desired_number_scheduled > 0
                && status.number_ready == status.desired_number_scheduled
        });
        Ok(deployed && everywhere && !self.pods().is_empty())
    }

    /// Kills all processes and waits until they are gone, without a word to the API server: the cluster goes as well.
    pub async fn stop(self) {
        self.end.cancel();
        let _ = self.kubelet.await;
        drop(self.services);
    }
}

/// The names by which a pod finds this port of the Service.
fn names_of(service: &Service, port: i32) -> impl Iterator<Item = String> {
    let name = service.metadata.name.clone().unwrap_or_default();
    let namespace = service.metadata.namespace.clone().unwrap_or_default();
    // The longest first: each is the beginning of the one before it.
    [".svc.cluster.local", ".svc"].into_iter().map(move |suffix| format!("{name}.{namespace}{suffix}:{port}"))
}
