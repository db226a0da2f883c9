//! Who calls, and what they may: asked of the API server, never read from a message.

mod cache;
mod refusal;
mod review;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use tokio::sync::Semaphore;
use tonic::metadata::MetadataMap;

pub(crate) use refusal::Refusal;
pub(crate) use review::BoundNode;

use crate::metrics::Metrics;
use cache::{Cache, Fingerprint};
use review::Reviews;

/// A token that was reviewed isn't reviewed again for so long: whoever calls in a loop costs the API server little, and a
/// token that is revoked is refused soon.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Questions to the API server at once.
const AT_ONCE: usize = 32;

/// Tells callers apart.
#[derive(Clone)]
pub(crate) struct Callers {
    reviews: Reviews,
    probe_account: Arc<str>,
    tokens: Arc<Cache<Result<UserInfo, Refusal>>>,
    readers: Arc<Cache<Result<(), Refusal>>>,
    room: Arc<Semaphore>,
    metrics: Metrics,
}

impl Callers {
    /// Probes are those of this namespace.
    pub(crate) fn new(client: Client, namespace: &str, metrics: Metrics) -> Self {
        Self {
            reviews: Reviews::new(client),
            probe_account: format!("system:serviceaccount:{namespace}:mechanic-probe").into(),
            tokens: Arc::new(Cache::new(REMEMBERED)),
            readers: Arc::new(Cache::new(REMEMBERED)),
            room: Arc::new(Semaphore::new(AT_ONCE)),
            metrics,
        }
    }

    /// The Node that the calling probe's token is bound to.
    ///
    /// # Errors
    /// Where the caller is no probe, or that can't be known now.
    pub(crate) async fn probe(&self, metadata: &MetadataMap) -> Result<BoundNode, Refusal> {
        let token = bearer(metadata)?;
        review::bound_node(&self.user(token).await?, &self.probe_account)
    }

    /// Lets pass who may `get nodes` in Kubernetes: `FleetService` tells nothing more.
    ///
    /// # Errors
    /// Where the caller may not, or that can't be known now.
    pub(crate) async fn reader(&self, metadata: &MetadataMap) -> Result<(), Refusal> {
        let token = bearer(metadata)?;
        let key = Fingerprint::of(token);
        if let Some(remembered) = self.readers.get(&key) {
            return remembered;
        }
        let user = self.user(token).await?;
        let answer = {
            let _room = self.room.acquire().await;
            self.reviews.may_get_nodes(user).await
        };
        self.readers.remember(key, answer.clone(), worth_remembering(&answer));
        answer
    }

    async fn user(&self, token: &str) -> Result<UserInfo, Refusal> {
        let key = Fingerprint::of(token);
        if let Some(remembered) = self.tokens.get(&key) {
            return remembered;
        }
        let answer = {
            let _room = self.room.acquire().await;
            self.reviews.token(token).await
        };
        self.metrics.token_reviewed(&answer);
        self.tokens.remember(key, answer.clone(), worth_remembering(&answer));
        answer
    }
}

/// What the API server couldn't say is asked again at once.
fn worth_remembering<T>(answer: &Result<T, Refusal>) -> bool {
    !matches!(answer, Err(Refusal::NotReviewed))
}

fn bearer(metadata: &MetadataMap) -> Result<&str, Refusal> {
    metadata
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .filter(|token| !token.is_empty())
        .ok_or(Refusal::NoToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_taken() {
        for (value, ok) in [("Bearer abc", true), ("Bearer ", false), ("Basic abc", false)] {
            let mut metadata = MetadataMap::new();
            metadata.insert("authorization", value.parse().unwrap());
            assert_eq!(bearer(&metadata).is_ok(), ok, "{value}");
        }
        assert!(bearer(&MetadataMap::new()).is_err());
    }
}
