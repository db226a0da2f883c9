//! How each scheduled event has ended for its node: told once, when neither the claim nor the node's own probe names it
//! any more.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use mechanic_plan::{
    ClaimPhase, ClaimedEvent, EventPolicy, EventStatus, EventType, Node, Response, ScheduledEvent,
    parse_not_before,
};
use strum::{IntoStaticStr, VariantNames};

use crate::story;

/// Events of one node that nothing is done about and that are followed all the same: many times what Azure announces.
const MOST: usize = 16;
/// Longer than any `EventId` of Azure's.
const LONGEST_ID: usize = 128;
/// Events that have ended and may be shown again by a probe whose document comes and goes.
const REMEMBERED: usize = 64;

/// How it ended. The names are a public contract, documented in `docs/metrics.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Outcome {
    /// The node was drained before it began, as far as can be known.
    DrainedInTime,
    /// The node was drained after it had begun.
    DrainedLate,
    /// It began, and pods that were to leave were still there.
    NotDrained,
    /// No pod was to be moved for it.
    CordonedOnly,
    /// It was not worth moving pods for.
    Tolerated,
    /// Nothing was known of what it does.
    ShownOnly,
    /// Somebody took the node back.
    Vetoed,
    /// It vanished before the node was drained, and was never seen to begin.
    NeverStarted,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) node: String,
    pub(crate) event_id: String,
    pub(crate) event_type: EventType,
    pub(crate) outcome: Outcome,
}

/// Kept in memory only: a next leader judges by the claims, and by what it sees itself.
#[derive(Default)]
pub(crate) struct Outcomes {
    nodes: HashMap<String, Courses>,
}

#[derive(Default)]
struct Courses {
    node_uid: String,
    /// By `EventId`.
    under_way: HashMap<String, Course>,
    /// The latest at the end.
    ended: VecDeque<String>,
}

#[derive(Debug)]
struct Course {
    event_type: EventType,
    /// The most that was ever to be done about it; `None` where only the claim has named it so far.
    response: Option<Response>,
    not_before: Option<Timestamp>,
    started: Option<Timestamp>,
    drained: Option<Timestamp>,
    /// Of the machine when it was first seen.
    boot_id: String,
    claimed: bool,
    vetoed: bool,
}

impl Outcomes {
    /// The events of Nodes that are gone have ended with them.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool, now: Timestamp) -> Vec<Ended> {
        let gone = self.nodes.extract_if(|name, _| !is_there(name));
        gone.flat_map(|(name, courses)| courses.end_with_node(&name, now)).collect()
    }

    /// The events that have ended for this node since it was last looked at.
    pub(crate) fn look(
        &mut self,
        name: &str,
        node: &Node,
        policy: &EventPolicy,
        now: Timestamp,
    ) -> Vec<Ended> {
        let claim = story::claim(node);
        if claim.is_none() && node.own_events().is_empty() && !self.nodes.contains_key(name) {
            return Vec::new();
        }
        let courses = self.nodes.entry(name.to_owned()).or_default();
        let mut ended = Vec::new();
        if courses.node_uid != node.uid {
            let courses = std::mem::replace(courses, Courses::of(node));
            ended = courses.end_with_node(name, now);
        }
        for (event_id, event) in claim.iter().flat_map(|claim| &claim.events) {
            courses.claimed(event_id, event, claim.is_some_and(|claim| claim.phase == ClaimPhase::Drained));
        }
        for event in node.own_events() {
            courses.shown(event, node, policy.response(node, event), now);
        }
        let is_known = node.probe.as_ref().is_some_and(|probe| probe.document.is_some());
        let is_named = |event_id: &String| {
            claim.is_some_and(|claim| claim.events.contains_key(event_id))
                || node.own_events().iter().any(|event| event.event_id == *event_id)
        };
        let boot_id = boot_id(node);
        let over = courses
            .under_way
            .extract_if(|event_id, course| (is_known || course.claimed) && !is_named(event_id));
        for (event_id, course) in over {
            let began_anew = !boot_id.is_empty() && !course.boot_id.is_empty() && course.boot_id != boot_id;
            let outcome = course.outcome(course.started.is_some() || began_anew);
            courses.ended.push_back(event_id.clone());
            let event_type = course.event_type;
            ended.push(Ended { node: name.to_owned(), event_id, event_type, outcome });
        }
        courses.ended.drain(..courses.ended.len().saturating_sub(REMEMBERED));
        ended
    }
}

