//! mechanic's own programs, and the sandbox's binary that starts children.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use super::{Profile, Progress, build, silent, state_folder, workspace};

const LAUNCHER: &str = "mechanic-sandbox";

/// The sandbox's own binary: ourselves, or, in a test, the one beside it, which is built where it is missing.
pub fn launcher() -> Result<PathBuf> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let found = find_launcher()?;
    Ok(FOUND.get_or_init(|| found).clone())
}

fn find_launcher() -> Result<PathBuf> {
    let this = env::current_exe().context("can't tell which program this is")?;
    if this.file_stem().is_some_and(|name| name == LAUNCHER) {
        // Also right after the file was replaced by a newer build.
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    // Tests lie in deps/, examples in examples/, one below the binaries.
    let folder = this.parent().context("this program lies in no folder")?;
    let below = folder.ends_with("deps") || folder.ends_with("examples");
    let folder = if below { folder.parent().unwrap_or(folder) } else { folder };
    let binary = folder.join(LAUNCHER);
    if is_current(&binary) {
        return Ok(binary);
    }
    let mut command = cargo();
    command.args(["build", "--package", LAUNCHER, "--bin", LAUNCHER]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    std::fs::create_dir_all(state_folder()).context("can't create the sandbox's folder")?;
    build::run(LAUNCHER, command, &state_folder().join("launcher.log"), &silent())?;
    if !binary.exists() {
        bail!("cargo built {LAUNCHER}, but not at {}", binary.display());
    }
    Ok(binary)
}

/// Only what a child's start depends on counts; anything else in the binary may be older.
fn is_current(binary: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let source = workspace().join("sandbox/src/child.rs");
    let oldest_good = changed(&source).unwrap_or(SystemTime::UNIX_EPOCH);
    changed(binary).is_some_and(|built| built >= oldest_good)
}

/// Builds the probe and the coordinator and returns their paths, in that order.
pub(super) fn build_mechanic(profile: Profile, progress: &Progress) -> Result<(PathBuf, PathBuf)> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let log = |name: &str| state_folder().join(format!("{name}.log"));
    if profile == Profile::Dev {
        let mut command = cargo();
        command.args(["build", "--package", "mechanic-probe", "--package", "mechanic-coordinator", "--bins"]);
        build::run("mechanic-probe and mechanic-coordinator", command, &log("mechanic"), progress)?;
        let folder = target.join("debug");
        return Ok((folder.join("mechanic-probe"), folder.join("mechanic-coordinator")));
    }
    // One at a time: built together, each would carry the features that only the other needs.
    let mut command = cargo();
    command.args(["build", "--release", "--package", "mechanic-coordinator", "--bins"]);
    build::run("mechanic-coordinator", command, &log("mechanic-coordinator"), progress)?;
    // With a target named, the flag for static linking spares build scripts and macros.
    let host = host_triple()?;
    let mut command = cargo();
    command
        .args(["build", "--release", "--package", "mechanic-probe", "--bins", "--target", &host])
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    build::run("mechanic-probe", command, &log("mechanic-probe"), progress)?;
    Ok((target.join(&host).join("release/mechanic-probe"), target.join("release/mechanic-coordinator")))
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(workspace());
    // What cargo told us about ourselves is nothing to the programs that it builds next; but build scripts
    // that look at it would run again, and all that depends on them.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_", "CARGO_CFG_", "CARGO_FEATURE_"];
        if ours.iter().any(|prefix| name.starts_with(prefix))
            || ["CARGO_CRATE_NAME", "OUT_DIR"].contains(&&*name)
        {
            command.env_remove(&*name);
        }
    }
    command
}

fn host_triple() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let output = Command::new(&rustc)
        .arg("-vV")
        .output()
        .with_context(|| format!("can't run {}", Path::new(&rustc).display()))?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc doesn't say which machine it builds for")
}
