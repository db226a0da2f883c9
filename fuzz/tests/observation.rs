//! What a probe says, from bytes to the plan: it must say nothing of any node but its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use mechanic_coordinator::fuzzing::{OWN_MACHINE, OWN_NODE, written_after};
use mechanic_fuzz::{Edits, Executions, imds_samples, mutated, pick};
use mechanic_probe::document::Document;
use mechanic_proto::v1::{
    Evidence, Heartbeat, Hello, Observation, ReportRequest, VirtualMachine, report_request::Message,
};
use prost::Message as _;

fn encoded(message: Message) -> Vec<u8> {
    ReportRequest { message: Some(message) }.encode_to_vec()
}

/// The truth about its own machine, and every document of the samples, as if it were about all machines here.
fn seeds() -> Vec<Vec<u8>> {
    let machine =
        VirtualMachine { vm_id: "vm".into(), resource_id: OWN_MACHINE.into(), ..VirtualMachine::default() };
    let evidence = Evidence { consecutive_polls: 9, unbroken_polls: 9, ..Evidence::default() };
    let mut seeds = vec![
        encoded(Message::Hello(Hello {
            boot_id: "boot".into(),
            virtual_machine: Some(machine),
            ..Hello::default()
        })),
        encoded(Message::Heartbeat(Heartbeat { evidence: Some(evidence), ..Heartbeat::default() })),
    ];
    for sample in imds_samples().unwrap() {
        let Ok(document) = Document::judge(200, Bytes::from(sample)) else { continue };
        let mut events = document.events;
        for event in &mut events {
            event.resources.extend(["vm-a", "vm-b", "vm-c"].map(str::to_owned));
        }
        seeds.push(encoded(Message::Observation(Observation {
            events,
            evidence: Some(evidence),
            document_number: 1,
            ..Observation::default()
        })));
    }
    seeds
}

#[test]
fn observation() {
    let executions = Executions::default();
    let seeds = seeds();
    // Unchanged, they do make a plan: the target can find something.
    assert!(seeds.iter().any(|seed| written_after(&[seeds[0].clone(), seed.clone()]) == [OWN_NODE]));
    bolero::check!().with_type::<Vec<(u8, Edits)>>().for_each(|said| {
        executions.count();
        let hello = std::iter::once(seeds[0].clone());
        let said = said.iter().map(|(seed, edits)| mutated(pick(&seeds, *seed), edits));
        let messages: Vec<Vec<u8>> = hello.chain(said).collect();
        for node in written_after(&messages) {
            assert_eq!(node, OWN_NODE, "a probe's word has moved another node");
        }
    });
}