impl Courses {
    fn of(node: &Node) -> Self {
        Self { node_uid: node.uid.clone(), ..Self::default() }
    }

    fn end_with_node(self, name: &str, now: Timestamp) -> Vec<Ended> {
        let end = |(event_id, course): (String, Course)| {
            let is_due = course.not_before.is_some_and(|not_before| not_before <= now);
            let outcome = course.outcome(course.started.is_some() || is_due || course.event_type.destroys());
            Ended { node: name.to_owned(), event_id, event_type: course.event_type, outcome }
        };
        self.under_way.into_iter().map(end).collect()
    }

    /// The claim names it. `drained` says that the node is, for whatever came while it was.
    fn claimed(&mut self, event_id: &str, event: &ClaimedEvent, drained: bool) {
        let read = |text: &str| text.parse::<Timestamp>().ok();
        if self.ended.iter().any(|ended| ended == event_id) {
            return;
        }
        let new = || Course::new(event.event_type(), &event.boot_id);
        let course = self.under_way.entry(event_id.to_owned()).or_insert_with(new);
        course.claimed = true;
        course.vetoed = event.vetoed;
        course.not_before = parse_not_before(&event.not_before).or(course.not_before);
        course.started = read(&event.started_seen).or(course.started);
        let was_empty = || drained.then(|| read(&event.first_seen)).flatten();
        course.drained = read(&event.drained_at).or_else(was_empty).or(course.drained);
    }

    /// Only what a probe shows is bounded: it may make events up, and what a claim names was worth a write.
    fn shown(&mut self, event: &ScheduledEvent, node: &Node, response: Response, now: Timestamp) {
        if !self.under_way.contains_key(&event.event_id) {
            let is_odd = event.event_id.len() > LONGEST_ID || self.under_way.len() >= MOST;
            if is_odd || self.ended.contains(&event.event_id) {
                return;
            }
        }
        let new = || Course::new(event.event_type(), boot_id(node));
        let course = self.under_way.entry(event.event_id.clone()).or_insert_with(new);
        course.response = course.response.max(Some(response));
        course.not_before = event.not_before().or(course.not_before);
        if event.status() == EventStatus::Started {
            course.started = course.started.or(Some(now));
        }
    }
}

impl Course {
    fn new(event_type: EventType, boot_id: &str) -> Self {
        Self {
            event_type,
            response: None,
            not_before: None,
            started: None,
            drained: None,
            boot_id: boot_id.to_owned(),
            claimed: false,
            vetoed: false,
        }
    }

    fn outcome(&self, has_begun: bool) -> Outcome {
        if self.vetoed {
            return Outcome::Vetoed;
        }
        if let Some(drained) = self.drained {
            let begun = self.started.or(self.not_before).filter(|_| has_begun);
            let is_late = begun.is_some_and(|begun| begun < drained);
            return if is_late { Outcome::DrainedLate } else { Outcome::DrainedInTime };
        }
        let of_type = if self.event_type == EventType::Unknown { Response::Cordon } else { Response::Drain };
        match self.response.unwrap_or(of_type) {
            Response::Show => Outcome::ShownOnly,
            Response::Tolerate => Outcome::Tolerated,
            Response::Cordon if self.claimed => Outcome::CordonedOnly,
            Response::Cordon | Response::Drain if has_begun => Outcome::NotDrained,
            Response::Cordon | Response::Drain => Outcome::NeverStarted,
        }
    }
}

fn boot_id(node: &Node) -> &str {
    node.probe.as_ref().map_or("", |probe| &probe.boot_id)
}
