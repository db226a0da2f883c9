//! Processes that leave nothing behind: they live in namespaces of their own, and when the first of them dies, the kernel
//! ends all others and takes away their mounts and networks.

use tokio::process::Command;

/// Which network is seen from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// The machine's.
    Machine,
    /// One without an uplink.
    Own,
}

/// A command that runs the program named by the arguments to come. It ends when the calling thread does.
pub(crate) fn command(network: Network) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    if network == Network::Own {
        command.arg("--net");
    }
    // A group of its own: Ctrl-C in a terminal reaches us alone.
    command.arg("--").process_group(0).kill_on_drop(true);
    command
}
