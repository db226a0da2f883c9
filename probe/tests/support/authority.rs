//! Authorities of the test's own, and certificates of theirs.

use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Identity, ServerTlsConfig};

pub type Authority = CertifiedIssuer<'static, KeyPair>;

pub fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The authority of every coordinator that isn't another's on purpose.
pub fn usual() -> &'static Authority {
    static USUAL: LazyLock<Authority> = LazyLock::new(authority);
    &USUAL
}

/// What a coordinator of that name presents.
pub fn certified(authority: &Authority, name: &str) -> ServerTlsConfig {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    ServerTlsConfig::new().identity(Identity::from_pem(certificate.pem(), key.serialize_pem()))
}
