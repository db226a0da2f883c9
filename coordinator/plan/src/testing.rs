//! Nodes and probes for the tests of this crate.

use std::{sync::Arc, time::Duration};

use crate::{
    event::ScheduledEvent,
    fleet::{ClaimOnNode, Document, Evidence, Node, Probe, ProbeVm, Readiness},
    identity::VmReference,
    time::Monotonic,
};

pub(crate) fn vm(name: &str) -> Option<VmReference> {
    VmReference::parse(&format!(
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{name}"
    ))
}

/// A schedulable node that has been Ready for ever, on the machine of that name; its probe was never heard.
pub(crate) fn node(vm_name: &str) -> Node {
    Node {
        uid: format!("uid of {vm_name}"),
        resource_version: "1".into(),
        vm: vm(vm_name),
        covered: true,
        pool: "pool".into(),
        labels: Arc::default(),
        opted_out: false,
        unschedulable: false,
        cordon_owner: None,
        leaving: false,
        shut_down: false,
        readiness: Readiness { ready: true, since: Monotonic::default(), was_before: false },
        vm_event_condition: None,
        claim: ClaimOnNode::None,
        probe: None,
        drain: None,
        pending: None,
    }
}

/// The same in a pool and a zone, with labels.
pub(crate) fn node_in(pool: &str, zone: &str, labels: &[(&str, &str)]) -> Node {
    let zone = [("topology.kubernetes.io/zone", zone)];
    let labels = labels.iter().chain(&zone).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Node { pool: pool.into(), labels: Arc::new(labels.collect()), ..node("vm") }
}

/// A probe whose polls have shown an empty document for an hour.
pub(crate) fn probe(vm_name: &str, last_heard: Monotonic) -> Probe {
    let hour = Duration::from_hours(1);
    let evidence = Some(Evidence { consecutive_polls: 3_600, span: hour, continuous_for: hour });
    Probe {
        last_heard,
        boot_id: "boot".into(),
        vm: Some(ProbeVm { vm_id: format!("id of {vm_name}"), reference: vm(vm_name) }),
        document: Some(Arc::new(Document { complete: true, ..Document::default() })),
        unchanged_since: Monotonic::default(),
        evidence,
        evidence_of_document: evidence,
        proved_last: last_heard,
        listed: Arc::default(),
    }
}

/// An event of no machine's.
pub(crate) fn event(event_type: &str, status: &str, not_before: &str) -> ScheduledEvent {
    ScheduledEvent {
        event_type: event_type.into(),
        status: status.into(),
        not_before: not_before.into(),
        ..ScheduledEvent::default()
    }
}
