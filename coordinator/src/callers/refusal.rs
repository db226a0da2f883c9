//! Why somebody isn't served.

use strum::{IntoStaticStr, VariantNames};
use thiserror::Error;
use tonic::Status;

/// The reason; its name in a metric is a public contract, documented in `docs/metrics.md`.
#[derive(Clone, Debug, Error, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Refusal {
    #[error("the call carries no `authorization: Bearer` token")]
    NoToken,
    /// Another audience, expired, revoked, of a pod or an account that is gone, or made up: the API server doesn't say
    /// which.
    #[error("the API server doesn't accept the token for audience mechanic-coordinator")]
    TokenRejected,
    #[error("the API server could not review the token; try again")]
    NotReviewed,
    #[error("only the account mechanic-probe of mechanic's own namespace may report")]
    NotAProbe,
    #[error("the token is not bound to a node")]
    NoNode,
    #[error("there is no Node {0} with the UID that the token is bound to")]
    NodeGone(String),
    #[error("only who may `get nodes` in Kubernetes may ask")]
    NotAReader,
    #[error("so many probes report already that there is no room for another")]
    TooManyStreams,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let says = refusal.to_string();
        match refusal {
            Refusal::NoToken | Refusal::TokenRejected => Self::unauthenticated(says),
            Refusal::NotReviewed => Self::unavailable(says),
            Refusal::NotAProbe | Refusal::NoNode | Refusal::NotAReader => Self::permission_denied(says),
            Refusal::NodeGone(_) => Self::failed_precondition(says),
            Refusal::TooManyStreams => Self::resource_exhausted(says),
        }
    }
}
