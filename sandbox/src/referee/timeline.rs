//! The history put in order: the states of each Node, the terms of the Lease, the lives of pods and of events.

mod ask;
mod budgets;
mod deadline;
mod reasons;

use std::collections::BTreeMap;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use serde::de::DeserializeOwned;

use super::history::{AzureFact, BudgetSeen, Fact, History, NodeSeen, PodSeen, Request};
use super::promises::Promises;
use super::settings::Settings;
use crate::azure::Event;

/// How much later than it happened something may reach the referee's watch. Nothing is held against anybody that
/// rests on a difference smaller than this.
pub(super) const WATCH_LAG: SignedDuration = SignedDuration::from_millis(500);

/// A Node between two writes.
pub(super) struct NodeState<'a> {
    pub(super) seen: NodeSeen,
    /// It did not hold before this.
    pub(super) earliest: Timestamp,
    /// It held from here on at the latest.
    pub(super) latest: Timestamp,
    /// The write that made it so, unless it was one on the status.
    pub(super) written: Option<&'a Request>,
}

/// The Lease as a coordinator wrote it. What people edit into it makes nobody a leader.
pub(super) struct Term<'a> {
    /// Empty after a leader stepped down.
    pub(super) holder: String,
    pub(super) version: u64,
    pub(super) duration: SignedDuration,
    pub(super) written: &'a Request,
}

/// A pod from first to last sight.
pub(super) struct PodLife<'a> {
    pub(super) states: Vec<(Timestamp, &'a PodSeen)>,
    pub(super) gone: Option<Timestamp>,
}

/// An event of one VM.
#[derive(Clone, Debug)]
pub(super) struct EventLife<'a> {
    pub(super) id: &'a str,
    /// As it was first shown.
    pub(super) event: &'a Event,
    /// When it may begin, as it was shown from when on; nothing where nobody can read that.
    pub(super) not_before: Vec<(Timestamp, Option<Timestamp>)>,
    pub(super) node: &'a str,
    pub(super) avoidable: bool,
    pub(super) announced: Timestamp,
    pub(super) started: Option<Timestamp>,
    pub(super) removed: Option<Timestamp>,
}

/// A time without the VM.
pub(super) struct Outage<'a> {
    pub(super) node: &'a str,
    pub(super) from: Timestamp,
    pub(super) until: Option<Timestamp>,
}

