//! The programs that a sandbox runs: Kubernetes' own, built once from their Go modules, and mechanic's, through cargo.

mod build;
mod cargo;
mod go;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

pub use cargo::launcher;

/// Hears one line for people each time there is something to say: "building etcd (20 s)".
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// A listener for those who don't want to hear.
#[must_use]
pub fn silent() -> Progress {
    Arc::new(|_| {})
}

/// How mechanic's own programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build.
    Dev,
    /// What ships: small, the probe linked statically.
    Release,
}

/// Kubernetes, etcd and kwok: what a [`crate::cluster::Cluster`] is made of, and the tools to look into it.
#[derive(Clone, Debug)]
pub struct ClusterPrograms {
    folder: PathBuf,
}

impl ClusterPrograms {
    /// Builds what isn't built or is out of date. Blocks for minutes the first time, for milliseconds later.
    pub fn prepare(progress: &Progress) -> Result<Self> {
        let folder = state_folder().join("bin");
        go::build_all(&go::CLUSTER, &folder, progress)?;
        launcher()?;
        Ok(Self { folder })
    }

    /// The same with what real nodes need besides: `kubelet`, `kube-proxy` and `coredns`.
    pub fn prepare_with_nodes(progress: &Progress) -> Result<Self> {
        let programs = Self::prepare(progress)?;
        go::build_all(&go::NODE, programs.folder(), progress)?;
        Ok(programs)
    }

    /// Where all of them are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`, `kubectl`, `kwok` or `grpcurl`.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    /// The path of `kubectl`.
    #[must_use]
    pub fn kubectl(&self) -> PathBuf {
        self.path("kubectl")
    }

    /// The path of `grpcurl`.
    #[must_use]
    pub fn grpcurl(&self) -> PathBuf {
        self.path("grpcurl")
    }
}

/// Everything: the cluster's programs and mechanic's own.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Kubernetes and the tools.
    pub cluster: ClusterPrograms,
    /// mechanic's part on each node.
    pub probe: PathBuf,
    /// mechanic's part that decides.
    pub coordinator: PathBuf,
}

impl Programs {
    /// Builds what isn't built or is out of date. Blocks; seconds when nothing changed.
    pub fn prepare(profile: Profile, progress: &Progress) -> Result<Self> {
        let cluster = ClusterPrograms::prepare(progress)?;
        let (probe, coordinator) = cargo::build_mechanic(profile, progress)?;
        Ok(Self { cluster, probe, coordinator })
    }
}

/// The root of the workspace that this sandbox was built in.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where the sandbox keeps what outlives a run.
pub(crate) fn state_folder() -> PathBuf {
    workspace().join("target/sandbox")
}
