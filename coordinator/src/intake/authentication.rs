//! Who calls: asked of the API server, never read from a message.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use kube::{Api, Client, api::PostParams};
use tonic::{Status, metadata::MetadataMap};

/// The audience that a caller's token must be made for.
const AUDIENCE: &str = "mechanic-coordinator";

const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the API server about tokens.
#[derive(Clone)]
pub(crate) struct Reviewer {
    client: Client,
    probe_account: String,
}

/// A Node that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoundNode {
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Reviewer {
    /// Accepts probes of this namespace.
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self { client, probe_account: format!("system:serviceaccount:{namespace}:mechanic-probe") }
    }

    /// The Node that the calling probe's token is bound to.
    ///
    /// # Errors
    /// A refusal that tells the probe what is wrong with its token.
    pub(crate) async fn probe(&self, metadata: &MetadataMap) -> Result<BoundNode, Status> {
        bound_node(&self.caller(metadata).await?, &self.probe_account)
    }

    /// Any caller that the API server knows.
    ///
    /// # Errors
    /// A refusal that tells the caller what is wrong with its token.
    pub(crate) async fn caller(&self, metadata: &MetadataMap) -> Result<UserInfo, Status> {
        let token = bearer(metadata)?;
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let reviews = Api::<TokenReview>::all(self.client.clone());
        let parameters = PostParams::default();
        let answer = tokio::time::timeout(TIMEOUT, reviews.create(&parameters, &review))
            .await
            .map_err(|_| Status::unavailable("the API server did not review the token in time; try again"))?
            .map_err(|error| {
                // The request holds the token; what is said of its failure must not.
                tracing::warn!(%error, "a token could not be reviewed");
                Status::unavailable("the API server could not review the token; try again")
            })?;
        accepted(answer.status.unwrap_or_default())
    }
}

fn bearer(metadata: &MetadataMap) -> Result<&str, Status> {
    metadata
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .filter(|token| !token.is_empty())
        .ok_or_else(|| Status::unauthenticated("the call carries no `authorization: Bearer` token"))
}

/// A wrong audience comes back as `authenticated` absent, not false.
fn accepted(status: TokenReviewStatus) -> Result<UserInfo, Status> {
    let audience = status.audiences.iter().flatten().any(|audience| audience == AUDIENCE);
    match (status.authenticated, status.user) {
        (Some(true), Some(user)) if audience => Ok(user),
        _ => Err(Status::unauthenticated(format!(
            "the API server doesn't accept the token for audience {AUDIENCE}"
        ))),
    }
}

fn bound_node(user: &UserInfo, probe_account: &str) -> Result<BoundNode, Status> {
    if user.username.as_deref() != Some(probe_account) {
        return Err(Status::permission_denied(format!("only {probe_account} may report")));
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
        _ => Err(Status::permission_denied("the token is not bound to a node")),
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