/// Everything, in order.
pub(super) struct Timeline<'a> {
    /// By name, then by version.
    pub(super) nodes: BTreeMap<String, Vec<NodeState<'a>>>,
    pub(super) gone_nodes: Vec<(Timestamp, &'a str)>,
    /// By version.
    pub(super) terms: Vec<Term<'a>>,
    /// By UID.
    pub(super) pods: BTreeMap<&'a str, PodLife<'a>>,
    /// By namespace and name, then by time.
    pub(super) budgets: BTreeMap<(&'a str, &'a str), Vec<(Timestamp, &'a BudgetSeen)>>,
    /// By the time of the answer.
    pub(super) requests: Vec<&'a Request>,
    pub(super) events: Vec<EventLife<'a>>,
    pub(super) outages: Vec<Outage<'a>>,
    /// What is in force from when on; something is from the beginning.
    pub(super) settings: Vec<(Timestamp, Settings)>,
    /// When the last thing was noticed.
    pub(super) end: Timestamp,
}

impl<'a> Timeline<'a> {
    pub(super) fn of(history: &'a History, promises: &Promises) -> Self {
        let mut timeline = Self {
            nodes: BTreeMap::new(),
            gone_nodes: Vec::new(),
            terms: Vec::new(),
            pods: BTreeMap::new(),
            budgets: BTreeMap::new(),
            requests: Vec::new(),
            events: Vec::new(),
            outages: Vec::new(),
            settings: vec![(Timestamp::MIN, promises.settings.clone())],
            end: history.records.iter().map(|record| record.at).max().unwrap_or(Timestamp::UNIX_EPOCH),
        };
        for record in &history.records {
            timeline.add(record.at, &record.fact, promises);
        }
        timeline.requests.sort_by_key(|request| request.answered);
        timeline.terms.sort_by_key(|term| term.version);
        for states in timeline.nodes.values_mut() {
            // A write and the watch show the same version; a write that changed nothing shows an older one again.
            states.sort_by_key(|state| (state.seen.version, state.written.is_none(), state.earliest));
            states.dedup_by(|later, first| later.seen.version == first.seen.version);
        }
        timeline
    }

    fn add(&mut self, at: Timestamp, fact: &'a Fact, promises: &Promises) {
        match fact {
            Fact::Node(seen) => self.nodes.entry(seen.name.clone()).or_default().push(NodeState {
                seen: seen.clone(),
                earliest: at,
                latest: at,
                written: None,
            }),
            Fact::NodeGone(name) => self.gone_nodes.push((at, name)),
            Fact::Pod(seen) => {
                let life = self.pods.entry(&seen.uid).or_insert(PodLife { states: Vec::new(), gone: None });
                life.states.push((at, seen));
            }
            Fact::PodGone(uid) => {
                if let Some(life) = self.pods.get_mut(uid.as_str()) {
                    life.gone.get_or_insert(at);
                }
            }
            Fact::Budget(seen) => {
                self.budgets.entry((&seen.namespace, &seen.name)).or_default().push((at, seen));
            }
            Fact::Request(request) => self.add_request(request, promises),
            Fact::Settings(seen) if seen.namespace == promises.namespace => {
                let before = self.settings.last().map_or(&promises.settings, |(_, settings)| settings);
                let settings = Settings::read(&seen.data, &promises.settings, before);
                self.settings.push((at, settings));
            }
            Fact::Azure(fact) => self.add_azure(at, fact),
            Fact::Settings(_) | Fact::Script(_) => {}
        }
    }

    fn add_request(&mut self, request: &'a Request, promises: &Promises) {
        self.requests.push(request);
        if !request.accepted() || !request.is_write() || !request.subresource.is_empty() {
            return;
        }
        if request.resource == "nodes" {
            if let Some(node) = answer::<Node>(request, "Node") {
                let seen = NodeSeen::from(&node);
                let (earliest, latest) = (request.received, request.answered);
                let state = NodeState { seen, earliest, latest, written: Some(request) };
                self.nodes.entry(state.seen.name.clone()).or_default().push(state);
            }
        } else if request.resource == "leases"
            && promises.is_coordinator(request)
            && let Some(lease) = answer::<Lease>(request, "Lease")
            && lease.name_any() == promises.lease
        {
            let version = lease.resource_version().and_then(|version| version.parse().ok());
            let spec = lease.spec.unwrap_or_default();
            self.terms.push(Term {
                holder: spec.holder_identity.unwrap_or_default(),
                version: version.unwrap_or_default(),
                duration: SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or_default().into()),
                written: request,
            });
        }
    }

    fn add_azure(&mut self, at: Timestamp, fact: &'a AzureFact) {
        match fact {
            AzureFact::Announced { event, nodes, avoidable } => {
                self.events.extend(nodes.iter().map(|node| EventLife {
                    id: &event.event_id,
                    event,
                    not_before: vec![(at, read_not_before(&event.not_before))],
                    node,
                    avoidable: *avoidable,
                    announced: at,
                    started: (event.event_status == "Started").then_some(at),
                    removed: None,
                }));
            }
            AzureFact::Moved { event, not_before } => {
                for life in self.events.iter_mut().filter(|life| life.id == event) {
                    life.not_before.push((at, read_not_before(not_before)));
                }
            }
            AzureFact::Started { event } => {
                for life in self.events.iter_mut().filter(|life| life.id == event) {
                    life.started.get_or_insert(at);
                }
            }
            AzureFact::Removed { event } => {
                for life in self.events.iter_mut().filter(|life| life.id == event) {
                    life.removed.get_or_insert(at);
                }
            }
            AzureFact::Replaced { node } => {
                for life in self.events.iter_mut().filter(|life| life.node == node) {
                    life.removed.get_or_insert(at);
                }
            }
            AzureFact::PoweredOff { node } => self.outages.push(Outage { node, from: at, until: None }),
            AzureFact::PoweredOn { node } => {
                if let Some(outage) = self.outages.iter_mut().rfind(|outage| outage.node == node) {
                    outage.until.get_or_insert(at);
                }
            }
        }
    }

    /// The states of a Node with the one before each; the first of each Node (by UID) has none before it.
    pub(super) fn steps<'t>(
        &'t self,
        node: &str,
    ) -> impl Iterator<Item = (Option<&'t NodeState<'a>>, &'t NodeState<'a>)> {
        let states = self.nodes.get(node).map(Vec::as_slice).unwrap_or_default();
        states.iter().enumerate().map(|(index, state)| {
            let before = index.checked_sub(1).and_then(|index| states.get(index));
            (before.filter(|before| before.seen.uid == state.seen.uid), state)
        })
    }

    /// Could the Node have been held by mechanic at some moment between the two?
    pub(super) fn may_be_held(&self, node: &str, from: Timestamp, until: Timestamp) -> bool {
        let states = self.nodes.get(node).map(Vec::as_slice).unwrap_or_default();
        states.iter().enumerate().any(|(index, state)| {
            let ended = states.get(index + 1).map(|next| next.latest);
            state.seen.labelled
                && state.seen.claim.is_some()
                && state.earliest <= until
                && ended.is_none_or(|ended| from <= ended)
        })
    }

    /// The pod that an eviction or a delete was about.
    pub(super) fn target(&self, request: &Request) -> Option<&PodLife<'a>> {
        if let Some(life) = request.uid_precondition().and_then(|uid| self.pods.get(uid)) {
            return Some(life);
        }
        let mut namesakes: Vec<_> =
            self.pods.values().filter(|life| life.is_named(&request.namespace, &request.name)).collect();
        namesakes.sort_by_key(|life| life.first_seen());
        let alive = namesakes.iter().find(|life| life.gone.is_none_or(|gone| gone >= request.received));
        alive.or(namesakes.last()).copied()
    }

    /// The pods that lead, or may lead, at that moment.
    pub(super) fn leads(&self, pod: &str, at: Timestamp) -> bool {
        let term = self.terms.iter().rev().find(|term| term.written.received <= at);
        term.is_some_and(|term| is_pod_of(&term.holder, pod))
    }
}

