//! How long one plan takes over 5,000 nodes. `cargo bench -p mechanic-plan --bench plan`.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use mechanic_plan::{
    ClaimOnNode, Document, Evidence, Fleet, Listed, Monotonic, Node, NodeWrite, Now, Probe, ProbeVm,
    Readiness, ScheduledEvent, VmReference, plan,
};

const NODES: usize = 5_000;
/// Machines of one placement group see each other's events.
const GROUP: usize = 100;
const RUNS: usize = 30;
const NOW: Monotonic = Monotonic(Duration::from_hours(24));

fn main() {
    println!("plan over {NODES} nodes, {RUNS} runs each: minimum, median, maximum; the bar is 20 ms");
    let quiet = fleet(0, |_| false);
    measure("nothing announced", &quiet);
    let findings = fleet(10, |_| false);
    measure("500 findings", &findings);
    measure("500 findings, all claimed", &claimed(findings.clone()));
    let silent = fleet(10, |number| number % GROUP >= GROUP - 10);
    measure("500 findings, 500 silent probes", &silent);
    let crowded = fleet(100, |number| number % GROUP >= GROUP - 10);
    measure("100 events per placement group, 500 silent probes", &crowded);
    measure("the same, all claimed", &claimed(crowded.clone()));
    let mut vanished = claimed(crowded);
    vanish(&mut vanished);
    measure("the same, and every event has vanished", &vanished);
}

fn now() -> Now {
    Now { wall: "2026-11-23T12:00:00Z".parse().unwrap(), monotonic: NOW }
}

fn measure(what: &str, fleet: &Fleet) {
    let mut took: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            black_box(plan(black_box(fleet), now()));
            start.elapsed()
        })
        .collect();
    took.sort_unstable();
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    let [minimum, median, maximum] = [0, RUNS / 2, RUNS - 1].map(|run| milliseconds(took[run]));
    println!("{what:52} {minimum:7.2} ms {median:7.2} ms {maximum:7.2} ms");
}

/// Nodes in pools and placement groups of 100; in each group so many machines have an event.
fn fleet(events_in_group: usize, silent: impl Fn(usize) -> bool) -> Fleet {
    let mut nodes = BTreeMap::new();
    for group in 0..NODES / GROUP {
        let events: Vec<ScheduledEvent> =
            (0..events_in_group).map(|number| event(group * GROUP + GROUP - 1 - number)).collect();
        for number in group * GROUP..(group + 1) * GROUP {
            nodes.insert(format!("node-{number:05}"), Arc::new(node(number, &events, silent(number))));
        }
    }
    Fleet { epoch: 1, nodes, ..Fleet::default() }
}

fn reference(number: usize) -> Option<VmReference> {
    VmReference::parse(&format!(
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{}",
        vm(number)
    ))
}

fn vm(number: usize) -> String {
    format!("aks-pool-12345678-vmss_{number}")
}

fn event(number: usize) -> ScheduledEvent {
    let not_before: Timestamp =
        now().wall + SignedDuration::from_mins(10 + i64::try_from(number % 5).unwrap());
    ScheduledEvent {
        event_id: format!("0B1DD2E7-26C4-4D0B-8D5B-{number:012}"),
        event_type: ["Reboot", "Freeze", "Redeploy", "Terminate"][number % 4].into(),
        status: "Scheduled".into(),
        not_before: not_before.to_string(),
        resources: vec![vm(number)],
        resource_type: "VirtualMachine".into(),
        source: "Platform".into(),
        ..ScheduledEvent::default()
    }
}

fn node(number: usize, events: &[ScheduledEvent], silent: bool) -> Node {
    let own = vm(number);
    let (own_events, other_events) = events.iter().cloned().partition(|event| event.resources.contains(&own));
    let hour = Duration::from_hours(1);
    let evidence = Some(Evidence { consecutive_polls: 3_600, span: hour, continuous_for: hour });
    let probe = Probe {
        last_heard: if silent { NOW.before(Duration::from_mins(2)) } else { NOW },
        boot_id: format!("boot-{number}"),
        vm: Some(ProbeVm { vm_id: format!("id-{number}"), reference: reference(number) }),
        document: Some(Arc::new(Document { own_events, other_events, complete: true })),
        unchanged_since: Monotonic::default(),
        evidence,
        evidence_of_document: evidence,
        proved_last: NOW,
        listed: Arc::new(
            events
                .iter()
                .map(|event| Listed { event_id: event.event_id.clone(), since: Monotonic::default() })
                .collect(),
        ),
    };
    Node {
        uid: format!("uid-{number}"),
        resource_version: "1".into(),
        vm: reference(number),
        covered: true,
        pool: format!("pool-{}", number / 1_000),
        labels: Arc::default(),
        opted_out: false,
        unschedulable: false,
        cordon_owner: None,
        leaving: false,
        shut_down: false,
        readiness: Readiness { ready: true, since: Monotonic::default(), was_before: false },
        vm_event_condition: None,
        claim: ClaimOnNode::None,
        probe: Some(probe),
        drain: None,
        pending: None,
    }
}

/// Lets every write of one plan after the other land, until nothing more is claimed.
fn claimed(mut fleet: Fleet) -> Fleet {
    fleet.config.max_cordoned = mechanic_plan::Amount::Percent(100);
    loop {
        let mut more = false;
        for (name, decision) in plan(&fleet, now()) {
            if let Some(NodeWrite::Hold { claim, cordon }) = decision.write {
                let node = Arc::make_mut(fleet.nodes.get_mut(&name).unwrap());
                more |= node.claim == ClaimOnNode::None;
                node.claim = ClaimOnNode::Readable(*claim);
                node.unschedulable |= cordon;
            }
        }
        if !more {
            return fleet;
        }
    }
}

/// The documents are empty, and for so long that it may be a proof.
fn vanish(fleet: &mut Fleet) {
    for node in fleet.nodes.values_mut() {
        if let Some(probe) = &mut Arc::make_mut(node).probe {
            probe.document = Some(Arc::new(Document { complete: true, ..Document::default() }));
        }
    }
}
