//! What the fuzz targets in `tests/` share. `cargo test -p mechanic-fuzz` runs each for a second;
//! `BOLERO_RANDOM_TEST_TIME_MS=600000 cargo test -p mechanic-fuzz --release TARGET` for ten minutes, and `cargo bolero test`
//! with an engine that is guided by coverage.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Changes to a seed: where, what kind, with which byte.
pub type Edits = Vec<(u16, u8, u8)>;

/// The seed, changed.
#[must_use]
pub fn mutated(seed: &[u8], edits: &Edits) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for (place, kind, byte) in edits {
        let place = usize::from(*place) % (bytes.len() + 1);
        match kind % 6 {
            0 => bytes.insert(place, *byte),
            1 => bytes.truncate(place),
            // The same again, such as a number that grows or a list that does.
            2 => {
                let end = (place + usize::from(*byte)).min(bytes.len());
                let again = bytes.get(place..end).unwrap_or_default().to_vec();
                bytes.splice(place..place, again);
            }
            3 if place < bytes.len() => drop(bytes.remove(place)),
            _ => {
                if let Some(there) = bytes.get_mut(place) {
                    *there = *byte;
                }
            }
        }
    }
    bytes
}

/// What the Instance Metadata Service has said, as far as it is known; the same files that the probe's tests read.
///
/// # Errors
/// Where they can't be read.
pub fn imds_samples() -> io::Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../probe/tests/imds-samples");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.sort();
    files.into_iter().map(fs::read).collect()
}

/// Counts executions, and tells how many there were when it is dropped.
#[derive(Default)]
pub struct Executions(AtomicU64);

impl Executions {
    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Executions {
    #[allow(clippy::print_stdout, reason = "whoever runs it for long wants to know")]
    fn drop(&mut self) {
        println!("{} executions", self.0.load(Ordering::Relaxed));
    }
}

/// One of the seeds.
#[must_use]
pub fn pick(seeds: &[Vec<u8>], number: u8) -> &[u8] {
    seeds.get(usize::from(number) % seeds.len().max(1)).map_or(&[], Vec::as_slice)
}