impl<'a> PodLife<'a> {
    pub(super) fn first_seen(&self) -> Option<Timestamp> {
        self.states.first().map(|(at, _)| *at)
    }

    pub(super) fn last(&self) -> Option<&'a PodSeen> {
        self.states.last().map(|(_, seen)| *seen)
    }

    pub(super) fn at(&self, at: Timestamp) -> Option<&'a PodSeen> {
        self.states.iter().rev().find(|(seen_at, _)| *seen_at <= at).map(|(_, seen)| *seen)
    }

    pub(super) fn node(&self) -> Option<&'a str> {
        self.last().and_then(|seen| seen.node.as_deref())
    }

    /// Namespace and name, for people.
    pub(super) fn full_name(&self) -> String {
        self.last().map_or_else(String::new, |seen| format!("{}/{}", seen.namespace, seen.name))
    }

    fn is_named(&self, namespace: &str, name: &str) -> bool {
        self.last().is_some_and(|seen| seen.namespace == namespace && seen.name == name)
    }
}

fn read_not_before(text: &str) -> Option<Timestamp> {
    let time = strtime::parse("%a, %d %b %Y %H:%M:%S GMT", text).and_then(|time| time.to_datetime());
    time.and_then(|time| time.to_zoned(TimeZone::UTC)).map(|time| time.timestamp()).ok()
}

/// A holder is a pod's name, or that and a suffix after `_`.
pub(super) fn is_pod_of(holder: &str, pod: &str) -> bool {
    holder.strip_prefix(pod).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

fn answer<T: DeserializeOwned>(request: &Request, kind: &str) -> Option<T> {
    let object = request.answer.as_ref()?;
    if object.get("kind")?.as_str()? != kind {
        return None;
    }
    serde_json::from_value(object.clone()).ok()
}
