//! The gRPC server: intake, fleet, reflection and health on one port, behind TLS.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use mechanic_proto::v1::{
    fleet_service_server::FleetServiceServer, probe_service_server::ProbeServiceServer,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    fleet_service::{FleetReader, ForwardToLeader},
    intake::Intake,
    listen::listen,
    metrics::Metrics,
    tls::{self, Identity},
};

/// A document of 256 KiB, the events read from it, and some room.
const MAX_REPORT: usize = 1024 * 1024;
/// A connection whose other end is gone without a farewell is noticed within these two.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A probe needs one; people's tools a few.
const STREAMS_PER_CONNECTION: u32 = 16;
/// A stream that is still open after this long is dropped: by itself the server would wait for ever.
const GRACE: Duration = Duration::from_secs(1);

/// A server that listens already, so that its address can be told.
pub(crate) struct GrpcServer {
    listeners: Vec<TcpListener>,
    identity: Identity,
    metrics: Metrics,
    routes: Routes,
    health: HealthReporter,
}

impl GrpcServer {
    pub(crate) async fn bind(
        address: SocketAddr,
        identity: Identity,
        metrics: Metrics,
        intake: Intake,
        fleet: ForwardToLeader<FleetServiceServer<FleetReader>>,
    ) -> Result<Self> {
        let listeners = listen(address).await?;
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("", ServingStatus::NotServing).await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(mechanic_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let routes = Routes::new(health_service)
            .add_service(reflection)
            .add_service(fleet)
            .add_service(ProbeServiceServer::new(intake).max_decoding_message_size(MAX_REPORT));
        Ok(Self { listeners, identity, metrics, routes, health })
    }

    /// What says whether this pod is ready.
    pub(crate) fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// Serves until `shutdown`.
    pub(crate) async fn serve(self, shutdown: CancellationToken) -> Result<()> {
        let incoming = tls::incoming(self.listeners, &self.identity, &self.metrics);
        let serving = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
        let cut_off = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            ended = serving => ended.context("the gRPC server failed"),
            () = cut_off => Ok(()),
        }
    }
}
