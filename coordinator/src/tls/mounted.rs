//! Certificate, key and authority as files that somebody else keeps current, such as cert-manager.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{Identity, SERVER_NAME, has_expired};
use crate::arguments::CertificateFiles;

/// The kubelet changes files of a Secret about once a minute.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Files, looked at again and again.
pub(crate) struct Mounted {
    files: CertificateFiles,
    identity: Identity,
    /// The certificates as they were read last.
    certificates: String,
    authorities: String,
}

impl Mounted {
    pub(super) fn read(files: CertificateFiles) -> Result<(Self, Identity)> {
        let (certificates, authorities) = (text(&files.certificate)?, text(&files.authority)?);
        let certified = certified(&certificates, &files.key, Timestamp::now())
            .with_context(|| format!("no certificate to serve with in {}", files.certificate.display()))?;
        let identity = Identity::new(certified, authorities.clone());
        Ok((Self { files, identity: identity.clone(), certificates, authorities }, identity))
    }

    pub(super) async fn keep(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.look() {
                tracing::warn!("what was read before stays in force: {error:#}");
            }
        }
    }

    fn look(&mut self) -> Result<()> {
        let authorities = text(&self.files.authority)?;
        if authorities != self.authorities {
            self.identity.trust(authorities.clone());
            self.authorities = authorities;
        }
        let certificates = text(&self.files.certificate)?;
        if certificates != self.certificates {
            self.identity.present(certified(&certificates, &self.files.key, Timestamp::now())?);
            self.certificates = certificates;
            tracing::info!("a new certificate is presented from now on");
        }
        Ok(())
    }
}

fn certified(certificates: &str, key: &Path, now: Timestamp) -> Result<CertifiedKey> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificates.as_bytes()).collect::<Result<_, _>>()?;
    let Some(leaf) = chain.first() else { bail!("there is none") };
    check(leaf, now)?;
    // What went wrong with a key is said without a word of it.
    let key_der = fs::read(key)
        .ok()
        .and_then(|pem| PrivateKeyDer::from_pem_slice(&pem).ok())
        .with_context(|| format!("there is no private key in {}", key.display()))?;
    CertifiedKey::from_der(chain, key_der, &ring::default_provider())
        .ok()
        .with_context(|| format!("what stands in {} is not its key", key.display()))
}

fn check(leaf: &CertificateDer<'_>, now: Timestamp) -> Result<()> {
    let (_, certificate) = X509Certificate::from_der(leaf)?;
    if has_expired(&certificate, now) {
        bail!("it has expired, {}", certificate.validity().not_after);
    }
    let names = certificate.subject_alternative_name()?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    if !names.into_iter().any(|name| matches!(name, GeneralName::DNSName(SERVER_NAME))) {
        bail!("it is not for the DNS name {SERVER_NAME}, which probes ask for");
    }
    Ok(())
}

fn text(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn written(folder: &Path, name: &str) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let file = |file: &str, text: String| {
            let path = folder.join(file);
            fs::write(&path, text).unwrap();
            path
        };
        CertificateFiles {
            certificate: file("tls.crt", certificate.pem()),
            key: file("tls.key", key.serialize_pem()),
            authority: file("ca.crt", certificate.pem()),
        }
    }

    #[test]
    fn a_certificate_for_another_name_or_without_its_key_is_refused() {
        let folder = std::env::temp_dir().join(format!("mechanic-mounted-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let refusal = |files| match Mounted::read(files) {
            Ok(_) => String::new(),
            Err(error) => format!("{error:#}"),
        };
        let right = written(&folder, SERVER_NAME);
        assert_eq!(refusal(right.clone()), "");
        let key_of_another = CertificateFiles { key: right.authority.clone(), ..right.clone() };
        assert!(refusal(key_of_another).contains("no private key"));
        fs::write(&right.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(refusal(right).contains("not its key"));
        assert!(refusal(written(&folder, "localhost")).contains("not for the DNS name"));
        let _ = fs::remove_dir_all(folder);
    }
}
