//! What kubelets and Prometheus ask, in plain HTTP: the gRPC probes of the former speak no TLS. Open to everybody.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Result;
use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{listen::listen, metrics::Metrics, watches::Watches};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A server that listens already.
pub(crate) struct HttpServer {
    listeners: Vec<TcpListener>,
    metrics: Metrics,
    watches: Watches,
    ready: CancellationToken,
}

impl HttpServer {
    pub(crate) async fn bind(address: SocketAddr, metrics: Metrics, watches: Watches) -> Result<Self> {
        Ok(Self { listeners: listen(address).await?, metrics, watches, ready: CancellationToken::new() })
    }

    /// Cancelled once probes and people can be served.
    pub(crate) fn ready(&self) -> CancellationToken {
        self.ready.clone()
    }

    /// Serves for as long as the process.
    pub(crate) async fn serve(self) {
        let Self { listeners, metrics, watches, ready } = self;
        // Kubelets don't pass on why.
        let is_logged = Arc::new(AtomicBool::new(false));
        let is_ready = async move || {
            if !ready.is_cancelled() {
                return (StatusCode::SERVICE_UNAVAILABLE, "starting".to_owned());
            }
            let dead = watches.dead();
            if dead.is_empty() {
                if is_logged.swap(false, Ordering::Relaxed) {
                    tracing::info!("ready again");
                }
                return (StatusCode::OK, "ready".to_owned());
            }
            let why = dead.join(", ");
            if !is_logged.swap(true, Ordering::Relaxed) {
                tracing::warn!("not ready: {why}");
            }
            (StatusCode::SERVICE_UNAVAILABLE, why)
        };
        let metrics = async move || match metrics.text() {
            Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, OPEN_METRICS)], text),
            Err(error) => {
                (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], error.to_string())
            }
        };
        let routes = Router::new()
            .route("/livez", get(async || "alive"))
            .route("/readyz", get(is_ready))
            .route("/metrics", get(metrics));
        let serving =
            listeners.into_iter().map(|listener| axum::serve(listener, routes.clone()).into_future());
        if let Err(error) = futures::future::try_join_all(serving).await {
            tracing::error!(%error, "no kubelet is answered any more");
        }
    }
}
