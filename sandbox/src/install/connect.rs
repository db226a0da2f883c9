//! Calls to the coordinators, by who trusts the authority that they have announced.

use std::fmt::Display;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::{COORDINATOR, Installation, NAMESPACE, PodProcess};

impl Installation {
    /// The authorities that coordinators' certificates come from, in PEM.
    pub async fn authorities(&self) -> Result<String> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.surroundings.client.clone(), NAMESPACE);
        let announced = config_maps.get("mechanic-ca").await.context("no authority is announced")?;
        announced
            .data
            .and_then(|mut data| data.remove("ca.crt"))
            .context("ConfigMap mechanic-ca has no ca.crt")
    }

    /// How the coordinator at `address` (host:port) is reached.
    pub async fn endpoint(&self, address: impl Display) -> Result<Endpoint> {
        let authority = Certificate::from_pem(self.authorities().await?);
        let tls = ClientTlsConfig::new().ca_certificate(authority).domain_name(COORDINATOR);
        Ok(Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?)
    }

    /// A connection to the coordinator at `address` (host:port).
    pub async fn connect(&self, address: impl Display) -> Result<Channel> {
        Ok(self.endpoint(address).await?.connect().await?)
    }

    /// A coordinator's metrics, as Prometheus gets them.
    pub async fn metrics(&self, pod: &PodProcess) -> Result<Metrics> {
        self.http(pod, "/metrics").await.map(Metrics)
    }

    /// What a coordinator answers over plain HTTP, with its head.
    pub async fn http(&self, pod: &PodProcess, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect((pod.ip, 8080)).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

/// What a coordinator measures.
#[derive(Clone, Debug)]
pub struct Metrics(String);

impl Metrics {
    /// A sample by its name and labels as Prometheus shows them.
    pub fn sample(&self, name: &str) -> Result<f64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.with_context(|| format!("no {name} in {}", self.0))?;
        value.parse().with_context(|| format!("{name} is {value:?}, which is no number"))
    }
}
