//! Clients of the API server.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use kube::{Client, Config, config::KubeConfigOptions, config::Kubeconfig};

/// Says in the audit log who asks; kube itself says nothing.
const USER_AGENT: &str = concat!("mechanic-coordinator/", env!("CARGO_PKG_VERSION"));

/// The clients, apart so that one use never waits for or retries like another.
pub(crate) struct Clients {
    /// For watches, lists and reviews; retries by itself.
    pub(crate) reading: Client,
    /// For the watches that this process lives by, each of which tries again and says so.
    pub(crate) watching: Client,
    /// For writes and evictions; never retries, so that no answer is hidden.
    pub(crate) acting: Client,
    /// For the elector, which wraps a client of its own.
    pub(crate) electing: Config,
}

impl Clients {
    /// From the file that KUBECONFIG names, else from the pod's own service account.
    pub(crate) async fn new() -> Result<Self> {
        let mut config = match std::env::var_os("KUBECONFIG").map(PathBuf::from) {
            Some(path) => {
                let read = Kubeconfig::read_from(&path);
                let kubeconfig = read.with_context(|| format!("can't read KUBECONFIG {}", path.display()))?;
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
            }
            None => Config::incluster().context("KUBECONFIG is not set and this is no pod")?,
        };
        config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(USER_AGENT)));
        config.connect_timeout = Some(Duration::from_secs(5));
        let mut without_retry = config.clone();
        without_retry.default_retry = false;
        Ok(Self {
            reading: Client::try_from(config)?,
            watching: Client::try_from(without_retry.clone())?,
            acting: Client::try_from(without_retry.clone())?,
            electing: without_retry,
        })
    }
}
