//! What other machines' probes say of a node whose own probe is silent. A hint: it is shown, and it may prove an
//! event over; it never moves a pod.

use std::collections::{HashMap, HashSet};

use crate::{
    coverage::Observed,
    event::ScheduledEvent,
    fleet::{ClaimOnNode, Document, Node, Probe},
    identity::VmReference,
};

/// What is said of the nodes with silent probes.
#[derive(Default)]
pub(crate) struct Neighbours<'a> {
    hints: HashMap<&'a str, Hint<'a>>,
    /// By the id of an event that such a node's claim or last document names.
    witnesses: HashMap<&'a str, Vec<Witness<'a>>>,
}

/// An event that another machine's probe shows.
#[derive(Clone, Copy)]
pub(crate) struct Hint<'a> {
    pub(crate) neighbour: &'a str,
    pub(crate) event: &'a ScheduledEvent,
}

/// A probe that has listed an event before and is heard now: only its silence about it says something.
pub(crate) struct Witness<'a> {
    node: &'a Node,
    pub(crate) probe: &'a Probe,
    /// Whether it shows the event still.
    pub(crate) shows: bool,
}

impl<'a> Neighbours<'a> {
    pub(crate) fn of(observed: &[Observed<'a>]) -> Self {
        let is_silent = |observed: &Observed<'_>| observed.coverage.is_silent();
        let silent: Vec<Observed<'a>> = observed.iter().copied().filter(is_silent).collect();
        if silent.is_empty() {
            return Self::default();
        }
        let heard: Vec<Heard<'a>> = observed.iter().filter_map(heard).collect();
        Self { hints: hints(&silent, &heard), witnesses: witnesses(&silent, &heard) }
    }

    /// What is said of the node `name`, if its own probe is silent.
    pub(crate) fn hint(&self, name: &str) -> Option<Hint<'a>> {
        self.hints.get(name).copied()
    }

    /// Who can say whether an event of `node` is over: on other machines of its resource group.
    pub(crate) fn witnesses(&self, node: &Node, event_id: &str) -> impl Iterator<Item = &Witness<'a>> {
        let of_event = self.witnesses.get(event_id).into_iter().flatten();
        of_event.filter(move |witness| {
            let machines = witness.node.vm.as_ref().zip(node.vm.as_ref());
            machines.is_some_and(|(one, other)| one.is_in_group_of(other)) && witness.node.uid != node.uid
        })
    }

    /// Whether others have listed an event of `node`, and none of them does any more.
    pub(crate) fn have_seen_gone(&self, node: &Node, event_id: &str) -> bool {
        let mut witnesses = self.witnesses(node, event_id).peekable();
        witnesses.peek().is_some() && witnesses.all(|witness| !witness.shows)
    }
}

/// A node whose probe is heard, and the newest document.
struct Heard<'a> {
    name: &'a str,
    node: &'a Node,
    probe: &'a Probe,
    document: &'a Document,
}

fn heard<'a>(&Observed { name, node, coverage }: &Observed<'a>) -> Option<Heard<'a>> {
    let probe = node.probe.as_ref().filter(|_| coverage.is_heard())?;
    Some(Heard { name, node, probe, document: probe.document.as_deref()? })
}

fn hints<'a>(silent: &[Observed<'a>], heard: &[Heard<'a>]) -> HashMap<&'a str, Hint<'a>> {
    let mut machines = HashMap::<&str, Vec<(&str, &VmReference)>>::new();
    for observed in silent {
        if let Some(vm) = &observed.node.vm {
            machines.entry(vm.name()).or_default().push((observed.name, vm));
        }
    }
    let mut hints = HashMap::new();
    let mut seen = HashSet::new();
    for &Heard { name: neighbour, node, document, .. } in heard {
        let Some(vm) = &node.vm else { continue };
        // The whole placement group shows the same events; one look at each will do.
        for event in document.other_events.iter().filter(|event| seen.insert(&event.event_id)) {
            for resource in &event.resources {
                let named = machines.get(VmReference::name_in(resource).as_str());
                for (name, _) in named.into_iter().flatten().filter(|(_, of)| vm.is_in_group_of(of)) {
                    hints.entry(*name).or_insert(Hint { neighbour, event });
                }
            }
        }
    }
    hints
}

fn witnesses<'a>(silent: &[Observed<'a>], heard: &[Heard<'a>]) -> HashMap<&'a str, Vec<Witness<'a>>> {
    let mut witnesses = HashMap::<&str, Vec<Witness<'_>>>::new();
    for Observed { node, .. } in silent {
        let claimed = match &node.claim {
            ClaimOnNode::Readable(claim) => Some(claim.events.keys()),
            _ => None,
        };
        let shown = node.own_events().iter().map(|event| &event.event_id);
        let event_ids = claimed.into_iter().flatten().chain(shown);
        witnesses.extend(event_ids.map(|event_id| (event_id.as_str(), Vec::new())));
    }
    if witnesses.is_empty() {
        return witnesses;
    }
    for &Heard { node, probe, document, .. } in heard {
        for listed in &*probe.listed {
            if let Some(of_event) = witnesses.get_mut(listed.event_id.as_str()) {
                let shows = document.lists(&listed.event_id);
                of_event.push(Witness { node, probe, shows });
            }
        }
    }
    witnesses
}
