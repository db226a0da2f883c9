//! A cluster of one's own in one command: a real control plane, Azure's side, and mechanic installed on it.

use std::process::ExitCode;

use clap::Parser;
use mechanic_sandbox::demo::{self, DemoOptions};
use mechanic_sandbox::programs::Profile;
use mechanic_sandbox::{child, scenario};

/// Plays one reboot on a real control plane with mechanic installed on it, and judges how it went.
#[derive(Debug, Parser)]
struct Arguments {
    /// Leave everything up after the verdict, until Ctrl-C, and print how to look inside.
    #[arg(long)]
    keep: bool,
    /// Run mechanic's dev profile, which is quicker to build, instead of what ships.
    #[arg(long)]
    dev: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    // Every child of a sandbox is started through this binary.
    if let Some(status) = child::run_if_asked() {
        return Ok(status);
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let options = DemoOptions {
        profile: if arguments.dev { Profile::Dev } else { Profile::Release },
        keep: arguments.keep,
    };
    let ended = runtime.block_on(demo::run(&scenario::one_reboot(), options));
    // A build that was interrupted isn't waited for.
    runtime.shutdown_background();
    ended
}
