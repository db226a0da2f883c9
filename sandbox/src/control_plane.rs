//! A real control plane: etcd, the API server, the controller manager and the scheduler, on an address of their own.

mod audit_policy;
mod trust;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};

use crate::child::{Child, ChildSpec};
use crate::cluster::{Kubelets, client_of};
use crate::kubeconfig::{Credentials, Kubeconfig};
use crate::programs::ClusterPrograms;

use trust::Trust;
pub use trust::User;

/// The address is ours alone, so the ports can be everybody's own.
const ETCD: u16 = 2379;
const ETCD_PEER: u16 = 2380;
const API_SERVER: u16 = 6443;
const CONTROLLER_MANAGER: u16 = 10_257;
const SCHEDULER: u16 = 10_259;

const START_WITHIN: Duration = Duration::from_mins(2);
const STOP_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The processes. In the order of their end: a client before its server.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    scheduler: Arc<Child>,
    controller_manager: Arc<Child>,
    /// Another one after a restart.
    api_server: Mutex<Arc<Child>>,
    etcd: Arc<Child>,
    api_server_spec: ChildSpec,
    trust: Trust,
    url: String,
    audit_log: PathBuf,
}

impl ControlPlane {
    /// Starts all of it and returns when the API server is ready; the controllers may not be.
    pub(crate) async fn start(
        programs: &ClusterPrograms,
        folder: &Path,
        address: Ipv4Addr,
        kubelets: Kubelets,
    ) -> Result<Self> {
        let trust = Trust::create(folder)?;
        let logs = folder.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("can't create {}", logs.display()))?;
        let child = |name: &str| ChildSpec::new(name, programs.path(name), logs.join(format!("{name}.log")));
        let url = format!("https://{address}:{API_SERVER}");
        let audit_log = folder.join("audit.log");
        let audit_policy = folder.join("audit-policy.yaml");
        std::fs::write(&audit_policy, audit_policy::POLICY).context("can't write the audit policy")?;

