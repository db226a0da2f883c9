//! Tells what the referee has seen, one line for each thing worth knowing.

mod azure;
mod lines;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::nodes::NodeSpec;
use crate::referee::{AzureFact, Fact, NodeSeen, PodSeen, Record, Request};

use lines::{Group, Lines};

const COORDINATORS: &str = "system:serviceaccount:mechanic:mechanic-coordinator";
const PERSON: &str = "person";

/// What has been told so far, as far as the next line depends on it.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// What people call each node: its pool and its number.
    short: BTreeMap<String, String>,
    begun: Option<Timestamp>,
    leader: String,
    nodes: BTreeMap<String, NodeSeen>,
    unschedulable: BTreeSet<String>,
    pods: BTreeMap<String, PodSeen>,
    phases: BTreeMap<String, String>,
    events: BTreeMap<String, String>,
    refused: BTreeSet<String>,
    off: BTreeSet<String>,
}

impl Story {
    /// A story about these nodes.
    pub(super) fn about(nodes: &[NodeSpec]) -> Self {
        let short =
            nodes.iter().map(|node| (node.name.clone(), format!("{}/{}", node.pool.name, node.instance)));
        Self { short: short.collect(), ..Self::default() }
    }

    /// The lines for these records, in order of time. What was before the script's first deed isn't told.
    pub(super) fn tell(&mut self, records: &[Record]) -> Vec<String> {
        let mut records: Vec<&Record> = records.iter().collect();
        records.sort_by_key(|record| record.at);
        let mut lines = Lines::default();
        for record in records {
            if is_deed(&record.fact) {
                self.begun.get_or_insert(record.at);
            }
            let mut told = Lines::default();
            self.add(record.at, &record.fact, &mut told);
            if self.begun.is_some() {
                lines.append(told);
            }
        }
        lines.render(self.begun.unwrap_or_default())
    }

    /// How things stand, in one line.
    pub(super) fn status(&self) -> String {
        let count = |phase: &str| self.phases.values().filter(|now| *now == phase).count();
        let leader = self.leader.rsplit('-').next().unwrap_or_default();
        let (draining, drained) = (count("draining"), count("drained"));
        format!("{} nodes held: {draining} draining, {drained} drained │ {leader} leads", self.phases.len())
    }

    fn name(&self, node: &str) -> String {
        self.short.get(node).cloned().unwrap_or_else(|| node.to_owned())
    }

    fn names(&self, nodes: &[String]) -> String {
        nodes.iter().map(|node| self.name(node)).collect::<Vec<_>>().join(", ")
    }

    fn add(&mut self, at: Timestamp, fact: &Fact, lines: &mut Lines) {
        match fact {
            Fact::Azure(fact) => {
                match fact {
                    AzureFact::PoweredOff { node } => drop(self.off.insert(node.clone())),
                    AzureFact::PoweredOn { node } => drop(self.off.remove(node)),
                    _ => {}
                }
                let line = self.of_azure(fact);
                lines.say(at, "Azure", line);
            }
            Fact::Script(what) => lines.say(at, "script", self.shortened(what)),
            Fact::Request(request) if request.user == COORDINATORS => self.add_request(at, request, lines),
            Fact::Request(request) => self.add_foreign(at, request, lines),
            Fact::Node(seen) => self.add_node(at, seen, lines),
            Fact::NodeGone(name) => {
                self.nodes.remove(name);
                self.phases.remove(name);
                lines.say(at, "cluster", format!("the Node {} is gone", self.name(name)));
            }
            Fact::Pod(seen) => self.add_pod(at, seen, lines),
            Fact::PodGone(uid) => {
                let Some(pod) = self.pods.remove(uid) else { return };
                let Some(node) = pod.node else { return };
                lines.add(at, Group::Gone(self.name(&node)), pod.name);
            }
            Fact::Budget(_) | Fact::Settings(_) => {}
        }
    }

    fn shortened(&self, what: &str) -> String {
        self.short.iter().fold(what.to_owned(), |what, (name, short)| what.replace(name.as_str(), short))
    }

    fn add_request(&mut self, at: Timestamp, request: &Request, lines: &mut Lines) {
        if request.is_eviction() {
            return self.add_eviction(at, request, lines);
        }
        if !request.accepted() || !request.is_write() || !request.subresource.is_empty() {
            return;
        }
        match request.resource.as_str() {
            "nodes" => self.add_claim(at, request, lines),
            "leases" => self.add_leader(at, request, lines),
            _ => {}
        }
    }

