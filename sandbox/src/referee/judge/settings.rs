//! What `paused` and `dry-run` forbid.

use super::Findings;
use crate::referee::promises::{Promises, is_dry};
use crate::referee::timeline::Timeline;
use crate::referee::verdict::Check;

pub(super) fn judge(timeline: &Timeline<'_>, promises: &Promises, findings: &mut Findings) {
    for request in timeline.requests.iter().copied().filter(|request| promises.is_coordinator(request)) {
        if request.is_eviction() && request.accepted() && timeline.surely(request.received, |now| now.paused)
        {
            let what = format!(
                "{} evicted {}/{} while paused; a drain that runs stops at the next pod.",
                request.caller(),
                request.namespace,
                request.name
            );
            findings.broken(Check::PausedAndBegan, request.answered, what);
        }
        if !is_dry(request) && timeline.surely(request.received, |now| now.dry_run) {
            let what = format!(
                "{} sent {} {} {} in a dry run; the API server answered {}.",
                request.caller(),
                request.verb,
                request.resource,
                request.name.as_str(),
                request.code
            );
            findings.broken(Check::DryRunAndWrote, request.answered, what);
        }
    }
}
