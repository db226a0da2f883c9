//! Calls to the coordinators, by who trusts the authority that they have announced.

use std::fmt::Display;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::{COORDINATOR, Installation, NAMESPACE};

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
}
