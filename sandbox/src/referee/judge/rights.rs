//! Who may not even ask.

use super::Findings;
use crate::referee::promises::Promises;
use crate::referee::timeline::Timeline;
use crate::referee::verdict::Check;

pub(super) fn judge(timeline: &Timeline<'_>, promises: &Promises, findings: &mut Findings) {
    for request in timeline.requests.iter().copied() {
        let asked = format!("{} asked for {} {}", request.caller(), request.verb, request.uri);
        if promises.is_probe(request) {
            findings.broken(Check::ProbeTouchedApi, request.answered, format!("{asked}."));
        } else if promises.is_coordinator(request) && request.forbidden {
            let what = format!("{asked}, and was refused: {}", request.message);
            findings.broken(Check::WithoutRight, request.answered, what);
        }
    }
}
