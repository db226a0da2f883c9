//! The parser of the Instance Metadata Service's documents.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use mechanic_fuzz::{Edits, Executions, imds_samples, mutated, pick};
use mechanic_probe::document::Document;

#[test]
fn imds_document() {
    let executions = Executions::default();
    let samples = imds_samples().unwrap();
    let answers = bolero::check!().with_type::<(Option<u16>, u8, Edits)>();
    answers.for_each(|(status, seed, edits)| {
        executions.count();
        let status = status.unwrap_or(200);
        let body = mutated(pick(&samples, *seed), edits);
        let Ok(document) = Document::judge(status, Bytes::from(body.clone())) else { return };
        assert_eq!(status, 200, "only that is an answer");
        for event in &document.events {
            assert!(!event.event_id.is_empty());
        }
        // Whoever reads the same again reads the same.
        assert!(Document::judge(200, Bytes::from(body)).unwrap().says_the_same_as(&document));
    });
}
