//! mechanic's own authority: made once, by whichever coordinator is first, and agreed upon by compare-and-swap.

use std::{collections::BTreeMap, time::Duration};

use http::Request;
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, Client, Resource,
    api::PostParams,
    core::{ObjectMeta, Status},
};
use tokio::time::Instant;

use super::{
    Identity, SERVER_NAME,
    authority::{Authority, LEAF_LIVES},
    bundle,
};

const SECRET: &str = "mechanic-authority";
const CONFIG_MAP: &str = "mechanic-ca";
const BUNDLE: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const TRY_AGAIN: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Somebody else has written the ConfigMap in the meantime, so often in a row.
const CONFLICTS: usize = 5;

/// The authority in the Secret, followed through its replacements.
pub(crate) struct Agreed {
    cluster: Cluster,
    identity: Identity,
    names: Vec<String>,
    /// How long a new authority is announced before it signs: until each probe has read of it. The Secret is looked at
    /// ten times as often.
    overlap: Duration,
    signs: Authority,
    issued: Instant,
    /// It signs from then on.
    next: Option<(Authority, Instant)>,
}

impl Agreed {
    /// Returns once there is an authority that this coordinator can sign with, and that is announced.
    pub(super) async fn establish(client: Client, namespace: &str, overlap: Duration) -> (Self, Identity) {
        let cluster = Cluster { client, namespace: namespace.to_owned() };
        let names = vec![
            SERVER_NAME.to_owned(),
            format!("{SERVER_NAME}.{namespace}"),
            format!("{SERVER_NAME}.{namespace}.svc"),
        ];
        loop {
            match Self::try_establish(&cluster, &names).await {
                Ok((signs, identity)) => {
                    let agreed = Self {
                        cluster,
                        identity: identity.clone(),
                        names,
                        overlap,
                        signs,
                        issued: Instant::now(),
                        next: None,
                    };
                    return (agreed, identity);
                }
                Err(why) => {
                    tracing::warn!("not serving yet, since there is no authority to sign with: {why}");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    async fn try_establish(cluster: &Cluster, names: &[String]) -> Result<(Authority, Identity), String> {
        let authority = match cluster.authority().await? {
            Some(authority) => authority,
            None => cluster.make_authority().await?,
        };
        let authorities = cluster.announce(&authority).await?;
        let certified = authority.issue(names, Timestamp::now())?;
        Ok((authority, Identity::new(certified, authorities)))
    }

    /// Follows the Secret, and renews the leaf certificate at half its life.
    pub(super) async fn keep(mut self) {
        loop {
            tokio::time::sleep(self.overlap / 10).await;
            match self.cluster.authority().await {
                Ok(Some(authority)) => self.follow(authority).await,
                Ok(None) => tracing::warn!(
                    "Secret {SECRET} is gone; this process goes on, and the next to start makes a new authority"
                ),
                Err(why) => tracing::warn!("what stands in Secret {SECRET} is not followed: {why}"),
            }
            let due = self.next.take_if(|(_, from)| *from <= Instant::now());
            let replaced = due.is_some();
            self.signs = due.map_or(self.signs, |(authority, _)| authority);
            if replaced || self.issued.elapsed() >= LEAF_LIVES / 2 {
                match self.signs.issue(&self.names, Timestamp::now()) {
                    Ok(certified) => {
                        self.identity.present(certified);
                        self.issued = Instant::now();
                        tracing::info!(replaced, "a new certificate is presented from now on");
                    }
                    Err(why) => tracing::warn!("the certificate is not renewed: {why}"),
                }
            }
        }
    }

    /// Sees to it that probes trust the authority in the Secret, and that it signs once they do.
    async fn follow(&mut self, authority: Authority) {
        let authorities = match self.cluster.announce(&authority).await {
            Ok(authorities) => authorities,
            Err(why) => return tracing::warn!("the authority in Secret {SECRET} is not announced: {why}"),
        };
        self.identity.trust(authorities);
        let is = |known: &Authority| known.certificate_pem() == authority.certificate_pem();
        if is(&self.signs) {
            self.next = None;
        } else if !self.next.as_ref().is_some_and(|(next, _)| is(next)) {
            tracing::info!(
                "a new authority is announced in ConfigMap {CONFIG_MAP}; it signs {} s from now",
                self.overlap.as_secs()
            );
            self.next = Some((authority, Instant::now() + self.overlap));
        }
    }
}

struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    /// The authority in the Secret, if there is one.
    async fn authority(&self) -> Result<Option<Authority>, String> {
        // Read as text: a library that can't make sense of an answer may log all of it.
        let uri = format!("{}/{SECRET}", Secret::url_path(&(), Some(&self.namespace)));
        let request = Request::get(uri).body(Vec::new()).map_err(|error| error.to_string())?;
        let text = match within(self.client.request_text(request)).await {
            Ok(text) => text,
            Err(Refused::Absent) => return Ok(None),
            Err(why) => return Err(format!("Secret {SECRET} can't be read: {why}")),
        };
        let secret: Secret =
            serde_json::from_str(&text).map_err(|_| format!("Secret {SECRET} can't be understood"))?;
        let data = secret.data.unwrap_or_default();
        let part = |key: &str| data.get(key).and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
        let authority = match (part(CERTIFICATE), part(KEY)) {
            (Some(certificate), Some(key)) => Authority::read(certificate, key, Timestamp::now()),
            _ => Err(format!("it must have {CERTIFICATE} and {KEY}")),
        };
        authority
            .map(Some)
            .map_err(|why| format!("in Secret {SECRET}: {why}; a Secret that is deleted is made anew"))
    }

    /// Makes an authority, unless another coordinator has been faster.
    async fn make_authority(&self) -> Result<Authority, String> {
        let written = Authority::generate(Timestamp::now())?;
        let data = [(CERTIFICATE, written.certificate_pem), (KEY, written.key_pem)]
            .map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
        let secret = Secret {
            metadata: metadata(SECRET),
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(data.into()),
            ..Secret::default()
        };
        let uri = Secret::url_path(&(), Some(&self.namespace));
        let body = serde_json::to_vec(&secret).map_err(|_| "it can't be written down".to_owned())?;
        let request = Request::post(uri)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| error.to_string())?;
        match within(self.client.request_text(request)).await {
            Ok(_) => tracing::info!("Secret {SECRET} is made, with an authority for ten years"),
            Err(Refused::Conflict) => {}
            Err(why) => return Err(format!("Secret {SECRET} can't be made: {why}")),
        }
        // Whichever was first counts.
        self.authority().await?.ok_or_else(|| format!("Secret {SECRET} has gone again"))
    }

    /// Puts the authority among those that probes trust, and returns these.
    async fn announce(&self, authority: &Authority) -> Result<String, String> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let parameters = PostParams::default();
        for _ in 0..CONFLICTS {
            let present = match within(config_maps.get(CONFIG_MAP)).await {
                Ok(config_map) => Some(config_map),
                Err(Refused::Absent) => None,
                Err(why) => return Err(format!("ConfigMap {CONFIG_MAP} can't be read: {why}")),
            };
            let before = present.as_ref().and_then(|present| present.data.as_ref()?.get(BUNDLE).cloned());
            let before = before.unwrap_or_default();
            let Some(bundle) = bundle::with(&before, authority.certificate_pem(), Timestamp::now()) else {
                return Ok(before);
            };
            let data = BTreeMap::from([(BUNDLE.to_owned(), bundle.clone())]);
            let written = if let Some(mut present) = present {
                present.meta_mut().managed_fields = None;
                present.data = Some(data);
                within(config_maps.replace(CONFIG_MAP, &parameters, &present)).await
            } else {
                let metadata = metadata(CONFIG_MAP);
                let first = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
                within(config_maps.create(&parameters, &first)).await
            };
            match written {
                Ok(_) => return Ok(bundle),
                Err(Refused::Conflict) => {}
                Err(why) => return Err(format!("ConfigMap {CONFIG_MAP} can't be written: {why}")),
            }
        }
        Err(format!("ConfigMap {CONFIG_MAP} is written by others again and again"))
    }
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("there is none")]
    Absent,
    #[error("it has changed meanwhile")]
    Conflict,
    #[error("{0}")]
    Other(String),
}

async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Refused> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(match *status {
            Status { code: 404, .. } => Refused::Absent,
            Status { code: 409, .. } => Refused::Conflict,
            Status { message, .. } => Refused::Other(message),
        }),
        Ok(Err(error)) => Err(Refused::Other(error.to_string())),
        Err(_) => Err(Refused::Other("it took too long".to_owned())),
    }
}

fn metadata(name: &str) -> ObjectMeta {
    let labels = [("app.kubernetes.io/part-of".to_owned(), "mechanic".to_owned())];
    ObjectMeta { name: Some(name.to_owned()), labels: Some(labels.into()), ..ObjectMeta::default() }
}
