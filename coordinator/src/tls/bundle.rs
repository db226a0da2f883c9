//! The authorities that probes trust, as PEM one after the other.

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::has_expired;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The bundle with that certificate, and without those that have expired or can't be read. `None` where that is what it is.
pub(super) fn with(bundle: &str, certificate_pem: &str, now: Timestamp) -> Option<String> {
    let mut kept: Vec<&str> = certificates(bundle).filter(|pem| is_good(pem, now)).collect();
    let new = certificates(certificate_pem).find(|new| !kept.iter().any(|old| same(old, new)));
    kept.extend(new);
    let with = kept.join("\n") + "\n";
    (with != bundle).then_some(with)
}

fn certificates(bundle: &str) -> impl Iterator<Item = &str> {
    bundle.split_inclusive(END).filter_map(|part| part.find(BEGIN).and_then(|begin| part.get(begin..)))
}

fn same(one: &str, two: &str) -> bool {
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).ok();
    der(one) == der(two)
}

fn is_good(pem: &str, now: Timestamp) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else { return false };
    !has_expired(&certificate, now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::authority::Authority, *};

    #[test]
    fn an_authority_is_added_once_and_an_expired_one_goes() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let ten_years = Duration::from_hours(10 * 365 * 24);
        let made = |at| Authority::generate(at).unwrap().certificate_pem;
        let (old, new, expired) = (made(now), made(now), made(now - ten_years - Duration::from_hours(1)));
        let first = with("", &old, now).unwrap();
        assert_eq!(with(&first, &old, now), None, "nothing to write");
        let both = with(&first, &new, now).unwrap();
        assert_eq!(certificates(&both).count(), 2);
        assert_eq!(with(&both, &old, now), None);
        let pruned =
            with(&format!("{expired}\n# a note\n{BEGIN}\nnonsense\n{END}\n{old}"), &old, now).unwrap();
        assert_eq!(pruned, first);
    }
}
