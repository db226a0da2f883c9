//! Who may write.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Findings;
use crate::referee::history::Request;
use crate::referee::promises::{IN_FLIGHT, Promises};
use crate::referee::timeline::{Term, Timeline, is_pod_of};
use crate::referee::verdict::Check;

pub(super) fn judge(timeline: &Timeline<'_>, promises: &Promises, findings: &mut Findings) {
    for term in &timeline.terms {
        if !term.holder.is_empty() && findings.facts.leaders.last() != Some(&term.holder) {
            findings.facts.leaders.push(term.holder.clone());
        }
    }
    // By the last that its sender wrote of the Lease: each time that somebody loses it, as many may be under way.
    let mut late: BTreeMap<u64, usize> = BTreeMap::new();
    for request in timeline.requests.iter().copied() {
        // A write that the server refused as stale is what compare-and-swap is for.
        if !promises.needs_leader(request) || !(request.accepted() || request.code == 429) {
            continue;
        }
        let (led_until, is_counted) = match right_to_write(&timeline.terms, request) {
            Right::Leads => continue,
            Right::InFlight => {
                findings.facts.in_flight_at_change += 1;
                continue;
            }
            Right::Late { led_until } if promises.api_server_stalls => (led_until, request.is_eviction()),
            // An Event explains what was done in the term. It changes nothing, and no clock keeps an API server that is
            // slow to take it from taking it late.
            Right::Late { led_until } | Right::RanOut { led_until } if request.resource == "events" => {
                (led_until, true)
            }
            Right::Late { .. } => {
                not_the_leader(request, "led no longer", findings);
                continue;
            }
            Right::RanOut { .. } => {
                not_the_leader(request, "had let the Lease run out", findings);
                continue;
            }
            Right::None => {
                not_the_leader(request, "had never led", findings);
                continue;
            }
        };
        findings.facts.in_flight_at_change += 1;
        let late = late.entry(led_until).or_default();
        *late += usize::from(is_counted);
        if *late > IN_FLIGHT {
            not_the_leader(request, "had led before, and had more than ten such under way", findings);
        }
    }
}

fn not_the_leader(request: &Request, why: &str, findings: &mut Findings) {
    let object = if request.namespace.is_empty() {
        request.name.clone()
    } else {
        format!("{}/{}", request.namespace, request.name)
    };
    let of = if request.subresource.is_empty() { "" } else { "/" };
    let what = format!(
        "{} sent {} {}{of}{} {object}; it {why}.",
        request.caller(),
        request.verb,
        request.resource,
        request.subresource
    );
    findings.broken(Check::NotTheLeader, request.answered, what);
}

#[derive(Debug, PartialEq, Eq)]
enum Right {
    /// It held the Lease.
    Leads,
    /// The server had it before the Lease changed hands, and may have done it after.
    InFlight,
    /// It held the Lease once, but the server got the write after somebody else had it.
    Late {
        /// The last version of the Lease that it wrote.
        led_until: u64,
    },
    /// It is the last holder, but hasn't renewed for longer than the Lease lasts.
    RanOut {
        /// As above.
        led_until: u64,
    },
    /// It never held the Lease.
    None,
}

/// Where the answer shows the version written (Nodes), versions decide; elsewhere, the API server's clock.
fn right_to_write(terms: &[Term<'_>], request: &Request) -> Right {
    let Some(pod) = request.pod.as_deref() else { return Right::None };
    let mine = |term: &Term<'_>| is_pod_of(&term.holder, pod);
    let in_force_before = |version| terms.iter().rfind(|term| term.version < version);
    if written_version(request).and_then(in_force_before).is_some_and(mine) {
        return renewed_in_time(terms, request, pod);
    }
    // The terms that had begun when the request was answered and weren't certainly over when it was received.
    let begun = terms.iter().take_while(|term| term.written.received <= request.answered);
    let ended = terms.iter().skip(1).map(|next| next.written.answered).chain([Timestamp::MAX]);
    let possible: Vec<_> =
        begun.zip(ended).filter(|(_, ended)| request.received <= *ended).map(|(term, _)| term).collect();
    if possible.last().is_some_and(|term| mine(term)) {
        renewed_in_time(terms, request, pod)
    } else if possible.iter().any(|term| mine(term)) {
        Right::InFlight
    } else {
        let led = terms.iter().rfind(|term| mine(term) && term.written.received <= request.answered);
        led.map_or(Right::None, |term| Right::Late { led_until: term.version })
    }
}

fn renewed_in_time(terms: &[Term<'_>], request: &Request, pod: &str) -> Right {
    let mut renewals =
        terms.iter().filter(|term| is_pod_of(&term.holder, pod) && term.written.received <= request.answered);
    match renewals.next_back() {
        Some(last) if request.received.duration_since(last.written.answered) > last.duration => {
            Right::RanOut { led_until: last.version }
        }
        _ => Right::Leads,
    }
}

fn written_version(request: &Request) -> Option<u64> {
    request.answer.as_ref()?.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
}
