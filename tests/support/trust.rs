//! Who believes whom: coordinators seen by their certificates, and the streams of the probes that believe them.

use mechanic_sandbox::install::PodProcess;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::support::House;

impl House {
    /// Whether who trusts that authority alone believes this coordinator.
    pub(crate) async fn is_believed(&self, pod: &PodProcess, authority: &str) -> bool {
        let trust = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority))
            .domain_name("mechanic-coordinator");
        let endpoint = Endpoint::from_shared(format!("https://{}:7443", pod.ip)).unwrap();
        endpoint.tls_config(trust).unwrap().connect().await.is_ok()
    }

    /// How often the probes' streams have been accepted, in all.
    pub(crate) fn accepted_streams(&self) -> usize {
        let of_probe = |node: &mechanic_sandbox::nodes::NodeSpec| {
            let log = self.logs_of(&self.installation.probe_on(&node.name).unwrap());
            log.lines().filter(|line| line.contains("epoch=") || line.contains("\"epoch\"")).count()
        };
        self.nodes.iter().map(of_probe).sum()
    }
}
