//! A container's probes, as a kubelet runs them.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// One probe of one running container: when it asks, and what it makes of the answers.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    check: Check,
    due: Instant,
    period: Duration,
    timeout: Duration,
    success_threshold: i32,
    failure_threshold: i32,
    good: bool,
    in_a_row: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Check {
    Grpc { port: u16, service: String },
    Http { port: u16, path: String },
    Tcp { port: u16 },
}

impl Prober {
    /// `good` is what holds before the first answers: a container isn't ready, but alive.
    pub(super) fn new(probe: &Probe, container: &Container, good: bool) -> Result<Self> {
        Ok(Self {
            check: Check::of(probe, container)?,
            due: Instant::now() + seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            success_threshold: probe.success_threshold.unwrap_or(1).max(1),
            failure_threshold: probe.failure_threshold.unwrap_or(3).max(1),
            good,
            in_a_row: 0,
        })
    }

    /// Waits for its time, asks, and returns what holds since then. May be dropped and called again at any time.
    pub(super) async fn next(&mut self, ip: IpAddr) -> bool {
        tokio::time::sleep_until(self.due).await;
        let answer = tokio::time::timeout(self.timeout, self.check.ask(ip)).await;
        self.due = Instant::now() + self.period;
        self.judge(answer.is_ok_and(|answer| answer.is_ok()))
    }

    fn judge(&mut self, success: bool) -> bool {
        if success == self.good {
            self.in_a_row = 0;
            return self.good;
        }
        self.in_a_row += 1;
        let needed = if success { self.success_threshold } else { self.failure_threshold };
        if self.in_a_row >= needed {
            self.good = success;
            self.in_a_row = 0;
        }
        self.good
    }
}

fn seconds(given: Option<i32>, default: u32) -> Duration {
    let given = given.and_then(|seconds| u32::try_from(seconds).ok());
    Duration::from_secs(given.unwrap_or(default).into())
}

impl Check {
    fn of(probe: &Probe, container: &Container) -> Result<Self> {
        if let Some(grpc) = &probe.grpc {
            let service = grpc.service.clone().unwrap_or_default();
            return Ok(Self::Grpc { port: number(grpc.port)?, service });
        }
        if let Some(http) = &probe.http_get {
            let path = http.path.clone().unwrap_or_else(|| "/".into());
            return Ok(Self::Http { port: port(&http.port, container)?, path });
        }
        if let Some(tcp) = &probe.tcp_socket {
            return Ok(Self::Tcp { port: port(&tcp.port, container)? });
        }
        bail!(
            "the sandbox's kubelet runs grpc, httpGet and tcpSocket probes; container {} has another",
            container.name
        )
    }

    async fn ask(&self, ip: IpAddr) -> Result<()> {
        match self {
            Self::Grpc { port, service } => {
                let channel = Endpoint::from_shared(format!("http://{ip}:{port}"))?.connect().await?;
                let request = HealthCheckRequest { service: service.clone() };
                let answer = HealthClient::new(channel).check(request).await?.into_inner();
                if answer.status() == ServingStatus::Serving { Ok(()) } else { bail!("not serving") }
            }
            Self::Http { port, path } => {
                let client = reqwest::Client::builder().no_proxy().build()?;
                client.get(format!("http://{ip}:{port}{path}")).send().await?.error_for_status()?;
                Ok(())
            }
            Self::Tcp { port } => Ok(TcpStream::connect((ip, *port)).await.map(drop)?),
        }
    }
}

/// The number of a port that may be named.
pub(super) fn port(port: &IntOrString, container: &Container) -> Result<u16> {
    match port {
        IntOrString::Int(port) => number(*port),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_ref() == Some(name))
            .with_context(|| format!("container {} has no port named {name}", container.name))
            .and_then(|port| number(port.container_port)),
    }
}

fn number(port: i32) -> Result<u16> {
    u16::try_from(port).with_context(|| format!("{port} is no port"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container() -> Container {
        serde_json::from_value(json!({ "name": "c", "ports": [{ "name": "grpc", "containerPort": 7443 }] }))
            .unwrap()
    }

    #[test]
    fn it_changes_its_mind_only_at_the_thresholds() {
        let probe =
            serde_json::from_value(json!({ "grpc": { "port": 7443 }, "failureThreshold": 2 })).unwrap();
        let mut readiness = Prober::new(&probe, &container(), false).unwrap();
        let course = [true, false, true, false, false, true].map(|answer| readiness.judge(answer));
        assert_eq!(course, [true, true, true, true, false, true]);
    }

    #[test]
    fn ports_may_be_named() {
        let probe = serde_json::from_value(json!({ "tcpSocket": { "port": "grpc" } })).unwrap();
        assert_eq!(Prober::new(&probe, &container(), false).unwrap().check, Check::Tcp { port: 7443 });
        let unknown = serde_json::from_value(json!({ "tcpSocket": { "port": "http" } })).unwrap();
        let error = Prober::new(&unknown, &container(), false).unwrap_err();
        assert!(error.to_string().contains("no port named http"), "{error}");
    }
}
