//! Flags and environment.

use std::net::SocketAddr;

use clap::Parser;

/// Watches all nodes, decides for the whole cluster, and cordons, drains and releases nodes.
///
/// What people tune is in the ConfigMap `mechanic`; these say only where the process runs.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Address for gRPC, which probes, people and kubelets' health checks use. It must be the pod's own: it
    /// is where a follower sends the probes to once this process leads.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Name of this pod.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: String,
    /// UID of this pod, which is never evicted by itself.
    #[arg(long, env = "POD_UID")]
    pub pod_uid: String,
    /// Namespace of this pod, of the Lease and of the ConfigMap.
    #[arg(long, env = "POD_NAMESPACE")]
    pub pod_namespace: String,
    /// What is logged, as in `info,mechanic_coordinator=debug`.
    #[arg(long, env = "MECHANIC_LOG", default_value = "info,kube_leader_election=warn")]
    pub log: String,
    /// How it is logged.
    #[arg(long, env = "MECHANIC_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
