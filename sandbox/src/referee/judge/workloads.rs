//! What becomes of the pods: in time, and within their budgets.

use jiff::{SignedDuration, Timestamp};
use kube::core::{Selector, SelectorExt as _};

use super::{Findings, last_calls};
use crate::referee::history::{BudgetSeen, PodSeen, Request};
use crate::referee::promises::Promises;
use crate::referee::timeline::{EventLife, PodLife, Timeline, WATCH_LAG};
use crate::referee::verdict::Check;

/// How long the disruption controller may take to count a pod that has gone.
const COUNTED_WITHIN: SignedDuration = SignedDuration::from_secs(2);

pub(super) fn judge(timeline: &Timeline<'_>, promises: &Promises, findings: &mut Findings) {
    for event in timeline.events.iter().filter(|event| event.avoidable) {
        judge_event(timeline, promises, event, findings);
    }
    for states in timeline.budgets.values() {
        judge_budget(timeline, promises, states, findings);
    }
}

fn judge_event(timeline: &Timeline<'_>, promises: &Promises, event: &EventLife<'_>, findings: &mut Findings) {
    let Some(impact) = impact(timeline, event) else { return };
    for life in timeline.pods.values() {
        let Some(pod) = life.at(impact) else { continue };
        let name = life.full_name();
        let left = pod.node.as_deref() == Some(event.node)
            && !pod.stays
            && !pod.finished
            && life.gone.is_none_or(|gone| gone > impact + WATCH_LAG)
            && !promises.may_stay_on_node.contains(&name)
            && !pod.labels.get("app").is_some_and(|app| promises.workloads_that_may_stay.contains(app));
        // The leader never evicts itself.
        let leads = pod.namespace == promises.namespace && timeline.leads(&pod.name, impact);
        if left && !leads {
            let what = format!("{name} was still on {} when its event {} began.", event.node, event.id);
            findings.broken(Check::PodsLeftBehind, impact, what);
        }
    }
}

/// When the event hit: it began, or its VM went without a word.
fn impact(timeline: &Timeline<'_>, event: &EventLife<'_>) -> Option<Timestamp> {
    let over = event.removed.unwrap_or(Timestamp::MAX);
    let outages = timeline.outages.iter().filter(|outage| outage.node == event.node);
    let went = outages.map(|outage| outage.from).find(|from| event.announced <= *from && *from <= over);
    event.started.into_iter().chain(went).min()
}

/// A budget counts as broken by mechanic where fewer pods than desired are healthy, mechanic has taken some of them
/// away since the last time all was well, and nobody and nothing else has. What was desired then counts: a person who
/// asks for more at once takes back what mechanic was allowed.
fn judge_budget(
    timeline: &Timeline<'_>,
    promises: &Promises,
    states: &[(Timestamp, &BudgetSeen)],
    findings: &mut Findings,
) {
    let mut well = None;
    for (at, budget) in states {
        if budget.healthy >= budget.desired {
            well = Some((*at, budget.desired));
            continue;
        }
        // Once for each time that it goes from well to broken.
        let Some((from, desired)) = well.take() else { continue };
        if budget.healthy >= desired {
            continue;
        }
        let window = (from - COUNTED_WITHIN, *at);
        let Ok(selector) = Selector::try_from(budget.selector.clone()) else {
            let what = format!("the selector of the PodDisruptionBudget {} can't be read.", budget.name);
            findings.broken(Check::Blind, *at, what);
            continue;
        };
        let covered = |pod: &PodSeen| pod.namespace == budget.namespace && selector.matches(&pod.labels);
        let about = |request: &&Request| {
            timeline.target(request).and_then(PodLife::last).map_or(request.name.is_empty(), covered)
        };
        let ever: Vec<&Request> = taken_by_mechanic(timeline, promises).filter(about).collect();
        let taken: Vec<&&Request> = ever.iter().filter(|request| within(window, request.answered)).collect();
        let else_taken = timeline.outages.iter().any(|outage| within(window, outage.from))
            || timeline.pods.values().any(|life| {
                let by_mechanic = ever.iter().any(|request| is_about(request, life));
                life.last().is_some_and(covered) && lost(life, by_mechanic).any(|lost| within(window, lost))
            });
        if taken.is_empty() || else_taken {
            continue;
        }
        let pods: Vec<&str> = taken.iter().map(|request| request.name.as_str()).collect();
        let what = format!(
            "{}/{} wants {} healthy pods and had {} after {} was taken away.",
            budget.namespace,
            budget.name,
            desired.min(budget.desired),
            budget.healthy,
            pods.join(", ")
        );
        findings.broken(Check::BudgetBroken, *at, what);
    }
}

fn taken_by_mechanic<'t, 'a>(
    timeline: &'t Timeline<'a>,
    promises: &'t Promises,
) -> impl Iterator<Item = &'a Request> + 't {
    timeline.requests.iter().copied().filter(move |request| {
        let took = request.is_eviction() || last_calls::is_mere_delete(timeline, request);
        promises.is_coordinator(request) && request.accepted() && took
    })
}

fn is_about(request: &Request, life: &PodLife<'_>) -> bool {
    life.last().is_some_and(|pod| {
        pod.namespace == request.namespace && (request.name.is_empty() || pod.name == request.name)
    })
}

/// When the pod stopped counting as healthy, but for where mechanic asked it to go. The node controller takes pods for
/// not ready too, and kubelets undo it.
fn lost(life: &PodLife<'_>, by_mechanic: bool) -> impl Iterator<Item = Timestamp> {
    let healthy = |pod: &PodSeen| pod.ready && !pod.terminating;
    let turns = life.states.iter().zip(life.states.iter().skip(1));
    let turned = turns.filter(move |((_, before), (_, after))| {
        healthy(before) && !healthy(after) && !(by_mechanic && after.terminating)
    });
    let gone = life.gone.filter(|_| !by_mechanic && life.last().is_some_and(healthy));
    turned.map(|(_, (at, _))| *at).chain(gone)
}

fn within(window: (Timestamp, Timestamp), at: Timestamp) -> bool {
    window.0 <= at && at <= window.1
}
