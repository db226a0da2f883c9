//! The coordinator's process: flags, log, signals.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use mechanic_coordinator::{Arguments, Invocation, Log, run};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

fn main() -> Result<ExitCode> {
    match Invocation::parse(std::env::args_os()).unwrap_or_else(|error| error.exit()) {
        Invocation::Coordinate(arguments) => coordinate(*arguments).map(|()| ExitCode::SUCCESS),
        Invocation::Check(check) => check.run(),
        Invocation::Release(release) => {
            tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("warn").init();
            choose_crypto()?;
            runtime()?.block_on(release.run())
        }
    }
}

fn coordinate(arguments: Arguments) -> Result<()> {
    let log = Log::begin(&arguments.log, arguments.log_format)?;
    // A crash dump would hold keys and tokens.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // Each probe is a file descriptor, and where nobody says otherwise 1,024 may be used of many more.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files })?;
    choose_crypto()?;
    runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let signalled = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("told to stop");
            signalled.cancel();
        });
        run(arguments, log, shutdown).await
    })
}

fn choose_crypto() -> Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("another crypto provider is installed already"))
}

/// Two threads are enough at 5,000 nodes, and a default would follow the node's cores.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
