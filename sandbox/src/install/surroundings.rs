//! What a kubelet has around it: the API server, the programs, folders, and the four things that stand in for what only
//! a real node has (the Service's name, the in-cluster credentials, the IMDS address, the boot id).

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod};
use kube::Client;
use kube::api::Api;
use serde_json::json;

use super::container::{
    API_CREDENTIALS, AUTHORITIES, ConfigMaps, Mounts, PodFacts, arguments, config_maps_of, environment,
    program_name,
};
use super::pods::Pods;
use super::volumes::{Volumes, token_file, write_whole};
use crate::child::{Child, ChildSpec};
use crate::fault_proxy::FaultProxy;

/// The audience of the token that mechanic's probes present to the coordinator.
const COORDINATOR_AUDIENCE: &str = "mechanic-coordinator";

/// Shared by all pods of an installation.
pub(super) struct Surroundings {
    pub(super) client: Client,
    pub(super) api_server: String,
    pub(super) fault_proxy: Option<Arc<FaultProxy>>,
    pub(super) programs: BTreeMap<String, PathBuf>,
    pub(super) folder: PathBuf,
    /// Names by which pods would find Services, and where these really are.
    pub(super) services: Vec<(String, SocketAddr)>,
    pub(super) coordinator: Option<SocketAddr>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) host_ip: String,
    pub(super) restart_backoff: Duration,
    pub(super) pods: Pods,
}

/// What differs from one start of a process to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start<'a> {
    pub(super) pod: &'a Pod,
    pub(super) container: &'a Container,
    pub(super) ip: &'a str,
    pub(super) boot_id_file: &'a Path,
    pub(super) imds: &'a str,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("folder", &self.folder)
            .field("pods", &self.pods)
            .finish_non_exhaustive()
    }
}

impl Surroundings {
    /// Starts the container's process. Also says after how long its volumes need to be written anew.
    pub(super) async fn start(&self, start: Start<'_>) -> Result<(Child, Option<Duration>)> {
        let Start { pod, container, ip, .. } = start;
        let facts = PodFacts::of(pod, ip)?;
        let image = container.image.as_deref().unwrap_or_default();
        let program = self
            .programs
            .get(program_name(image))
            .with_context(|| format!("the sandbox has no program for image {image:?}"))?;
        let refresh = self.write_volumes(pod, ip).await?;
        let config_maps = self.config_maps(container, &facts.namespace).await?;
        let folder = self.folder_of(&facts.uid);
        let mounts = Mounts::of(container, &folder.join("volumes"));
        let own = environment(container, &facts, &config_maps)?;
        let place = |text: &str| self.with_services(&mounts.rewrite(text));
        let args: Vec<String> = arguments(container, &own).iter().map(|text| place(text)).collect();
        let mut env: BTreeMap<String, String> =
            own.iter().map(|(name, value)| (name.clone(), place(value))).collect();
        env.extend(self.stand_ins(start, &folder, &mounts).await?);
        env.extend(self.env.clone());
        let log = self.folder.join("logs").join(format!("{}.log", facts.name));
        let mut spec = ChildSpec::new(&facts.name, program, log).args(args);
        spec.clear_env = true;
        spec.env = env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Ok((Child::start(&spec)?, refresh))
    }

    pub(super) async fn write_volumes(&self, pod: &Pod, ip: &str) -> Result<Option<Duration>> {
        let facts = PodFacts::of(pod, ip)?;
        let folder = self.folder_of(&facts.uid).join("volumes");
        Volumes { client: self.client.clone(), facts, folder }.write(pod).await
    }

    fn folder_of(&self, uid: &str) -> PathBuf {
        self.folder.join("pods").join(uid)
    }

    async fn config_maps(&self, container: &Container, namespace: &str) -> Result<ConfigMaps> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let mut maps = ConfigMaps::new();
        for name in config_maps_of(container) {
            if let Some(map) = api.get_opt(&name).await? {
                maps.insert(name, map.data.unwrap_or_default());
            }
        }
        Ok(maps)
    }

    /// The variables that stand in for what only a real node has. They win over the pod's own.
    async fn stand_ins(
        &self,
        start: Start<'_>,
        folder: &Path,
        mounts: &Mounts,
    ) -> Result<BTreeMap<String, String>> {
        let mut env = BTreeMap::from([
            ("MECHANIC_IMDS_ADDRESS".to_owned(), start.imds.to_owned()),
            ("MECHANIC_BOOT_ID_FILE".to_owned(), start.boot_id_file.display().to_string()),
        ]);
        if let Some(coordinator) = self.coordinator {
            env.insert("MECHANIC_COORDINATOR_ADDRESS".into(), coordinator.to_string());
        }
        if let Some(token) = token_file(start.pod, &folder.join("volumes"), COORDINATOR_AUDIENCE) {
            env.insert("MECHANIC_TOKEN_FILE".into(), token.display().to_string());
        }
        if let Some(authorities) = mounts.real(AUTHORITIES) {
            env.insert("MECHANIC_AUTHORITIES_FILE".into(), authorities.join("ca.crt").display().to_string());
        }
        if let Some(credentials) = mounts.real(API_CREDENTIALS) {
            let kubeconfig = self.write_kubeconfig(start.pod, folder, &credentials).await?;
            env.insert("KUBECONFIG".into(), kubeconfig.display().to_string());
        }
        Ok(env)
    }

    /// The in-cluster path is fixed in kube, so a kubeconfig leads to the same credentials.
    async fn write_kubeconfig(&self, pod: &Pod, folder: &Path, credentials: &Path) -> Result<PathBuf> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let mut cluster =
            json!({ "server": self.api_server, "certificate-authority": credentials.join("ca.crt") });
        if let Some(proxy) = &self.fault_proxy {
            cluster = json!({ "server": format!("http://{}", proxy.entrance(&name).await?) });
        }
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "pod",
            "clusters": [{ "name": "cluster", "cluster": cluster }],
            "users": [{ "name": "pod", "user": { "tokenFile": credentials.join("token") } }],
            "contexts": [{ "name": "pod",
                "context": { "cluster": "cluster", "user": "pod", "namespace": namespace } }],
        });
        let path = folder.join("kubeconfig");
        write_whole(&path, &config.to_string()).await?;
        Ok(path)
    }

    /// There is no cluster DNS: names of Services become addresses here.
    fn with_services(&self, text: &str) -> String {
        self.services
            .iter()
            .fold(text.to_owned(), |text, (name, address)| text.replace(name, &address.to_string()))
    }
}
