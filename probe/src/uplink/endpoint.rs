//! How a coordinator is reached: the one place that knows of TLS and of the token.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use tokio::time::timeout;
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri},
};

/// Whatever address a coordinator has, this is the name in its certificate.
const SERVER_NAME: &str = "mechanic-coordinator";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A node that vanishes sends no farewell; without pings an idle stream would look alive for ever.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses, trust and token.
#[derive(Clone, Debug)]
pub struct Coordinators {
    /// host:port of any coordinator.
    pub address: String,
    /// The authorities that coordinators' certificates come from. Read again at each connection, since they change.
    pub authorities_file: PathBuf,
    /// Read again at each connection, since the kubelet renews it.
    pub token_file: PathBuf,
}

impl Coordinators {
    /// A fresh connection to `address`: one that is kept would stay with a coordinator that doesn't lead.
    pub(super) async fn connect(&self, address: &str) -> anyhow::Result<Channel> {
        let endpoint = self.endpoint(address)?;
        // The endpoint's own limit ends before the handshake, and a coordinator that is frozen answers none.
        let Ok(connected) = timeout(CONNECT_TIMEOUT, endpoint.connect()).await else {
            bail!("the coordinator at {address} did not answer within {} s", CONNECT_TIMEOUT.as_secs());
        };
        connected.with_context(|| format!("no connection to the coordinator at {address}"))
    }

    /// What goes into `authorization`.
    pub(super) fn authorization(&self) -> anyhow::Result<MetadataValue<Ascii>> {
        let file = self.token_file.display();
        let token = std::fs::read_to_string(&self.token_file)
            .with_context(|| format!("the token can't be read from {file}"))?;
        let Ok(mut value) = MetadataValue::try_from(format!("Bearer {}", token.trim())) else {
            bail!("what stands in {file} is no token");
        };
        value.set_sensitive(true);
        Ok(value)
    }

    fn endpoint(&self, address: &str) -> anyhow::Result<Endpoint> {
        let uri = Uri::builder()
            .scheme("https")
            .authority(address)
            .path_and_query("/")
            .build()
            .with_context(|| format!("{address:?} is not an address of the form host:port"))?;
        if uri.port().is_none() {
            bail!("{address:?} is not an address of the form host:port");
        }
        let endpoint = Endpoint::from(uri)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        let authorities = std::fs::read(&self.authorities_file).with_context(|| {
            format!(
                "no coordinator can be trusted yet, since {} can't be read; coordinators announce their authority there",
                self.authorities_file.display()
            )
        })?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authorities))
            .domain_name(SERVER_NAME);
        Ok(endpoint.tls_config(tls)?)
    }
}
