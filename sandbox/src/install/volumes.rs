//! A pod's volumes as files: projected tokens, ConfigMaps, Secrets, the downward API, empty folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, KeyToPath, Pod, Secret, ServiceAccount, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};
use kube::Client;
use kube::api::{Api, PostParams};

use super::container::PodFacts;

/// The kubelet looks at ConfigMaps and Secrets about once a minute, or as its `--sync-frequency` says; here it is quicker, so that
/// nobody waits for it.
const REFRESH: Duration = Duration::from_secs(20);
const UNTIL_IT_EXISTS: Duration = Duration::from_secs(1);
/// The kubelet asks for an hour where the pod doesn't say.
const DEFAULT_TOKEN_SECONDS: i64 = 3600;
/// This ConfigMap is the cluster's authority and never changes.
const ROOT_CA: &str = "kube-root-ca.crt";

/// Writes a pod's volumes below `folder`, one folder each.
pub(super) struct Volumes {
    pub(super) client: Client,
    pub(super) facts: PodFacts,
    pub(super) folder: PathBuf,
}

impl Volumes {
    /// Writes everything anew. Returns after how long it should be done again: before a token expires.
    pub(super) async fn write(&self, pod: &Pod) -> Result<Option<Duration>> {
        let mut next: Option<Duration> = None;
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let again = self.write_volume(volume).await.with_context(|| {
                format!("volume {} of pod {} can't be made", volume.name, self.facts.name)
            })?;
            next = [next, again].into_iter().flatten().min();
        }
        Ok(next)
    }

    async fn write_volume(&self, volume: &Volume) -> Result<Option<Duration>> {
        let folder = self.folder.join(&volume.name);
        tokio::fs::create_dir_all(&folder).await?;
        if let Some(projected) = &volume.projected {
            let mut next: Option<Duration> = None;
            for source in projected.sources.iter().flatten() {
                let again = self.write_projection(&folder, source).await?;
                next = [next, again].into_iter().flatten().min();
            }
            return Ok(next);
        }
        if let Some(source) = &volume.config_map {
            let optional = source.optional == Some(true);
            return self.write_config_map(&folder, &source.name, source.items.as_deref(), optional).await;
        }
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let optional = source.optional == Some(true);
            return self.write_secret(&folder, name, source.items.as_deref(), optional).await;
        }
        if volume.empty_dir.is_some() {
            return Ok(None);
        }
        bail!("the sandbox's kubelet knows no volume of this kind")
    }

    async fn write_projection(&self, folder: &Path, source: &VolumeProjection) -> Result<Option<Duration>> {
        if let Some(token) = &source.service_account_token {
            return self.write_token(folder, token).await.map(Some);
        }
        if let Some(map) = &source.config_map {
            let optional = map.optional == Some(true);
            return self.write_config_map(folder, &map.name, map.items.as_deref(), optional).await;
        }
        if let Some(downward) = &source.downward_api {
            for item in downward.items.iter().flatten() {
                let field = item.field_ref.as_ref().context("only fieldRef works in a downward volume")?;
                write_whole(&folder.join(&item.path), &self.facts.field(&field.field_path)?).await?;
            }
            return Ok(None);
        }
        bail!("the sandbox's kubelet knows no projection of this kind")
    }

    async fn write_token(&self, folder: &Path, wanted: &ServiceAccountTokenProjection) -> Result<Duration> {
        let facts = &self.facts;
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: wanted.audience.clone().into_iter().collect(),
                expiration_seconds: Some(wanted.expiration_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS)),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: Some(facts.name.clone()),
                    uid: Some(facts.uid.clone()),
                }),
            },
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &facts.namespace);
        let answer = accounts
            .create_token_request(&facts.service_account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for service account {}", facts.service_account))?;
        let seconds = answer.spec.expiration_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS);
        let status = answer.status.context("the API server granted a token without a status")?;
        write_whole(&folder.join(&wanted.path), &status.token).await?;
        // The kubelet renews at four fifths of a token's life.
        Ok(Duration::from_secs(seconds.unsigned_abs() * 4 / 5))
    }

    async fn write_config_map(
        &self,
        folder: &Path,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: bool,
    ) -> Result<Option<Duration>> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.facts.namespace);
        let again = (name != ROOT_CA).then_some(REFRESH);
        let Some(map) = maps.get_opt(name).await? else {
            return missing("ConfigMap", name, optional);
        };
        for (path, text) in wanted(map.data, items) {
            write_whole(&folder.join(path), &text).await?;
        }
        Ok(again)
    }

    async fn write_secret(
        &self,
        folder: &Path,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: bool,
    ) -> Result<Option<Duration>> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.facts.namespace);
        let Some(secret) = secrets.get_opt(name).await? else {
            return missing("Secret", name, optional);
        };
        for (path, bytes) in wanted(secret.data, items) {
            write_whole(&folder.join(path), bytes.0).await?;
        }
        Ok(Some(REFRESH))
    }
}

fn missing(kind: &str, name: &str, optional: bool) -> Result<Option<Duration>> {
    if optional {
        return Ok(Some(UNTIL_IT_EXISTS));
    }
    bail!("{kind} {name} doesn't exist")
}

/// What a volume shows of an object's data, by path: all of it, or these items.
fn wanted<T>(
    data: Option<BTreeMap<String, T>>,
    items: Option<&[KeyToPath]>,
) -> impl Iterator<Item = (String, T)> {
    data.unwrap_or_default().into_iter().filter_map(move |(key, value)| {
        let path = match items {
            None => key,
            Some(items) => items.iter().find(|item| item.key == key)?.path.clone(),
        };
        Some((path, value))
    })
}

/// The file that holds the token for this audience, among the pod's projected volumes.
pub(super) fn token_file(pod: &Pod, volumes: &Path, audience: &str) -> Option<PathBuf> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).find_map(|volume| {
        let sources = volume.projected.as_ref()?.sources.as_ref()?;
        sources.iter().find_map(|source| {
            let token = source.service_account_token.as_ref()?;
            let is_it = token.audience.as_deref() == Some(audience);
            is_it.then(|| volumes.join(&volume.name).join(&token.path))
        })
    })
}

/// Replaces a file as a whole, so that nobody reads half of it.
pub(super) async fn write_whole(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let new = path.with_extension("new");
    tokio::fs::write(&new, content).await?;
    tokio::fs::rename(&new, path).await.with_context(|| format!("can't write {}", path.display()))
}
