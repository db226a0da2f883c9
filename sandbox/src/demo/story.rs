//! Tells what the referee has seen, one line for each thing worth knowing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::referee::{AzureFact, Fact, NodeSeen, PodSeen, Record, Request};

const COORDINATORS: &str = "system:serviceaccount:mechanic:mechanic-coordinator";

/// What has been told so far, as far as the next line depends on it.
#[derive(Debug, Default)]
pub(super) struct Story {
    announced: Option<Timestamp>,
    nodes: BTreeMap<String, NodeSeen>,
    pods: BTreeMap<String, PodSeen>,
    phases: BTreeMap<String, String>,
    off: BTreeSet<String>,
}

impl Story {
    /// The lines for these records, in order of time.
    pub(super) fn tell(&mut self, records: &[Record]) -> Vec<String> {
        let mut records: Vec<&Record> = records.iter().collect();
        records.sort_by_key(|record| record.at);
        let mut lines = Vec::new();
        for record in records {
            if let Fact::Azure(AzureFact::Announced { .. }) = record.fact {
                self.announced.get_or_insert(record.at);
            }
            let line = self.line(&record.fact);
            if let (Some(line), Some(announced)) = (line, self.announced) {
                let since = record.at.duration_since(announced).as_secs_f64();
                lines.push(format!("t+{since:5.1} s  {line}"));
            }
        }
        lines
    }

    fn line(&mut self, fact: &Fact) -> Option<String> {
        match fact {
            Fact::Azure(fact) => Some(self.of_azure(fact)),
            Fact::Request(request) => self.of_request(request),
            Fact::Node(seen) => self.of_node(seen),
            Fact::Pod(seen) => self.of_pod(seen),
            Fact::PodGone(uid) => {
                let pod = self.pods.remove(uid)?;
                Some(format!("           {} is gone from {}", pod.name, pod.node?))
            }
            Fact::NodeGone(_) | Fact::Budget(_) | Fact::Settings(_) | Fact::Script(_) => None,
        }
    }

    fn of_azure(&mut self, fact: &AzureFact) -> String {
        match fact {
            AzureFact::PoweredOff { node } => self.off.insert(node.clone()),
            AzureFact::PoweredOn { node } => self.off.remove(node),
            _ => false,
        };
        told_of_azure(fact)
    }

    fn of_request(&mut self, request: &Request) -> Option<String> {
        if request.user != COORDINATORS {
            return None;
        }
        if request.is_eviction() {
            let pod = &request.name;
            return Some(match request.code {
                429 => format!("mechanic   asks to evict {pod}: its PodDisruptionBudget says no, for now"),
                code if request.accepted() => format!("mechanic   evicts {pod} ({code})"),
                code => format!("mechanic   asks to evict {pod}: {code} {}", request.message),
            });
        }
        if request.resource == "nodes" && request.accepted() && request.is_write() {
            return self.of_claim(request);
        }
        None
    }

    fn of_claim(&mut self, request: &Request) -> Option<String> {
        let node = request.name.clone();
        let answer = request.answer.as_ref()?;
        let claim = answer.pointer("/metadata/annotations/mechanic~1claim").and_then(Value::as_str);
        let Some(claim) = claim else {
            let had = self.phases.remove(&node);
            return had
                .map(|_| format!("mechanic   gives {node} back: the claim is off, pods may come again"));
        };
        let claim: Value = serde_json::from_str(claim).ok()?;
        let phase = claim.get("phase").and_then(Value::as_str).unwrap_or("?").to_owned();
        let before = self.phases.insert(node.clone(), phase.clone());
        match (before, phase.as_str()) {
            (None, _) => Some(format!("mechanic   claims and cordons {node}, in one write")),
            (Some(before), now) if before != now => Some(match now {
                "draining" => format!("mechanic   begins to drain {node}"),
                "drained" => format!("mechanic   has drained {node}"),
                now => format!("mechanic   notes on {node}: {now}"),
            }),
            _ => None,
        }
    }

    fn of_node(&mut self, seen: &NodeSeen) -> Option<String> {
        let before = self.nodes.insert(seen.name.clone(), seen.clone())?;
        match (before.ready, seen.ready) {
            (true, false) => Some(format!("cluster    {} is NotReady", seen.name)),
            (false, true) => Some(format!("cluster    {} is Ready again", seen.name)),
            _ => None,
        }
    }

    fn of_pod(&mut self, seen: &PodSeen) -> Option<String> {
        let before = self.pods.insert(seen.uid.clone(), seen.clone());
        let was_ready = before.map(|before| before.ready);
        let off = seen.node.as_ref().is_some_and(|node| self.off.contains(node));
        if off && was_ready == Some(true) && !seen.ready {
            return Some(format!("           {} died with its VM", seen.name));
        }
        let came = seen.ready && was_ready == Some(false);
        came.then(|| {
            format!("           {} is Ready on {}", seen.name, seen.node.as_deref().unwrap_or("no node"))
        })
    }
}

fn told_of_azure(fact: &AzureFact) -> String {
    match fact {
        AzureFact::Announced { event, nodes, .. } => format!(
            "Azure      announces for the VM of {}: {}, not before {} ({})",
            nodes.join(", "),
            event.event_type,
            event.not_before,
            short(&event.event_id)
        ),
        AzureFact::Started { event } => format!("Azure      starts the event ({})", short(event)),
        AzureFact::Removed { event } => format!("Azure      shows the event no longer ({})", short(event)),
        AzureFact::PoweredOff { node } => {
            format!(
                "Azure      takes the VM of {node} away: its probe is killed, its metadata service silent"
            )
        }
        AzureFact::PoweredOn { node } => format!("Azure      boots the VM of {node}: a new boot id"),
        AzureFact::Replaced { node } => format!("Azure      puts another VM behind {node}"),
    }
}

fn short(event: &str) -> &str {
    event.split('-').next().unwrap_or(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::Event;

    #[test]
    fn times_count_from_the_announcement_and_what_was_before_is_not_told() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let ready = |ready| Fact::Node(NodeSeen { name: "n1".into(), ready, ..NodeSeen::default() });
        let event = Event {
            event_id: "ABC-1".into(),
            not_before: "soon".into(),
            ..Event::scheduled("Reboot", ["vm"], std::time::Duration::ZERO)
        };
        let announced =
            AzureFact::Announced { event: Box::new(event), nodes: vec!["n1".into()], avoidable: true };
        let mut story = Story::default();
        let lines = story.tell(&[
            Record { at: at("2026-11-23T12:00:12.5Z"), fact: ready(false) },
            Record { at: at("2026-11-23T12:00:00Z"), fact: ready(true) },
            Record { at: at("2026-11-23T12:00:10Z"), fact: Fact::Azure(announced) },
        ]);
        assert_eq!(
            lines,
            [
                "t+  0.0 s  Azure      announces for the VM of n1: Reboot, not before soon (ABC)",
                "t+  2.5 s  cluster    n1 is NotReady",
            ]
        );
    }
}
