//! Plain lines for people, on the standard output.

use std::io::Write as _;
use std::time::Duration;

/// How long the story gathers what belongs to one moment.
pub(super) const PACE: Duration = Duration::from_millis(250);

/// Shows a line at once. A reader who has gone away is no reason to stop.
pub(super) fn line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
