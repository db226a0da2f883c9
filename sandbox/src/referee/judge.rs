//! The judgement: a pure function from what was seen to what was broken.

mod cordons;
mod drains;
mod evictions;
mod last_calls;
mod leaders;
mod nodes;
mod rights;
mod settings;
#[cfg(test)]
mod tests;
mod unavailable;
mod workloads;

use jiff::Timestamp;

use super::history::History;
use super::promises::Promises;
use super::timeline::Timeline;
use super::verdict::{Check, Facts, Verdict, Violation};

/// Judges a run by its history alone.
#[must_use]
pub fn judge(history: &History, promises: &Promises) -> Verdict {
    let timeline = Timeline::of(history, promises);
    let mut findings = Findings::default();
    for blind in &history.blind_spots {
        findings.broken(Check::Blind, timeline.end, blind.clone());
    }
    evictions::judge(&timeline, promises, &mut findings);
    last_calls::judge(&timeline, promises, &mut findings);
    drains::judge(&timeline, promises, &mut findings);
    nodes::judge(&timeline, promises, &mut findings);
    cordons::judge(&timeline, promises, &mut findings);
    unavailable::judge(&timeline, promises, &mut findings);
    settings::judge(&timeline, promises, &mut findings);
    rights::judge(&timeline, promises, &mut findings);
    leaders::judge(&timeline, promises, &mut findings);
    workloads::judge(&timeline, promises, &mut findings);
    findings.violations.sort_by_key(|violation| violation.at);
    Verdict { violations: findings.violations, facts: findings.facts }
}

#[derive(Default)]
struct Findings {
    violations: Vec<Violation>,
    facts: Facts,
}

impl Findings {
    fn broken(&mut self, check: Check, at: Timestamp, what: String) {
        self.violations.push(Violation { check, at, what });
    }
}
