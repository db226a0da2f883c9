//! An answer of the service, read up to a limit.

use std::error::Error;

use bytes::{Bytes, BytesMut};
use mechanic_proto::v1::PollFailureKind;
use reqwest::Response;

use crate::{
    document::{BODY_LIMIT, too_large},
    failure::PollFailure,
};

/// Status and body, whatever they are.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) async fn read(response: Result<Response, reqwest::Error>) -> Result<Self, PollFailure> {
        let mut response = response.map_err(|error| no_answer(&error))?;
        let status = response.status().as_u16();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(&error))? {
            if body.len() + chunk.len() > BODY_LIMIT {
                return Err(PollFailure::new(PollFailureKind::TooLarge, &too_large()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self { status, body: body.freeze() })
    }
}

fn no_answer(error: &reqwest::Error) -> PollFailure {
    // The cause is in the innermost error; the outer ones repeat the URL.
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() {
        let detail = "the metadata service did not accept a connection in time";
        return PollFailure::new(PollFailureKind::Timeout, detail);
    }
    PollFailure::new(PollFailureKind::Unreachable, &format!("no answer from the metadata service: {cause}"))
}
