//! One cluster: a real control plane, kwok for kubelets, nothing shared with any other and nothing left behind.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::process::Command;

use crate::child::Child;
use crate::control_plane::{self, ControlPlane};
use crate::kwok;
use crate::network::Network;
use crate::nodes::Nodes;
use crate::programs::{ClusterPrograms, Progress, silent};
use crate::run_dir::RunDir;

pub use crate::control_plane::User;

/// Who runs the pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kubelets {
    /// kwok plays them: a pod is a row in a table, and everything stays on loopback.
    #[default]
    Kwok,
    /// Real ones, which whoever starts the cluster brings along. The API server listens on this address, where they and
    /// their pods reach it.
    Real(Ipv4Addr),
}

/// How to start one.
#[derive(Clone, Default)]
pub struct ClusterOptions {
    /// The programs; prepared where there are none.
    pub programs: Option<ClusterPrograms>,
    /// Who hears of what takes long.
    pub progress: Option<Progress>,
    /// Who runs the pods.
    pub kubelets: Kubelets,
}

/// A running cluster without nodes. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Cluster {
    // In the order of their end.
    kwok: Option<Arc<Child>>,
    control_plane: ControlPlane,
    network: Arc<Network>,
    programs: ClusterPrograms,
    run_dir: RunDir,
}

impl Cluster {
    /// Starts one and returns when it works; some three seconds where the programs are built.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        // One TLS provider for the whole process; somebody else may have chosen it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let programs = if let Some(programs) = options.programs {
            programs
        } else {
            let progress = options.progress.unwrap_or_else(silent);
            tokio::task::spawn_blocking(move || ClusterPrograms::prepare(&progress))
                .await
                .context("the building of the programs was cut off")??
        };
        let run_dir = RunDir::claim()?;
        let network = Arc::new(Network::claim()?);
        let address = match options.kubelets {
            Kubelets::Kwok => network.own(1),
            Kubelets::Real(address) => address,
        };
        let control_plane = ControlPlane::start(&programs, run_dir.path(), address, options.kubelets).await?;
        let admin =
            client_of(&control_plane::kubeconfig_path(run_dir.path(), User::Admin), User::Admin).await?;
        control_plane.ready(&admin).await?;
        let kwok = if options.kubelets == Kubelets::Kwok {
            let kubeconfig = control_plane::kubeconfig_path(run_dir.path(), User::Kwok);
            Some(Arc::new(kwok::start(&programs, run_dir.path(), &kubeconfig)?))
        } else {
            None
        };
        Ok(Self { kwok, control_plane, network, programs, run_dir })
    }

    /// The kubeconfig file of `user`.
    #[must_use]
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        control_plane::kubeconfig_path(self.run_dir.path(), user)
    }

    /// How `user` reaches the API server. Refusals are answered and not retried: who asks wants to see them.
    pub async fn config(&self, user: User) -> Result<Config> {
        config_of(&self.kubeconfig(user), user).await
    }

    /// A client as `user`. It belongs to the runtime that it is made in.
    pub async fn client(&self, user: User) -> Result<Client> {
        client_of(&self.kubeconfig(user), user).await
    }

    /// The nodes, as the sandbox handles them.
    pub async fn nodes(&self) -> Result<Nodes> {
        Ok(Nodes::new(self.client(User::Sandbox).await?))
    }

    /// Runs kubectl as [`User::Admin`] and returns what it printed.
    pub async fn kubectl<A: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<String> {
        self.kubectl_as(User::Admin, args).await
    }

    /// Runs kubectl as `user` and returns what it printed.
    pub async fn kubectl_as<A: AsRef<std::ffi::OsStr>>(
        &self,
        user: User,
        args: impl IntoIterator<Item = A>,
    ) -> Result<String> {
        let mut command = Command::new(self.programs.kubectl());
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig(user))
            .arg("--cache-dir")
            .arg(self.run_dir.path().join("kubectl-cache"))
            .args(args)
            .kill_on_drop(true);
        let output = command.output().await.context("can't run kubectl")?;
        if !output.status.success() {
            bail!("kubectl failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Where the API server answers.
    #[must_use]
    pub fn api_server_url(&self) -> &str {
        self.control_plane.url()
    }

    /// The file with the API server's authority, PEM.
    #[must_use]
    pub fn api_server_ca(&self) -> &Path {
        self.control_plane.authority()
    }

    /// A service account's token as it will be when it has expired.
    pub fn expired(&self, token: &str) -> Result<String> {
        self.control_plane.expired(token)
    }

    /// The audit log, one JSON object a line, written before the caller gets its answer.
    #[must_use]
    pub fn audit_log(&self) -> &Path {
        self.control_plane.audit_log()
    }

    /// Addresses of this cluster's own.
    #[must_use]
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// The programs that it was started from.
    #[must_use]
    pub fn programs(&self) -> &ClusterPrograms {
        &self.programs
    }

    /// The folder that goes when the cluster goes.
    #[must_use]
    pub fn run_folder(&self) -> &Path {
        self.run_dir.path()
    }

    /// A folder below [`Self::run_folder`], made if it isn't there.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        self.run_dir.folder(name)
    }

    /// Freezes the API server: connections stay, nobody answers.
    pub fn freeze_api_server(&self) -> Result<()> {
        self.control_plane.api_server().freeze()
    }

    /// Lets a frozen API server go on.
    pub fn thaw_api_server(&self) -> Result<()> {
        self.control_plane.api_server().thaw()
    }

    /// Kills the API server.
    pub async fn kill_api_server(&self) -> Result<()> {
        self.control_plane.kill_api_server().await
    }

    /// Kills the API server if it lives, starts it on the same port and waits until it is ready.
    pub async fn restart_api_server(&self) -> Result<()> {
        let client = self.client(User::Admin).await?;
        self.control_plane.restart_api_server(&client).await
    }

    /// The cluster's processes.
    pub fn children(&self) -> impl Iterator<Item = Arc<Child>> {
        self.kwok.iter().map(Arc::clone).chain(self.control_plane.children())
    }

    /// Ends all of it and removes what it wrote.
    pub async fn stop(self) -> Result<()> {
        if let Some(kwok) = &self.kwok {
            kwok.kill()?;
        }
        self.control_plane.stop().await
    }
}

async fn config_of(kubeconfig: &Path, user: User) -> Result<Config> {
    let file =
        Kubeconfig::read_from(kubeconfig).with_context(|| format!("can't read {}", kubeconfig.display()))?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("{} can't be used", kubeconfig.display()))?;
    config.default_retry = false;
    let agent = HeaderValue::from_str(&format!("mechanic-sandbox/{}", user.as_str()))
        .context("a user's name doesn't fit into a header")?;
    config.headers.push((USER_AGENT, agent));
    Ok(config)
}

pub(crate) async fn client_of(kubeconfig: &Path, user: User) -> Result<Client> {
    let config = config_of(kubeconfig, user).await?;
    Client::try_from(config).context("can't make a client of the API server")
}