        let etcd = Arc::new(Child::start(&child("etcd").args(etcd_flags(folder, address)))?);
        let api_server_spec = child("kube-apiserver")
            .args(api_server_flags(&trust, address))
            .args(kubelet_flags(kubelets))
            .arg(format!("--audit-policy-file={}", audit_policy.display()))
            .arg(format!("--audit-log-path={}", audit_log.display()));
        let api_server = Arc::new(Child::start(&api_server_spec)?);
        // Both the others and the client need the certificate that the API server makes for itself. It is there whole
        // once there is its key: the file comes first empty, then with its text, and then the key's. Who reads it empty
        // trusts nobody ever after.
        wait_until("its serving certificate", &api_server, || trust.serving_key().exists()).await?;
        for user in User::ALL {
            Kubeconfig {
                server: url.clone(),
                certificate_authority: Some(trust.authority().to_owned()),
                name: user.as_str().into(),
                credentials: Credentials::Token(trust.token(user).into()),
            }
            .write(&kubeconfig_path(folder, user))?;
        }
        let admin = kubeconfig_path(folder, User::Admin);
        let client = client_of(&admin, User::Admin).await?;
        // The controller manager gives up on an API server that isn't healthy within ten seconds, which it may not be
        // on a busy machine.
        api_server_ready(&client, &[&api_server, &etcd]).await?;
        let kubeconfig = format!("--kubeconfig={}", admin.display());
        let controller_manager = Child::start(
            &child("kube-controller-manager")
                .args(controller_manager_flags(&trust, address))
                .arg(&kubeconfig),
        )?;
        let scheduler =
            Child::start(&child("kube-scheduler").args(scheduler_flags(address)).arg(&kubeconfig))?;
        Ok(Self {
            scheduler: Arc::new(scheduler),
            controller_manager: Arc::new(controller_manager),
            api_server: Mutex::new(api_server),
            etcd,
            api_server_spec,
            trust,
            url,
            audit_log,
        })
    }

    /// Waits until the controllers have made what each namespace gets from them.
    pub(crate) async fn ready(&self, client: &Client) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        let begun = Instant::now();
        while accounts.get_opt("default").await.ok().flatten().is_none() {
            self.all_alive()?;
            if begun.elapsed() > START_WITHIN {
                bail!("the controller manager made no service account within {} s", START_WITHIN.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn all_alive(&self) -> Result<()> {
        self.children().iter().rev().try_for_each(|child| alive(child))
    }

    /// Ends the API server at once, as a crash would.
    pub(crate) async fn kill_api_server(&self) -> Result<()> {
        let api_server = self.api_server();
        api_server.kill()?;
        api_server.wait().await;
        Ok(())
    }

    /// Starts it again where it was, ending what is left of the old one.
    pub(crate) async fn restart_api_server(&self, client: &Client) -> Result<()> {
        self.kill_api_server().await?;
        *self.locked_api_server() = Arc::new(Child::start(&self.api_server_spec)?);
        api_server_ready(client, &[&self.api_server(), &self.etcd]).await
    }

    pub(crate) fn api_server(&self) -> Arc<Child> {
        Arc::clone(&self.locked_api_server())
    }

    // Whoever panicked while holding it left a whole value behind.
    fn locked_api_server(&self) -> std::sync::MutexGuard<'_, Arc<Child>> {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn authority(&self) -> &Path {
        self.trust.authority()
    }

    pub(crate) fn expired(&self, token: &str) -> Result<String> {
        self.trust.expired(token)
    }

    pub(crate) fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    /// All its processes.
    pub(crate) fn children(&self) -> [Arc<Child>; 4] {
        let [scheduler, controller_manager, etcd] =
            [&self.scheduler, &self.controller_manager, &self.etcd].map(Arc::clone);
        [scheduler, controller_manager, self.api_server(), etcd]
    }

    /// Ends all of it. Nothing here needs a clean end: the data goes too.
    pub(crate) async fn stop(&self) -> Result<()> {
        for child in self.children() {
            child.kill()?;
        }
        for child in self.children() {
            if tokio::time::timeout(STOP_WITHIN, child.wait()).await.is_err() {
                bail!("{} (process {}) survived a SIGKILL", child.name(), child.pid());
            }
        }
        Ok(())
    }
}

/// Where the kubeconfig of `user` lies.
pub(crate) fn kubeconfig_path(folder: &Path, user: User) -> PathBuf {
    folder.join(format!("kubeconfig-{}", user.as_str()))
}

/// Waits until `/readyz` says so, as long as these live.
async fn api_server_ready(client: &Client, living: &[&Child]) -> Result<()> {
    let begun = Instant::now();
    loop {
        let request = http::Request::get("/readyz").body(Vec::new()).context("can't build a request")?;
        let said = match client.request_text(request).await {
            Ok(answer) if answer == "ok" => return Ok(()),
            Ok(answer) => answer,
            Err(error) => format!("{:#}", anyhow::Error::from(error)),
        };
        living.iter().try_for_each(|child| alive(child))?;
        if begun.elapsed() > START_WITHIN {
            bail!("the API server wasn't ready within {} s; it last said: {said}", START_WITHIN.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn alive(child: &Child) -> Result<()> {
    match child.status() {
        None => Ok(()),
        Some(status) => bail!("{} ended ({status}). Its last words:\n{}", child.name(), child.last_words()),
    }
}

async fn wait_until(what: &str, child: &Child, come: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !come() {
        alive(child)?;
        if begun.elapsed() > START_WITHIN {
            bail!("{} didn't make {what} within {} s", child.name(), START_WITHIN.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn etcd_flags(folder: &Path, address: Ipv4Addr) -> Vec<String> {
    let client = format!("http://{address}:{ETCD}");
    let peer = format!("http://{address}:{ETCD_PEER}");
    vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        // A crash of the machine may lose it: it is thrown away anyway.
        "--unsafe-no-fsync".into(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--log-level=warn".into(),
    ]
}

fn api_server_flags(trust: &Trust, address: Ipv4Addr) -> Vec<String> {
    vec![
        format!("--etcd-servers=http://{address}:{ETCD}"),
        format!("--bind-address={address}"),
        format!("--advertise-address={address}"),
        format!("--secure-port={API_SERVER}"),
        format!("--cert-dir={}", trust.folder().display()),
        "--authorization-mode=Node,RBAC".into(),
        format!("--token-auth-file={}", trust.token_file().display()),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!("--service-account-signing-key-file={}", trust.account_key().display()),
        format!("--service-account-key-file={}", trust.account_public_key().display()),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--allow-privileged=true".into(),
        "--profiling=false".into(),
        // Megabytes. The default rotates at 100, and who reads the log would lose its place.
        "--audit-log-maxsize=100000".into(),
    ]
}

fn kubelet_flags(kubelets: Kubelets) -> &'static [&'static str] {
    match kubelets {
        // No EndpointSlice may hold an address of loopback.
        Kubelets::Kwok => &["--endpoint-reconciler-type=none"],
        Kubelets::Real(_) => &["--kubelet-preferred-address-types=InternalIP"],
    }
}

fn controller_manager_flags(trust: &Trust, address: Ipv4Addr) -> Vec<String> {
    vec![
        format!("--root-ca-file={}", trust.authority().display()),
        "--use-service-account-credentials".into(),
        format!("--service-account-private-key-file={}", trust.account_key().display()),
        "--leader-elect=false".into(),
        format!("--bind-address={address}"),
        format!("--secure-port={CONTROLLER_MANAGER}"),
        // The defaults (20 and 30) would make 1,000 pods wait for the client and not for the server.
        "--kube-api-qps=1000".into(),
        "--kube-api-burst=2000".into(),
    ]
}

fn scheduler_flags(address: Ipv4Addr) -> Vec<String> {
    vec![
        "--leader-elect=false".into(),
        format!("--bind-address={address}"),
        format!("--secure-port={SCHEDULER}"),
        "--kube-api-qps=1000".into(),
        "--kube-api-burst=2000".into(),
    ]
}