    fn add_eviction(&mut self, at: Timestamp, request: &Request, lines: &mut Lines) {
        let uid = request.uid_precondition().unwrap_or_default();
        let node = self.pods.get(uid).and_then(|pod| pod.node.as_deref()).map(|node| self.name(node));
        let node = node.unwrap_or_else(|| "its node".into());
        let pod = request.name.clone();
        match request.code {
            // It asks again and again; the first no is what is worth knowing.
            429 if self.refused.insert(uid.to_owned()) => lines.add(at, Group::Refused(node), pod),
            429 => {}
            _ if request.accepted() && self.refused.remove(uid) => {
                lines.add(at, Group::AllowedNow(node), pod);
            }
            _ if request.accepted() => lines.add(at, Group::Evicted(node), pod),
            code => lines.add(at, Group::Failed(node, format!("{code} {}", request.message)), pod),
        }
    }

    fn add_claim(&mut self, at: Timestamp, request: &Request, lines: &mut Lines) {
        let (node, short) = (request.name.clone(), self.name(&request.name));
        let Some(answer) = request.answer.as_ref() else { return };
        let cordoned = self.note_schedulable(&node, answer);
        let claim = answer.pointer("/metadata/annotations/mechanic~1claim").and_then(Value::as_str);
        let Some(claim) = claim else {
            if self.phases.remove(&node).is_some() {
                let still = if cordoned { "as cordoned as it was" } else { "pods may come again" };
                lines.say(at, "mechanic", format!("gives {short} back: the claim is off, {still}"));
            }
            return;
        };
        let claim: Option<Value> = serde_json::from_str(claim).ok();
        let phase = claim.as_ref().and_then(|claim| claim.get("phase")?.as_str()).unwrap_or("?").to_owned();
        let before = self.phases.insert(node, phase.clone());
        let line = match (before, phase.as_str()) {
            (None, _) if cordoned => format!("claims and cordons {short}, in one write"),
            (None, _) => format!("claims {short}"),
            (Some(before), now) if before == now => return,
            (_, "draining") => format!("begins to drain {short}"),
            (_, "drained") => format!("has drained {short}"),
            (_, now) => format!("notes on {short}: {now}"),
        };
        lines.say(at, "mechanic", line);
    }

    fn add_leader(&mut self, at: Timestamp, request: &Request, lines: &mut Lines) {
        let holder =
            request.answer.as_ref().and_then(|lease| lease.pointer("/spec/holderIdentity")?.as_str());
        let pod = holder.unwrap_or_default().split('_').next().unwrap_or_default();
        if pod == self.leader {
            return;
        }
        let before = std::mem::replace(&mut self.leader, pod.to_owned());
        lines.say(
            at,
            "mechanic",
            match (pod, before.as_str()) {
                ("", before) => format!("{before} steps down: nobody leads"),
                (pod, "") => format!("{pod} leads"),
                (pod, before) => format!("{pod} leads, after {before}"),
            },
        );
    }

    /// What people do to nodes beside mechanic.
    fn add_foreign(&mut self, at: Timestamp, request: &Request, lines: &mut Lines) {
        if request.resource != "nodes" || !request.accepted() || !request.subresource.is_empty() {
            return;
        }
        let Some(answer) = request.answer.as_ref() else { return };
        let before = self.unschedulable.contains(&request.name);
        let now = self.note_schedulable(&request.name, answer);
        if request.user == PERSON && before != now {
            let does = if now { "cordons" } else { "uncordons" };
            lines.say(at, "person", format!("{does} {}", self.name(&request.name)));
        }
    }

    /// Remembers whether the node takes pods; true where it doesn't.
    fn note_schedulable(&mut self, node: &str, answer: &Value) -> bool {
        let cordoned = answer.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or_default();
        if cordoned {
            self.unschedulable.insert(node.to_owned());
        } else {
            self.unschedulable.remove(node);
        }
        cordoned
    }

    fn add_node(&mut self, at: Timestamp, seen: &NodeSeen, lines: &mut Lines) {
        let before = self.nodes.insert(seen.name.clone(), seen.clone());
        let short = self.name(&seen.name);
        match (before.map(|before| before.ready), seen.ready) {
            (None, _) => lines.say(at, "cluster", format!("there is a Node {short}")),
            (Some(true), false) => lines.say(at, "cluster", format!("{short} is NotReady")),
            (Some(false), true) => lines.say(at, "cluster", format!("{short} is Ready again")),
            _ => {}
        }
    }

    fn add_pod(&mut self, at: Timestamp, seen: &PodSeen, lines: &mut Lines) {
        let before = self.pods.insert(seen.uid.clone(), seen.clone());
        let was_ready = before.map(|before| before.ready);
        let Some(node) = seen.node.as_ref() else { return };
        if self.off.contains(node) && was_ready == Some(true) && !seen.ready {
            lines.add(at, Group::Died(self.name(node)), seen.name.clone());
        } else if seen.ready && was_ready == Some(false) {
            lines.add(at, Group::Ready, format!("{} on {}", seen.name, self.name(node)));
        }
    }
}

/// Something that was done to the cluster on purpose.
fn is_deed(fact: &Fact) -> bool {
    match fact {
        Fact::Azure(_) | Fact::Script(_) => true,
        Fact::Request(request) => request.user == PERSON,
        _ => false,
    }
}
