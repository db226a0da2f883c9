//! What other machines' probes say of a node whose own probe is silent. A hint: it is shown, and it may prove an
//! event over; it never moves a pod.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    coverage::Coverage,
    event::ScheduledEvent,
    fleet::{Fleet, Node, Probe},
    identity::VmReference,
    time::Monotonic,
};

/// The nodes with silent probes, and what is said of them.
#[derive(Default)]
pub(crate) struct Neighbours<'a> {
    hints: BTreeMap<&'a str, Hint<'a>>,
}

/// An event that another machine's probe shows.
#[derive(Clone, Copy)]
pub(crate) struct Hint<'a> {
    pub(crate) neighbour: &'a str,
    pub(crate) event: &'a ScheduledEvent,
}

impl<'a> Neighbours<'a> {
    pub(crate) fn of(fleet: &'a Fleet, now: Monotonic) -> Self {
        let mut silent = BTreeMap::<&str, Vec<(&str, &VmReference)>>::new();
        for (name, node) in &fleet.nodes {
            if let Some(vm) = node.vm.as_ref().filter(|_| Coverage::of(node, fleet, now).is_silent()) {
                silent.entry(vm.name()).or_default().push((name, vm));
            }
        }
        let mut hints = BTreeMap::new();
        let mut seen = BTreeSet::new();
        if silent.is_empty() {
            return Self { hints };
        }
        for (neighbour, node) in &fleet.nodes {
            let (Some(vm), Some(document)) = (&node.vm, heard(node, fleet, now)) else { continue };
            // The whole placement group shows the same events; one look at each will do.
            for event in document.other_events.iter().filter(|event| seen.insert(&event.event_id)) {
                for resource in &event.resources {
                    let named = silent.get(VmReference::name_in(resource).as_str());
                    for (name, _) in named.into_iter().flatten().filter(|(_, of)| vm.is_in_group_of(of)) {
                        hints.entry(*name).or_insert(Hint { neighbour, event });
                    }
                }
            }
        }
        Self { hints }
    }

    /// What is said of the node, if its own probe is silent.
    pub(crate) fn hint(&self, name: &str) -> Option<Hint<'a>> {
        self.hints.get(name).copied()
    }
}

/// The probes that have listed the event before and are heard now, on machines of the same resource group: the
/// only ones whose silence about it says something.
pub(crate) fn witnesses<'a>(
    fleet: &'a Fleet,
    of: &'a Node,
    event_id: &'a str,
    now: Monotonic,
) -> impl Iterator<Item = &'a Probe> {
    fleet.nodes.values().filter_map(move |node| {
        let group =
            node.vm.as_ref().zip(of.vm.as_ref()).is_some_and(|(one, other)| one.is_in_group_of(other));
        let probe = node.probe.as_ref()?;
        let listed = probe.listed.iter().any(|listed| listed.event_id == event_id);
        (group && node.uid != of.uid && listed && heard(node, fleet, now).is_some()).then_some(probe)
    })
}

fn heard<'a>(node: &'a Node, fleet: &Fleet, now: Monotonic) -> Option<&'a crate::fleet::Document> {
    let document = node.probe.as_ref()?.document.as_deref()?;
    Coverage::of(node, fleet, now).is_heard().then_some(document)
}
