//! The claim on a Node, which whoever may write there can forge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mechanic_fuzz::{Edits, Executions, mutated, pick};
use mechanic_plan::{Claim, ScheduledEvent};

fn seeds() -> Vec<Vec<u8>> {
    let mut claim = Claim::new("uid", "vm", "boot", 7, true);
    let empty = claim.to_annotation().unwrap();
    for (number, event_type) in ["Reboot", "Preempt", "Rehydrate"].into_iter().enumerate() {
        let event = ScheduledEvent {
            event_id: format!("event-{number}"),
            event_type: event_type.into(),
            status: "Scheduled".into(),
            not_before: "Thu, 26 Nov 2026 12:00:00 GMT".into(),
            ..ScheduledEvent::default()
        };
        claim.note(&event, "2026-11-26T11:00:00Z", "2026-11-26T11:00:01Z", "boot");
    }
    [empty, claim.to_annotation().unwrap()].map(String::into_bytes).into()
}

#[test]
fn claim() {
    let executions = Executions::default();
    let seeds = seeds();
    bolero::check!().with_type::<(u8, Edits)>().for_each(|(seed, edits)| {
        executions.count();
        let text = mutated(pick(&seeds, *seed), edits);
        let Ok(claim) = Claim::parse(&String::from_utf8_lossy(&text)) else { return };
        // What was understood is written down again without a loss, unknown fields included.
        if let Ok(written) = claim.to_annotation() {
            assert_eq!(Claim::parse(&written).unwrap(), claim);
        }
    });
}
