//! The release before this one, built from the repository's own history.

use std::{path::PathBuf, process::Command};

use mechanic_sandbox::programs::workspace;

/// Plays the release before this one, until there are releases: the first that spoke TLS.
const PREVIOUS: &str = "8f109add37a1428bd51fc34f139459eec550f173";

/// The coordinator of the release before; `None` in a clone without that much history.
pub(crate) fn coordinator() -> Option<PathBuf> {
    let folder = workspace().join("target/previous").join(PREVIOUS);
    let source = folder.join("source");
    if !source.join("Cargo.toml").exists() {
        std::fs::create_dir_all(&source).unwrap();
        let archive = folder.join("source.tar");
        let git = Command::new("git")
            .current_dir(workspace())
            .args(["archive", "--output"])
            .arg(&archive)
            .arg(PREVIOUS)
            .output();
        if !git.is_ok_and(|output| output.status.success()) {
            return None;
        }
        assert!(
            Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&source).status().unwrap().success()
        );
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // A target of its own: in the usual one it would take the place of the present program.
    let build = Command::new(cargo)
        .current_dir(&source)
        .args(["build", "--locked", "--package", "mechanic-coordinator", "--bins", "--target-dir"])
        .arg(folder.join("target"))
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .output()
        .unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    Some(folder.join("target/debug/mechanic-coordinator"))
}
