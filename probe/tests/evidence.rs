//! What polls prove, on a clock of the test's own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use bytes::Bytes;
use mechanic_probe::{
    document::Document,
    evidence::{Evidence, Polled},
};
use tokio::time::Instant;

const EMPTY: &str = r#"{"DocumentIncarnation":5,"Events":[]}"#;
const REBOOT: &str = r#"{"DocumentIncarnation":6,"Events":[{"EventId":"x","EventType":"Reboot"}]}"#;

struct Bench {
    start: Instant,
    evidence: Evidence,
}

impl Bench {
    fn new() -> Self {
        Self { start: Instant::now(), evidence: Evidence::default() }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    /// A poll asked at `asked` and answered at `answered`; whether it showed something new.
    fn valid(&mut self, body: &str, asked: u64, answered: u64) -> bool {
        let document = Document::judge(200, Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let polled = Polled { asked: self.at(asked), answered: self.at(answered) };
        self.evidence.valid(document, polled).is_some()
    }

    /// Polls in a row, span, age of the newest and continuity in milliseconds.
    fn proof(&self, now: u64) -> (u32, u128, u128, u128) {
        let evidence = self.evidence.at(self.at(now)).unwrap();
        let millis = |duration: Option<prost_types::Duration>| {
            Duration::try_from(duration.unwrap()).unwrap().as_millis()
        };
        (
            evidence.consecutive_polls,
            millis(evidence.span),
            millis(evidence.newest_age),
            millis(evidence.continuous_for),
        )
    }

    fn serial(&self) -> u64 {
        self.evidence.shown().unwrap().serial
    }
}

#[test]
fn before_the_first_valid_poll_nothing_is_proven() {
    let mut bench = Bench::new();
    assert!(bench.evidence.at(bench.start).is_none());
    bench.evidence.failed();
    assert!(bench.evidence.at(bench.start).is_none());
    assert!(bench.evidence.shown().is_none());
}

#[test]
fn a_row_grows_and_a_failure_starts_it_anew() {
    let mut bench = Bench::new();
    assert!(bench.valid(EMPTY, 0, 0));
    assert!(!bench.valid(EMPTY, 1000, 1000));
    assert!(!bench.valid(EMPTY, 2000, 2000));
    assert_eq!(bench.proof(2500), (3, 2000, 500, 2500));
    bench.evidence.failed();
    assert_eq!(bench.proof(4000), (0, 0, 2000, 4000), "the newest valid poll only gets older");
    assert!(!bench.valid(EMPTY, 5000, 5000), "the same document is no news");
    assert_eq!(bench.proof(5000), (1, 0, 0, 5000), "a failure is no sign that the service began anew");
    assert_eq!(bench.serial(), 1);
}

#[test]
fn a_change_starts_a_row_of_its_own() {
    let mut bench = Bench::new();
    bench.valid(EMPTY, 0, 0);
    bench.valid(EMPTY, 1000, 1000);
    assert!(bench.valid(REBOOT, 2000, 2000));
    assert_eq!(bench.proof(2000), (1, 0, 0, 2000));
    assert_eq!(bench.serial(), 2);
    assert!(!bench.valid(&REBOOT.replace(",\"", " ,\n\""), 3000, 3000), "white space says nothing");
    assert_eq!(bench.proof(3000), (2, 1000, 0, 3000));
}

#[test]
fn a_slow_answer_proves_no_more_than_is_certain() {
    let mut bench = Bench::new();
    bench.valid(EMPTY, 0, 4000);
    bench.valid(EMPTY, 5000, 9000);
    // The first answer may be as young as 4 s, the second as old as 5 s.
    assert_eq!(bench.proof(9000), (2, 1000, 4000, 5000));
}

#[test]
fn an_incarnation_that_goes_back_restarts_continuity_and_the_row() {
    let mut bench = Bench::new();
    bench.valid(EMPTY, 0, 0);
    assert!(
        bench.valid(r#"{"DocumentIncarnation":9,"Events":[]}"#, 1000, 1000),
        "forward: a change, no new beginning"
    );
    assert_eq!(bench.proof(1000), (1, 0, 0, 1000));
    assert!(bench.valid(r#"{"Events":[]}"#, 2000, 2000));
    assert_eq!(bench.proof(2000), (1, 0, 0, 2000));
    assert!(
        bench.valid(r#"{"DocumentIncarnation":1,"Events":[]}"#, 3000, 3000),
        "back, although one had no number"
    );
    assert_eq!(bench.proof(3500), (1, 0, 500, 500));
}

#[test]
fn an_unbroken_row_runs_on_over_changes_of_the_document_and_ends_with_a_failed_poll() {
    let mut bench = Bench::new();
    bench.valid(EMPTY, 0, 0);
    bench.valid(EMPTY, 1000, 1000);
    bench.valid(REBOOT, 2000, 2000);
    let proof = |bench: &Bench| {
        let evidence = bench.evidence.at(bench.at(9000)).unwrap();
        let span = Duration::try_from(evidence.unbroken_span.unwrap()).unwrap();
        (evidence.consecutive_polls, evidence.unbroken_polls, span.as_millis(), evidence.unbroken_row)
    };
    assert_eq!(proof(&bench), (1, 3, 2000, 1));
    bench.evidence.failed();
    bench.evidence.failed();
    assert_eq!(proof(&bench), (0, 0, 0, 1));
    bench.valid(REBOOT, 5000, 5000);
    assert_eq!(proof(&bench), (1, 1, 0, 2));
}
