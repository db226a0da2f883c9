//! The certificate that is presented now, and the authorities that are trusted now.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tonic::transport::{Certificate, ClientTlsConfig};

use super::SERVER_NAME;

/// Shared by everything that serves or calls; streams that are open outlive a change.
#[derive(Clone)]
pub(crate) struct Identity {
    current: Arc<RwLock<Current>>,
}

struct Current {
    certified: Arc<CertifiedKey>,
    /// PEM.
    authorities: String,
}

impl Identity {
    pub(super) fn new(certified: CertifiedKey, authorities: String) -> Self {
        let current = Current { certified: Arc::new(certified), authorities };
        Self { current: Arc::new(RwLock::new(current)) }
    }

    /// From now on this certificate is presented.
    pub(super) fn present(&self, certified: CertifiedKey) {
        self.current.write().unwrap_or_else(PoisonError::into_inner).certified = Arc::new(certified);
    }

    /// From now on these are trusted.
    pub(super) fn trust(&self, authorities: String) {
        self.current.write().unwrap_or_else(PoisonError::into_inner).authorities = authorities;
    }

    /// For serving.
    pub(super) fn server_config(&self) -> ServerConfig {
        let mut config =
            ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// For calling another coordinator.
    pub(crate) fn client_config(&self) -> ClientTlsConfig {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&current.authorities))
            .domain_name(SERVER_NAME)
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).certified))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}
