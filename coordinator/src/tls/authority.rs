//! An authority, and the leaf certificates that it signs.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::has_expired;

const AUTHORITY_LIVES: Duration = Duration::from_hours(10 * 365 * 24);
/// How long a leaf certificate is good for.
pub(super) const LEAF_LIVES: Duration = Duration::from_hours(24);
/// Clocks of nodes may be off by an hour, in either direction.
const BACKDATED: Duration = Duration::from_hours(2);

/// A certificate that vouches for others, and its key.
pub(super) struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A new authority as it is kept.
pub(super) struct Written {
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
}

impl Authority {
    /// Makes one.
    pub(super) fn generate(now: Timestamp) -> Result<Written, String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let mut params = params(Vec::new(), "mechanic authority", now, AUTHORITY_LIVES)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
        Ok(Written { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Reads one. What is said of one that is refused never shows any of it.
    pub(super) fn read(certificate_pem: &str, key_pem: &str, now: Timestamp) -> Result<Self, String> {
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| "`tls.crt` is no certificate in PEM".to_owned())?;
        let (_, certificate) =
            X509Certificate::from_der(&der).map_err(|_| "`tls.crt` is no X.509 certificate".to_owned())?;
        if !certificate.is_ca() {
            return Err("`tls.crt` is no authority's certificate (basic constraint CA)".to_owned());
        }
        if has_expired(&certificate, now) {
            return Err(format!("`tls.crt` has expired, {}", certificate.validity().not_after));
        }
        let key = || PrivateKeyDer::from_pem_slice(key_pem.as_bytes());
        let certified = key().ok().and_then(|key| {
            CertifiedKey::from_der(vec![der.clone().into_owned()], key, &ring::default_provider()).ok()
        });
        if certified.is_none() {
            return Err("`tls.key` is not the key of `tls.crt`".to_owned());
        }
        let key = KeyPair::from_pem(key_pem).map_err(|_| {
            "`tls.key` is no key to sign with: ECDSA P-256 or P-384, Ed25519 or RSA as PKCS #8".to_owned()
        })?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| error.to_string())?;
        Ok(Self { certificate_pem: certificate_pem.trim().to_owned() + "\n", issuer })
    }

    /// Its certificate.
    pub(super) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Signs a leaf certificate for these names, with a key that exists in memory only.
    pub(super) fn issue(&self, names: &[String], now: Timestamp) -> Result<CertifiedKey, String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let mut params = params(names.to_vec(), "mechanic-coordinator", now, LEAF_LIVES)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|error| error.to_string())?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        CertifiedKey::from_der(vec![certificate.der().clone()], key.into(), &ring::default_provider())
            .map_err(|error| error.to_string())
    }
}

fn params(
    names: Vec<String>,
    common_name: &str,
    now: Timestamp,
    lives: Duration,
) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::new(names).map_err(|error| error.to_string())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = OffsetDateTime::from_unix_timestamp(now.as_second()).map_err(|error| error.to_string())?;
    (params.not_before, params.not_after) = (now - BACKDATED, now + lives);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier},
        pki_types::{ServerName, UnixTime},
    };

    use super::*;

    fn now() -> Timestamp {
        "2026-11-26T12:00:00Z".parse().unwrap()
    }

    fn authority() -> Authority {
        let written = Authority::generate(now()).unwrap();
        Authority::read(&written.certificate_pem, &written.key_pem, now()).unwrap()
    }

    /// Whether whoever trusts `authority` believes `leaf` to be `name` at that time.
    fn believes(authority: &Authority, leaf: &CertifiedKey, name: &str, at: Timestamp) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let seconds = u64::try_from(at.as_second()).unwrap();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(leaf.end_entity_cert().unwrap(), &[], &name, &[], at).is_ok()
    }

    #[test]
    fn a_leaf_is_believed_for_its_name_and_its_day_by_whoever_trusts_its_authority() {
        let (ours, theirs) = (authority(), authority());
        let leaf = ours.issue(&["mechanic-coordinator".to_owned()], now()).unwrap();
        assert!(believes(&ours, &leaf, "mechanic-coordinator", now()));
        assert!(
            believes(&ours, &leaf, "mechanic-coordinator", now() - Duration::from_hours(1)),
            "a slow clock"
        );
        assert!(!believes(&ours, &leaf, "mechanic-coordinator", now() + Duration::from_hours(25)));
        assert!(!believes(&ours, &leaf, "localhost", now()));
        assert!(!believes(&theirs, &leaf, "mechanic-coordinator", now()));
    }

    #[test]
    fn what_is_no_authority_is_refused_without_showing_its_key() {
        let (one, two) = (Authority::generate(now()).unwrap(), Authority::generate(now()).unwrap());
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["x".to_owned()]).unwrap().self_signed(&leaf_key).unwrap();
        let late = now() + AUTHORITY_LIVES + Duration::from_hours(1);
        for (certificate, key, at, part) in [
            (one.certificate_pem.as_str(), two.key_pem.as_str(), now(), "not the key"),
            (&one.certificate_pem, "nonsense", now(), "not the key"),
            ("nonsense", &one.key_pem, now(), "no certificate"),
            (&one.key_pem, &one.key_pem, now(), "no certificate"),
            (&leaf.pem(), &leaf_key.serialize_pem(), now(), "no authority"),
            (&one.certificate_pem, &one.key_pem, late, "expired"),
        ] {
            let Err(refusal) = Authority::read(certificate, key, at) else { panic!("{part}") };
            assert!(refusal.contains(part), "{refusal}");
            assert!(!refusal.contains("PRIVATE KEY") && !refusal.contains("nonsense"), "{refusal}");
        }
    }
}
