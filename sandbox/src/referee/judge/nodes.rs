//! What is written on Nodes: whose cordon is undone, and when a node is given back.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Findings;
use crate::referee::history::Request;
use crate::referee::promises::{Promises, TAKES_EFFECT};
use crate::referee::timeline::{EventLife, NodeState, Timeline, WATCH_LAG};
use crate::referee::verdict::Check;

/// Who made a node unschedulable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cordon {
    None,
    Mechanic,
    Foreign,
}

impl Cordon {
    /// Whose it is after a step.
    pub(super) fn after(
        self,
        before: Option<&NodeState<'_>>,
        state: &NodeState<'_>,
        by_mechanic: bool,
    ) -> Self {
        match (before.is_some_and(|before| before.seen.unschedulable), state.seen.unschedulable) {
            (_, false) => Self::None,
            (false, true) if by_mechanic => Self::Mechanic,
            (false, true) => Self::Foreign,
            (true, true) if state.seen.cordon_applied => Self::Foreign,
            (true, true) => self,
        }
    }
}

/// The Job of `deploy/release`.
const RELEASE_JOB: &str = "mechanic-release-";

pub(super) fn judge(timeline: &Timeline<'_>, promises: &Promises, findings: &mut Findings) {
    for node in timeline.nodes.keys() {
        let mut cordon = Cordon::None;
        for (before, state) in timeline.steps(node) {
            let writer = state.written.filter(|request| promises.is_coordinator(request));
            if let Some(request) = writer {
                judge_write(timeline, cordon, before, state, request, findings);
            }
            cordon = cordon.after(before, state, writer.is_some());
        }
        judge_end(timeline, promises, node, cordon, findings);
    }
}

fn judge_write(
    timeline: &Timeline<'_>,
    cordon: Cordon,
    before: Option<&NodeState<'_>>,
    after: &NodeState<'_>,
    request: &Request,
    findings: &mut Findings,
) {
    let (caller, node, at) = (request.caller(), &after.seen.name, request.answered);
    let Some(before) = before else {
        findings.broken(Check::ForeignCordon, at, format!("{caller} created the Node {node}."));
        return;
    };
    let uncordoned = before.seen.unschedulable && !after.seen.unschedulable;
    if uncordoned && cordon == Cordon::Foreign {
        let what = format!("{caller} made {node} schedulable, which somebody else had cordoned.");
        findings.broken(Check::ForeignCordon, at, what);
    }
    if before.seen.labelled && before.seen.claim.is_none() && !after.seen.labelled {
        let what = format!("{caller} took the label off {node}, which carried no claim of mechanic.");
        findings.broken(Check::ForeignCordon, at, what);
    }
    let new_event = after.seen.claimed_events().difference(&before.seen.claimed_events()).next().is_some();
    let was_undone = before.seen.claim.is_some() && !before.seen.unschedulable && after.seen.unschedulable;
    if was_undone && !new_event {
        let what =
            format!("{caller} cordoned {node} again, which somebody had made schedulable, for no new event.");
        findings.broken(Check::ForeignCordon, at, what);
    }
    let unclaimed = before.seen.claim.is_some() && after.seen.claim.is_none();
    if unclaimed || (uncordoned && before.seen.held()) {
        judge_release(timeline, before, request, findings);
    }
}

fn judge_release(
    timeline: &Timeline<'_>,
    before: &NodeState<'_>,
    request: &Request,
    findings: &mut Findings,
) {
    // A person who runs that Job wants all of it back, whatever is announced.
    if request.pod.as_deref().is_some_and(|pod| pod.starts_with(RELEASE_JOB)) {
        return;
    }
    let (caller, node, at) = (request.caller(), before.seen.name.as_str(), request.answered);
    let mut early = |why: String| {
        findings.broken(Check::ReleasedEarly, at, format!("{caller} gave {node} back {why}."));
    };
    let lead_time = signed(timeline.at_least(request.received, |settings| settings.lead_time));
    let announced = timeline.events.iter().filter(|event| event.node == node);
    // What is announced while the release is on its way keeps nobody from it, unless the claim shows that it was known.
    let claimed = before.seen.claimed_events();
    let announced = announced.filter(|event| {
        let since = request.received.duration_since(event.announced);
        since > TAKES_EFFECT || (since.is_positive() && claimed.contains(event.id))
    });
    for event in announced.filter(|event| event.holds_its_node(request.received, lead_time)) {
        let hold = hold(timeline, event, request.received);
        match event.removed {
            Some(removed) if removed >= at => early(format!("while its event {} was still there", event.id)),
            None => early(format!("while its event {} was still there", event.id)),
            Some(removed) if sooner_than(removed, hold, request.received) => {
                early(format!(
                    "{:.1} s after its event {} had vanished; it must be gone for {:.1} s",
                    request.received.duration_since(removed).as_secs_f64(),
                    event.id,
                    hold.as_secs_f64()
                ));
            }
            Some(_) => {}
        }
    }
    let gone = |until: Option<Timestamp>| until.is_none_or(|until| until >= at);
    let mut outages = timeline.outages.iter().filter(|outage| outage.node == node);
    if outages.clone().any(|outage| outage.from < request.received && gone(outage.until)) {
        early("while its VM was off".into());
    } else if !before.seen.ready {
        early("while it was not Ready".into());
    }
    let boot = signed(timeline.at_least(request.received, |settings| settings.release_hold_after_boot));
    let fresh = |booted: &Timestamp| {
        *booted < request.received && sooner_than(*booted, boot - WATCH_LAG, request.received)
    };
    if let Some(booted) = outages.find_map(|outage| outage.until.filter(fresh)) {
        early(format!(
            "{:.1} s after its VM had booted; that must be {:.1} s ago",
            request.received.duration_since(booted).as_secs_f64(),
            boot.as_secs_f64()
        ));
    }
}

/// How long an event must be gone before its node is given back.
fn hold(timeline: &Timeline<'_>, event: &EventLife<'_>, released: Timestamp) -> SignedDuration {
    let went =
        timeline.outages.iter().any(|outage| outage.node == event.node && outage.from >= event.announced);
    signed(timeline.at_least(released, |settings| {
        if event.event.event_type == "Terminate" && !went {
            settings.release_hold_after_terminate
        } else if event.started.is_none() {
            settings.release_hold_never_started
        } else {
            settings.release_hold
        }
    }))
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn sooner_than(removed: Timestamp, hold: SignedDuration, released: Timestamp) -> bool {
    released.duration_since(removed) < hold
}

fn judge_end(
    timeline: &Timeline<'_>,
    promises: &Promises,
    node: &str,
    cordon: Cordon,
    findings: &mut Findings,
) {
    if !timeline.exists(node, timeline.end) || promises.may_stay_held.contains(node) {
        return;
    }
    let Some(last) = timeline.nodes.get(node).and_then(|states| states.last()) else { return };
    if last.seen.held() {
        let what = format!("{node} still carried mechanic's label or claim at the end.");
        findings.broken(Check::LeftCordoned, timeline.end, what);
    } else if cordon == Cordon::Mechanic {
        let what = format!("{node} was still cordoned at the end, and mechanic had cordoned it.");
        findings.broken(Check::LeftCordoned, timeline.end, what);
    }
}
