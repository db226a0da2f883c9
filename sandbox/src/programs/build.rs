//! Runs one build command, tells how long it has been going on, and says what it said where it fails.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Progress;

const TELL_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A build that is over sooner is not worth a line.
const WORTH_A_LINE: Duration = Duration::from_secs(2);
const LINES_OF_AN_ERROR: usize = 30;

/// Runs `command` to its end; its output goes to `log`.
pub(super) fn run(what: &str, mut command: Command, log: &Path, progress: &Progress) -> Result<()> {
    let output = File::create(log).with_context(|| format!("can't write {}", log.display()))?;
    let mut build = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("can't share a log file")?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("can't run {} to build {what}", command.get_program().display()))?;
    let begun = Instant::now();
    let mut told = Duration::ZERO;
    let status = loop {
        if let Some(status) = build.try_wait().with_context(|| format!("lost the build of {what}"))? {
            break status;
        }
        let due = if told.is_zero() { WORTH_A_LINE } else { told + TELL_EVERY };
        if begun.elapsed() >= due {
            told = begun.elapsed();
            progress(&format!("building {what} ({} s)", told.as_secs()));
        }
        thread::sleep(LOOK_EVERY);
    };
    if !told.is_zero() {
        progress(&format!("built {what} in {} s", begun.elapsed().as_secs()));
    }
    if !status.success() {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        bail!(
            "building {what} failed:\n{}",
            lines[lines.len().saturating_sub(LINES_OF_AN_ERROR)..].join("\n")
        );
    }
    Ok(())
}
