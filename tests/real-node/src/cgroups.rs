//! The control groups that our kubelets work in, which no namespace takes away.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const ALL: &str = "/sys/fs/cgroup";
const PREFIX: &str = "mechanic-real-node-";
/// For how long the kernel may still be ending what was in them.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);

/// A group of this name in each hierarchy. Dropping it removes them and all below.
#[derive(Debug)]
pub(crate) struct Cgroups {
    name: String,
}

impl Cgroups {
    /// Makes them, and removes those of runs that were killed.
    pub(crate) fn create() -> Result<Self> {
        for left in hierarchies().iter().flat_map(|hierarchy| below(hierarchy)) {
            let owner =
                left.file_name().and_then(|name| name.to_str()?.strip_prefix(PREFIX)?.parse::<u32>().ok());
            if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
                let _ = remove(&left);
            }
        }
        let cgroups = Self { name: format!("{PREFIX}{}", std::process::id()) };
        let hierarchies = hierarchies();
        if hierarchies.is_empty() {
            bail!("no control groups are mounted");
        }
        for hierarchy in hierarchies {
            let group = hierarchy.join(&cgroups.name);
            fs::create_dir(&group)
                .with_context(|| format!("can't make the control group {}", group.display()))?;
        }
        Ok(cgroups)
    }

    /// What they are called in each hierarchy.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for hierarchy in hierarchies() {
            let group = hierarchy.join(&self.name);
            let mut left = EMPTY_WITHIN;
            while group.exists() && remove(&group).is_err() && !left.is_zero() {
                thread::sleep(Duration::from_millis(100));
                left = left.saturating_sub(Duration::from_millis(100));
            }
        }
    }
}

/// The one hierarchy of cgroup v2, or all those of v1.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    let all = PathBuf::from(ALL);
    if all.join("cgroup.controllers").exists() {
        return vec![all];
    }
    // Some are links to others.
    below(&all).into_iter().filter(|path| !path.is_symlink()).collect()
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The deepest first.
fn remove(group: &Path) -> std::io::Result<()> {
    for inner in below(group) {
        remove(&inner)?;
    }
    fs::remove_dir(group)
}
