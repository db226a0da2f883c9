//! A cluster of one's own in one command: a real control plane, Azure's side, and mechanic installed on it.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Every child of a sandbox is started through this binary.
    if let Some(status) = mechanic_sandbox::child::run_if_asked() {
        return status;
    }
    ExitCode::SUCCESS
}
