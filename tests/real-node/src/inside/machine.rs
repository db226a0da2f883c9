//! The machine as seen from inside: what programs write to its own places goes when the enclosure goes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Places that container runtimes and kubelets write to and can't be told to leave alone.
const VOLATILE: [&str; 3] = ["/run", "/var/log", "/var/lib/cni"];
/// What a kubelet sets for the whole machine, and to what. It writes nothing where it reads this already.
const KERNEL_SETTINGS: [(&str, &str); 4] = [
    ("/proc/sys/kernel/panic", "10"),
    ("/proc/sys/kernel/panic_on_oops", "1"),
    ("/proc/sys/vm/overcommit_memory", "1"),
    ("/proc/sys/vm/panic_on_oom", "0"),
];

/// Call it once, first.
pub(super) fn prepare() -> Result<()> {
    // Kubelets need mounts that containers see; the machine doesn't see them.
    run("mount", &["--make-rshared", "/"])?;
    for place in VOLATILE {
        fs::create_dir_all(place).with_context(|| format!("can't create {place}"))?;
        run("mount", &["-t", "tmpfs", "tmpfs", place])?;
    }
    for (file, value) in KERNEL_SETTINGS {
        let shown = Path::new("/run").join(file.replace('/', "_"));
        fs::write(&shown, format!("{value}\n"))
            .with_context(|| format!("can't write {}", shown.display()))?;
        run("mount", &["--bind", &shown.display().to_string(), file])?;
    }
    Ok(())
}

/// Runs a short command to its end.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("can't run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` failed: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}
