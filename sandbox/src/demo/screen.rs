//! Plain lines for people, on the standard output, and below them, on a terminal, one that says how things stand.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the story gathers what belongs to one moment.
pub(super) const PACE: Duration = Duration::from_millis(250);

/// The line at the bottom, as it stands; always empty where nobody looks at a terminal.
static STATUS: Mutex<String> = Mutex::new(String::new());

/// Back to the start of the line, and nothing left in it.
const CLEAR: &str = "\r\x1b[K";

/// Shows a line at once. A reader who has gone away is no reason to stop.
pub(super) fn line(line: &str) {
    let status = locked();
    let mut out = std::io::stdout().lock();
    let _ = if status.is_empty() {
        writeln!(out, "{line}")
    } else {
        writeln!(out, "{CLEAR}{line}").and_then(|()| show(&mut out, &status))
    };
    let _ = out.flush();
}

/// Shows how things stand, where that is of use. Nothing takes it away.
pub(super) fn status(text: &str) {
    let mut status = locked();
    let mut out = std::io::stdout().lock();
    if !out.is_terminal() || *status == text {
        return;
    }
    text.clone_into(&mut status);
    let _ = show(&mut out, &status).and_then(|()| out.flush());
}

/// Without wrapping, or the next one would come below it.
fn show(out: &mut impl std::io::Write, status: &str) -> std::io::Result<()> {
    write!(out, "{CLEAR}\x1b[?7l{status}\x1b[?7h")
}

fn locked() -> MutexGuard<'static, String> {
    STATUS.lock().unwrap_or_else(PoisonError::into_inner)
}
