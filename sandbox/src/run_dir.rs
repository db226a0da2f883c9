//! A folder for each running sandbox, and the sweeping of folders whose owner was killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::programs::state_folder;

const OWNER: &str = "owner.lock";

/// `target/sandbox/run/PID-N`, removed when dropped. Who holds the lock in it is alive.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    _owner: File,
}

impl RunDir {
    /// Makes a folder of our own and removes those of sandboxes that no longer live.
    pub(crate) fn claim() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let all = state_folder().join("run");
        fs::create_dir_all(&all).with_context(|| format!("can't create {}", all.display()))?;
        // One at a time, so that nobody sweeps a folder that has no lock in it yet.
        let turn =
            File::create(all.join(".lock")).context("can't create the lock of the sandboxes' folder")?;
        turn.lock().context("can't lock the sandboxes' folder")?;
        sweep(&all);
        let path = all.join(format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&path).with_context(|| format!("can't create {}", path.display()))?;
        let owner =
            File::create(path.join(OWNER)).context("can't create the lock of the sandbox's folder")?;
        owner.lock().context("can't lock the sandbox's folder")?;
        Ok(Self { path, _owner: owner })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("can't create {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // What can't be removed now is swept at the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn sweep(all: &Path) {
    let Ok(entries) = fs::read_dir(all) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        let alive = File::open(path.join(OWNER)).is_ok_and(|owner| owner.try_lock().is_err());
        if !alive {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_sandboxs_folder_stays_and_a_dead_ones_is_swept() {
        let living = RunDir::claim().unwrap();
        let dead = state_folder().join(format!("run/dead-{}", std::process::id()));
        fs::create_dir_all(&dead).unwrap();
        fs::write(dead.join(OWNER), "").unwrap();
        let other = RunDir::claim().unwrap();
        assert!(living.path().exists());
        assert!(!dead.exists());
        let path = other.path().to_owned();
        drop(other);
        assert!(!path.exists());
    }
}
