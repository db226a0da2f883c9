//! Who calls, and what they may: asked of the API server, never read from a message.

mod cache;
mod refusal;
mod review;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use tonic::metadata::MetadataMap;

pub(crate) use refusal::Refusal;
pub(crate) use review::BoundNode;

use crate::metrics::Metrics;
use cache::{Cache, Fingerprint};
use review::Reviews;

/// A token that was reviewed isn't reviewed again for so long: whoever calls in a loop costs the API server little, and a
/// token that is revoked is refused soon.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Tells callers apart.
#[derive(Clone)]
pub(crate) struct Callers {
    reviews: Reviews,
    probe_account: Arc<str>,
    tokens: Arc<Cache<Result<UserInfo, Refusal>>>,
    readers: Arc<Cache<Result<(), Refusal>>>,
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
        let ask = async { self.reviews.may_get_nodes(self.user(token).await?).await };
        once(&self.readers, token, ask).await
    }

    async fn user(&self, token: &str) -> Result<UserInfo, Refusal> {
        let ask = async {
            let answer = self.reviews.token(token).await;
            self.metrics.token_reviewed(&answer);
            answer
        };
        once(&self.tokens, token, ask).await
    }
}

/// What is remembered of the token, or what is found out now.
async fn once<T: Clone>(
    cache: &Cache<Result<T, Refusal>>,
    token: &str,
    ask: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let key = Fingerprint::of(token);
    if let Some(remembered) = cache.get(&key) {
        return remembered;
    }
    let answer = ask.await;
    // What the API server couldn't say is asked again at once.
    cache.remember(key, answer.clone(), !matches!(answer, Err(Refusal::NotReviewed)));
    answer
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
