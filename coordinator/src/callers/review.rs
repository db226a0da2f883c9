//! What the API server says of a token, and of who holds it.

use std::{fmt::Debug, sync::Arc, time::Duration};

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, Resource, api::PostParams, core::ClusterResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use super::Refusal;

/// The audience that a caller's token must be made for.
const AUDIENCE: &str = "mechanic-coordinator";

const TIMEOUT: Duration = Duration::from_secs(10);
/// Questions to the API server at once.
const AT_ONCE: usize = 32;

/// A Node that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoundNode {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// Asks the API server.
#[derive(Clone)]
pub(super) struct Reviews {
    client: Client,
    room: Arc<Semaphore>,
}

impl Reviews {
    pub(super) fn new(client: Client) -> Self {
        Self { client, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Who holds the token.
    pub(super) async fn token(&self, token: &str) -> Result<UserInfo, Refusal> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let answer = self.ask(&review).await?;
        accepted(answer.status.unwrap_or_default())
    }

    /// Whether this user may `get nodes`.
    pub(super) async fn may_get_nodes(&self, user: UserInfo) -> Result<(), Refusal> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
                resource_attributes: Some(ResourceAttributes {
                    verb: Some("get".to_owned()),
                    resource: Some("nodes".to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = self.ask(&review).await?;
        let allowed = answer.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        allowed.then_some(()).ok_or(Refusal::NotAReader)
    }

    async fn ask<K>(&self, review: &K) -> Result<K, Refusal>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let _room = self.room.acquire().await;
        let reviews = Api::<K>::all(self.client.clone());
        let parameters = PostParams::default();
        match tokio::time::timeout(TIMEOUT, reviews.create(&parameters, review)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                // The request may hold a token; what is said of its failure must not.
                tracing::warn!(%error, kind = %K::kind(&()), "a review was not made");
                Err(Refusal::NotReviewed)
            }
            Err(_) => Err(Refusal::NotReviewed),
        }
    }
}

/// A wrong audience comes back as `authenticated` absent, not false.
fn accepted(status: TokenReviewStatus) -> Result<UserInfo, Refusal> {
    let audience = status.audiences.iter().flatten().any(|audience| audience == AUDIENCE);
    match (status.authenticated, status.user) {
        (Some(true), Some(user)) if audience => Ok(user),
        _ => Err(Refusal::TokenRejected),
    }
}

pub(super) fn bound_node(user: &UserInfo, probe_account: &str) -> Result<BoundNode, Refusal> {
    if user.username.as_deref() != Some(probe_account) {
        return Err(Refusal::NotAProbe);
    }
    let claim = |key: &str| {
        let values = user.extra.as_ref()?.get(&format!("authentication.kubernetes.io/{key}"))?;
        match values.as_slice() {
            [value] if !value.is_empty() => Some(value.clone()),
            _ => None,
        }
    };
    match (claim("node-name"), claim("node-uid")) {
        (Some(name), Some(uid)) => Ok(BoundNode { name, uid }),
        _ => Err(Refusal::NoNode),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ACCOUNT: &str = "system:serviceaccount:mechanic:mechanic-probe";

    fn user(username: &str, extra: &[(&str, &[&str])]) -> UserInfo {
        let extra = extra.iter().map(|(key, values)| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            (format!("authentication.kubernetes.io/{key}"), values)
        });
        UserInfo {
            username: Some(username.into()),
            extra: Some(extra.collect::<BTreeMap<_, _>>()),
            ..UserInfo::default()
        }
    }

    #[test]
    fn the_node_is_the_one_that_the_token_is_bound_to() {
        let bound = bound_node(&user(ACCOUNT, &[("node-name", &["a"]), ("node-uid", &["u"])]), ACCOUNT);
        assert_eq!(bound.unwrap(), BoundNode { name: "a".into(), uid: "u".into() });
    }

    #[test]
    fn another_account_or_a_token_without_exactly_one_node_is_refused() {
        let node: &[(&str, &[&str])] = &[("node-name", &["a"]), ("node-uid", &["u"])];
        assert!(bound_node(&user("system:serviceaccount:mechanic:other", node), ACCOUNT).is_err());
        assert!(bound_node(&user("system:serviceaccount:else:mechanic-probe", node), ACCOUNT).is_err());
        for extra in [
            &[("node-name", &["a"] as &[&str])] as &[(&str, &[&str])],
            &[("node-name", &["a", "b"]), ("node-uid", &["u"])],
            &[("node-name", &[""]), ("node-uid", &["u"])],
            &[],
        ] {
            assert!(bound_node(&user(ACCOUNT, extra), ACCOUNT).is_err(), "{extra:?}");
        }
    }

    #[test]
    fn only_a_review_that_says_yes_for_our_audience_counts() {
        let status = |authenticated, audience: &str| TokenReviewStatus {
            authenticated,
            audiences: Some(vec![audience.to_owned()]),
            user: Some(UserInfo::default()),
            error: None,
        };
        assert!(accepted(status(Some(true), AUDIENCE)).is_ok());
        assert!(accepted(status(None, AUDIENCE)).is_err());
        assert!(accepted(status(Some(false), AUDIENCE)).is_err());
        assert!(accepted(status(Some(true), "api")).is_err());
        assert!(accepted(TokenReviewStatus::default()).is_err());
    }
}
