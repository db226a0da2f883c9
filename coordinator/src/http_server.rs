//! What kubelets ask, in plain HTTP, since their gRPC probes speak no TLS. Open to everybody, and says nothing but yes or no.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::{Router, http::StatusCode, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A server that listens already.
pub(crate) struct HttpServer {
    listener: TcpListener,
    ready: CancellationToken,
}

impl HttpServer {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
        Ok(Self { listener, ready: CancellationToken::new() })
    }

    /// Cancelled once probes and people can be served.
    pub(crate) fn ready(&self) -> CancellationToken {
        self.ready.clone()
    }

    /// Serves for as long as the process.
    pub(crate) async fn serve(self) {
        let ready = self.ready;
        let is_ready = async move || {
            if ready.is_cancelled() {
                (StatusCode::OK, "ready")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "starting")
            }
        };
        let routes = Router::new().route("/livez", get(async || "alive")).route("/readyz", get(is_ready));
        if let Err(error) = axum::serve(self.listener, routes).await {
            tracing::error!(%error, "no kubelet is answered any more");
        }
    }
}
