//! Flags and environment.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory, FromArgMatches, Parser};
use jiff::SignedDuration;

use crate::{check::Check, release::Release};

/// What the process is started for.
#[derive(Debug)]
pub enum Invocation {
    /// To coordinate, which no word asks for.
    Coordinate(Box<Arguments>),
    /// `check`
    Check(Check),
    /// `release`
    Release(Release),
}

impl Invocation {
    /// Reads the command line.
    ///
    /// # Errors
    /// What clap prints and ends with: help that was asked for, or what makes no sense.
    pub fn parse(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let subcommands = [Check::command(), Release::command()];
        let command = Arguments::command().subcommand_negates_reqs(true).subcommands(subcommands);
        let matches = command.try_get_matches_from(words)?;
        match matches.subcommand() {
            Some(("release", release)) => Release::from_arg_matches(release).map(Self::Release),
            Some((_, check)) => Check::from_arg_matches(check).map(Self::Check),
            None => Arguments::from_arg_matches(&matches).map(Box::new).map(Self::Coordinate),
        }
    }
}

/// Watches all nodes, decides for the whole cluster, and cordons, drains and releases nodes.
///
/// What people tune is in the ConfigMap `mechanic`; these say only where the process runs.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Address for gRPC, which probes and people use. It must be the pod's own: it
    /// is where a follower sends the probes to once this process leads. The same port of the loopback is listened at
    /// too, for `kubectl port-forward`.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Address for `/livez`, `/readyz` and `/metrics`.
    #[arg(long)]
    pub listen_http: SocketAddr,
    /// Name of this pod.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: String,
    /// UID of this pod, which is never evicted by itself.
    #[arg(long, env = "POD_UID")]
    pub pod_uid: String,
    /// The Node that this pod is on: where that is about to be hit, another coordinator is to lead.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,
    /// Namespace of this pod, of the Lease and of the ConfigMap.
    #[arg(long, env = "POD_NAMESPACE")]
    pub pod_namespace: String,
    /// Certificate and authority that somebody else keeps current; by default mechanic has an authority of its own.
    #[command(flatten)]
    pub certificate_files: Option<CertificateFiles>,
    /// How long a new authority of mechanic's own is announced before it signs: as long as probes may take to read
    /// of it.
    #[arg(long, env = "MECHANIC_AUTHORITY_OVERLAP", default_value = "5m", value_parser = overlap)]
    pub authority_overlap: Duration,
    /// What is logged, as in `info,mechanic_coordinator=debug`, while the ConfigMap's `log-level` is info; any other overrules
    /// it.
    #[arg(long, env = "MECHANIC_LOG", default_value = "info,kube_leader_election=warn")]
    pub log: String,
    /// How it is logged.
    #[arg(long, env = "MECHANIC_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// Files in PEM, which are read again as they change. All three, or none.
#[derive(Args, Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate to present, for the DNS name `mechanic-coordinator`, and what leads from it to the authority.
    #[arg(id = "tls-certificate-file", long, env = "MECHANIC_TLS_CERTIFICATE_FILE", value_name = "FILE")]
    #[arg(required = false, requires_all = ["tls-key-file", "tls-authority-file"])]
    pub certificate: PathBuf,
    /// Its private key.
    #[arg(id = "tls-key-file", long, env = "MECHANIC_TLS_KEY_FILE", value_name = "FILE")]
    #[arg(required = false, requires = "tls-certificate-file")]
    pub key: PathBuf,
    /// The authority by which the other coordinators are known.
    #[arg(id = "tls-authority-file", long, env = "MECHANIC_TLS_AUTHORITY_FILE", value_name = "FILE")]
    #[arg(required = false, requires = "tls-certificate-file")]
    pub authority: PathBuf,
}

fn overlap(text: &str) -> Result<Duration, String> {
    let overlap = text.parse::<SignedDuration>().ok().and_then(|overlap| Duration::try_from(overlap).ok());
    overlap
        .filter(|overlap| (Duration::from_secs(1)..=Duration::from_hours(24)).contains(overlap))
        .ok_or_else(|| format!("`{text}` is no duration from 1s to 24h, such as 5m"))
}

/// How log lines look.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &[&str]) -> Result<Arguments, clap::Error> {
        let usual = [
            "mechanic-coordinator",
            "--listen=127.0.0.1:7443",
            "--listen-http=127.0.0.1:8080",
            "--pod-name=a",
            "--pod-uid=u",
            "--node-name=n",
            "--pod-namespace=mechanic",
        ];
        match Invocation::parse(usual.iter().chain(more))? {
            Invocation::Coordinate(arguments) => Ok(*arguments),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_check_or_a_release_needs_none_of_what_a_coordinator_needs() {
        let check = Invocation::parse(["mechanic-coordinator", "check", "config-map.yaml"]).unwrap();
        assert!(matches!(check, Invocation::Check(_)));
        assert!(Invocation::parse(["mechanic-coordinator", "check"]).is_err());
        let release = Invocation::parse(["mechanic-coordinator", "release", "--all"]).unwrap();
        assert!(matches!(release, Invocation::Release(_)));
        assert!(Invocation::parse(["mechanic-coordinator", "release"]).is_err(), "not by a slip of the pen");
        assert!(Invocation::parse(["mechanic-coordinator"]).is_err());
    }

    #[test]
    fn certificate_files_are_all_given_or_none() {
        assert!(parse(&[]).unwrap().certificate_files.is_none());
        let all = ["--tls-certificate-file=c", "--tls-key-file=k", "--tls-authority-file=a"];
        assert_eq!(parse(&all).unwrap().certificate_files.unwrap().key, PathBuf::from("k"));
        for missing in 0..all.len() {
            let mut some = all.to_vec();
            some.remove(missing);
            assert!(parse(&some).is_err(), "{some:?}");
        }
    }

    #[test]
    fn the_overlap_is_a_time_that_makes_sense() {
        assert_eq!(parse(&[]).unwrap().authority_overlap, Duration::from_mins(5));
        assert!(parse(&["--authority-overlap=0s"]).is_err());
        assert!(parse(&["--authority-overlap=soon"]).is_err());
    }
}
