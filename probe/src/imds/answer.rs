//! An answer of the service, read up to a limit.

use std::error::Error;

use bytes::{Bytes, BytesMut};
use mechanic_proto::v1::PollFailureKind;
use reqwest::Response;

use crate::{
    document::{BODY_LIMIT, too_large},
    failure::PollFailure,
};

/// AKS's IMDS restriction drops what comes from pods with an address of their own; other ways of it refuse.
const NO_WAY_THERE: &str =
    "; on a cluster with AKS's IMDS restriction, install mechanic with the overlay host-network";

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
    let (kind, what) = if error.is_timeout() {
        let what = "the metadata service did not accept a connection in time".to_owned();
        (PollFailureKind::Timeout, what)
    } else {
        (PollFailureKind::Unreachable, format!("no answer from the metadata service: {cause}"))
    };
    let remedy = if error.is_connect() { NO_WAY_THERE } else { "" };
    PollFailure::new(kind, &(what + remedy))
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use tokio::net::{TcpSocket, TcpStream};

    use super::*;
    use crate::imds::Imds;

    async fn failure(address: SocketAddr) -> PollFailure {
        let imds = Imds::new(&address.to_string(), "2020-07-01").unwrap();
        imds.scheduled_events(Duration::from_secs(30)).await.unwrap_err()
    }

    #[tokio::test]
    async fn whoever_refuses_or_drops_connections_may_want_the_overlay_host_network() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let refused = failure(address).await;
        assert_eq!(refused.kind, PollFailureKind::Unreachable);
        assert!(refused.detail.contains("refused"), "{refused}");
        assert!(refused.detail.ends_with(NO_WAY_THERE), "{refused}");

        // Nobody accepts, so that whoever comes when the queue is full is dropped.
        let _listener = socket.listen(1).unwrap();
        let _full = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        let dropped = failure(address).await;
        assert_eq!(dropped.kind, PollFailureKind::Timeout);
        assert!(dropped.detail.ends_with(NO_WAY_THERE), "{dropped}");
        assert!(NO_WAY_THERE.contains("host-network"));
    }
}
