//! Polls one node's Instance Metadata Service and streams what it finds to the coordinator.
//! Wired in `lib.rs`.

use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use mechanic_probe::{arguments::Arguments, logging};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    logging::start(arguments.log.clone(), arguments.log_format)?;
    // One thread does everything; names are looked up on a second one that comes and goes.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .context("the runtime can't be started")?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be awaited")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be awaited")?;
        let shutdown = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        mechanic_probe::run(arguments, shutdown).await
    });
    // A look-up that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}
