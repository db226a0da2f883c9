//! Who the coordinators are, to whoever calls them: TLS with certificates that one authority vouches for.
//!
//! Usually that authority is mechanic's own: made once, kept in a Secret, announced to probes in a ConfigMap
//! ([`Agreed`]); leaf certificates live in memory only. Or certificate and key are files that somebody else keeps current,
//! cert-manager for one ([`Mounted`]). No key is ever part of a log line, an error or a debug output.

mod accept;
mod agreed;
mod authority;
mod bundle;
mod identity;
mod mounted;

use std::time::Duration;

use anyhow::Result;
use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use kube::Client;
use x509_parser::certificate::X509Certificate;

pub(crate) use accept::incoming;
pub(crate) use identity::Identity;

use crate::arguments::CertificateFiles;
use agreed::Agreed;
use mounted::Mounted;

/// What every certificate is for, whatever address a coordinator has.
pub(crate) const SERVER_NAME: &str = "mechanic-coordinator";

/// Finds out who this coordinator is: returns that, and what keeps it current for as long as the process runs. With an
/// authority of mechanic's own it returns once there is one.
///
/// # Errors
/// Where the files that were given are no certificate to serve with.
pub(crate) async fn establish(
    client: Client,
    namespace: &str,
    files: Option<CertificateFiles>,
    overlap: Duration,
) -> Result<(Identity, BoxFuture<'static, ()>)> {
    if let Some(files) = files {
        let (mounted, identity) = Mounted::read(files)?;
        return Ok((identity, mounted.keep().boxed()));
    }
    let (agreed, identity) = Agreed::establish(client, namespace, overlap).await;
    Ok((identity, agreed.keep().boxed()))
}

/// Whether a certificate is no longer good.
fn has_expired(certificate: &X509Certificate<'_>, now: Timestamp) -> bool {
    certificate.validity().not_after.timestamp() <= now.as_second()
}
