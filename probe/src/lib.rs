//! One node's probe: it polls the Instance Metadata Service, and streams what it reads to the coordinator that
//! leads. It has no access to Kubernetes, opens no port and decides nothing.
//!
//! ```text
//! imds ── document ──▶ polling ──▶ reading (evidence, failure) ──▶ uplink ──▶ coordinator
//!      ── compute ───▶ identity ──▶    │ newest value only
//! ```

pub mod arguments;
mod complaint;
pub mod document;
pub mod evidence;
pub mod failure;
pub mod identity;
pub mod imds;
pub mod latency;
pub mod logging;
pub mod polling;
pub mod random;
pub mod reading;
pub mod uplink;

use std::{path::Path, sync::Arc};

use anyhow::Context;
use tokio::{sync::watch, time::Instant};
use tracing::info;

use self::{
    arguments::Arguments,
    imds::Imds,
    reading::{Reading, Readings},
    uplink::{Coordinators, Reporter, Uplink},
};

/// Runs a probe until `shutdown` is ready. Everything is one task: nothing is left behind when it ends.
pub async fn run(arguments: Arguments, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let Arguments { imds_address, events_api_version, boot_id_file, poll_interval, .. } = &arguments;
    let readings: Readings = Arc::new(watch::Sender::new(Reading::default()));
    let imds = Imds::new(imds_address, events_api_version).context("no client for the metadata service")?;
    let uplink = uplink(&arguments);
    info!(
        version = env!("CARGO_PKG_VERSION"), instance = %uplink.reporter.instance, imds = %imds_address,
        coordinator = %arguments.coordinator_address, "probe started"
    );

    tokio::select! {
        () = shutdown => info!("asked to stop"),
        () = polling::poll(&imds, *poll_interval, &readings) => {}
        () = know_the_machine(&imds, boot_id_file, &readings) => {}
        () = uplink.report(&readings) => {}
    }
    Ok(())
}

/// Finds out once, then waits with the others.
async fn know_the_machine(imds: &Imds, boot_id_file: &Path, readings: &Readings) {
    identity::establish(imds, boot_id_file, readings).await;
    std::future::pending::<()>().await;
}

fn uplink(arguments: &Arguments) -> Uplink {
    Uplink {
        coordinators: Coordinators {
            address: arguments.coordinator_address.clone(),
            authorities_file: arguments.authorities_file.clone(),
            token_file: arguments.token_file.clone(),
        },
        reporter: Reporter {
            instance: format!("{:016x}", random::number()),
            started: Instant::now(),
            node_name: arguments.node_name.clone(),
        },
        heartbeat_every: arguments.heartbeat_interval,
    }
}
