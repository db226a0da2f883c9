//! The whole probe, in this process, between a real HTTP server and a real gRPC server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use clap::Parser;
use mechanic_probe::arguments::Arguments;
use mechanic_proto::v1::{Heartbeat, Observation, PollFailureKind};
use support::{
    TempFile,
    coordinator::{Arrived, Coordinator, Role},
    imds::{Answer, EMPTY, FREEZE, Imds},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// A probe that polls every 200 ms and reports every 400 ms.
struct Probe {
    token: TempFile,
    boot_id: TempFile,
    task: JoinHandle<()>,
}

impl Probe {
    fn start(imds: &Imds, coordinator: &Coordinator, more: &[&str]) -> Self {
        let (token, boot_id) = (TempFile::new("token-1\n"), TempFile::new("boot-1\n"));
        let mut line = vec!["mechanic-probe".to_owned(), "--poll-interval=200ms".to_owned()];
        line.push("--heartbeat-interval=400ms".to_owned());
        line.push("--node-name=node-of-the-pod".to_owned());
        line.push(format!("--imds-address={}", imds.address));
        line.push(format!("--coordinator-address={}", coordinator.address));
        line.push(format!("--authorities-file={}", coordinator.authorities.path().display()));
        line.push(format!("--token-file={}", token.path().display()));
        line.push(format!("--boot-id-file={}", boot_id.path().display()));
        line.extend(more.iter().map(|&argument| argument.to_owned()));
        let arguments = Arguments::parse_from(line);
        let task = tokio::spawn(async move {
            mechanic_probe::run(arguments, std::future::pending()).await.unwrap();
        });
        Self { token, boot_id, task }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn ids(observation: &Observation) -> Vec<&str> {
    observation.events.iter().map(|event| &*event.event_id).collect()
}

fn polls(heartbeat: &Heartbeat) -> u32 {
    heartbeat.evidence.as_ref().map_or(0, |evidence| evidence.consecutive_polls)
}

const FREEZE_ID: &str = "7C1F0A52-93D4-4E0B-8B57-1D0A6E4F2B11";

#[tokio::test]
async fn it_says_who_it_is_what_it_reads_and_what_changes() {
    let imds = Imds::well(EMPTY).await;
    let mut coordinator = Coordinator::start(Role::Leads).await;
    let _probe = Probe::start(&imds, &coordinator, &[]);

    assert_eq!(coordinator.stream().await, "Bearer token-1");
    assert!(matches!(coordinator.next().await, Arrived::Hello(_)), "the first message is a Hello");
    let first = coordinator.observation().await;
    assert_eq!((ids(&first), first.document_incarnation), (vec![], Some(1)));
    assert_eq!(first.document, EMPTY);
    let grown = coordinator.heartbeat(|heartbeat| polls(heartbeat) >= 4).await;
    let evidence = grown.evidence.unwrap();
    let span = Duration::try_from(evidence.span.unwrap()).unwrap();
    let continuous = Duration::try_from(evidence.continuous_for.unwrap()).unwrap();
    assert!(span >= Duration::from_millis(400) && continuous >= span, "{span:?} {continuous:?}");

    imds.events(Answer::ok(FREEZE));
    let changed = Instant::now();
    let second = coordinator.observation().await;
    assert_eq!(ids(&second), [FREEZE_ID]);
    assert_eq!(second.evidence.unwrap().consecutive_polls, 1);
    assert!(changed.elapsed() < Duration::from_secs(3), "within the next poll, not the next heartbeat's");

    imds.events(Answer::ok(EMPTY));
    assert_eq!(ids(&coordinator.observation().await), Vec::<&str>::new());
    let requests = imds.requests();
    assert!(requests.iter().all(|head| !head.contains("x-forwarded-for") && head.contains("metadata: true")));
    assert_eq!(imds.most_open(), 1, "polls are never parallel");
}

#[tokio::test]
async fn identity_follows_in_a_second_hello_when_the_service_is_slow_to_say_it() {
    let imds = Imds::start(Answer::Status(500, String::new()), Answer::ok(EMPTY)).await;
    let mut coordinator = Coordinator::start(Role::Leads).await;
    let probe = Probe::start(&imds, &coordinator, &[]);
    probe.boot_id.replace("");
    let first = coordinator.hello().await;
    assert!(first.virtual_machine.is_none());
    coordinator.observation().await;
    imds.compute(Answer::ok(support::imds::COMPUTE));
    probe.boot_id.replace("boot-2\n");
    let known = loop {
        let hello = coordinator.hello().await;
        if hello.virtual_machine.is_some() && !hello.boot_id.is_empty() {
            break hello;
        }
    };
    let vm = known.virtual_machine.unwrap();
    assert_eq!(vm.name, "aks-userpool-18472905-vmss_13");
    assert_eq!(vm.vm_id, "02aab8a4-74ef-476e-8182-f6d2ba4166a6");
    assert_eq!((known.node_name.as_str(), known.probe_instance), ("node-of-the-pod", first.probe_instance));
    // Without it the coordinator would take no poll for proof until the document changes, which may be never.
    assert_eq!(ids(&coordinator.observation().await), Vec::<&str>::new());
}

#[tokio::test]
async fn no_failure_of_the_service_becomes_no_events() {
    let imds = Imds::well(FREEZE).await;
    let elsewhere = Imds::well(EMPTY).await;
    let mut coordinator = Coordinator::start(Role::Leads).await;
    let _probe = Probe::start(&imds, &coordinator, &[]);
    assert_eq!(ids(&coordinator.observation().await), [FREEZE_ID]);

    let redirect = format!("http://{}/metadata/scheduledevents?api-version=2020-07-01", elsewhere.address);
    let error = r#"{"error":"Bad request","newest-versions":["2020-07-01"]}"#;
    for (answer, kind) in [
        (Answer::Status(429, "Throttle Result: Too Many Requests".to_owned()), PollFailureKind::Throttled),
        (Answer::Status(500, EMPTY.to_owned()), PollFailureKind::HttpStatus),
        (Answer::Status(500, String::new()), PollFailureKind::HttpStatus),
        (Answer::Status(410, String::new()), PollFailureKind::HttpStatus),
        (Answer::Location(redirect), PollFailureKind::HttpStatus),
        (Answer::ok(""), PollFailureKind::EmptyBody),
        (Answer::ok("<html>Access denied</html>"), PollFailureKind::NotJson),
        (Answer::ok(&FREEZE[..100]), PollFailureKind::NotJson),
        (Answer::ok(error), PollFailureKind::NotADocument),
        (Answer::ok(&" ".repeat(500 * 1024)), PollFailureKind::TooLarge),
        (Answer::Close, PollFailureKind::Unreachable),
        (Answer::Hang, PollFailureKind::Timeout),
    ] {
        coordinator.heartbeat(|heartbeat| polls(heartbeat) >= 2).await;
        imds.events(answer.clone());
        // A heartbeat that panics on an observation: none may come.
        let failing = coordinator
            .heartbeat(|heartbeat| heartbeat.failures.iter().any(|failures| failures.kind() == kind))
            .await;
        let evidence = failing.evidence.unwrap();
        assert_eq!(evidence.consecutive_polls, 0, "{answer:?}");
        imds.events(Answer::ok(FREEZE));
        let well = coordinator.heartbeat(|heartbeat| polls(heartbeat) > 0).await;
        assert!(polls(&well) < 10, "{answer:?}: the row starts anew");
    }
    assert!(elsewhere.requests().is_empty(), "redirects are not followed");
    assert_eq!(imds.most_open(), 1);
}

#[tokio::test]
async fn heartbeats_say_how_long_each_valid_poll_took() {
    let imds = Imds::well(FREEZE).await;
    let mut coordinator = Coordinator::start(Role::Leads).await;
    let _probe = Probe::start(&imds, &coordinator, &[]);
    coordinator.observation().await;
    let fast = coordinator.heartbeat(|heartbeat| heartbeat.poll_milliseconds.len() >= 2).await;
    imds.events(Answer::After(Duration::from_millis(300), FREEZE.to_owned()));
    let is_slow = |milliseconds: &u32| (300..5_000).contains(milliseconds);
    coordinator.heartbeat(|heartbeat| heartbeat.poll_milliseconds.iter().any(is_slow)).await;
    assert!(fast.poll_milliseconds.len() < 20, "each once: {:?}", fast.poll_milliseconds);

    imds.events(Answer::Status(500, String::new()));
    coordinator.heartbeat(|heartbeat| !heartbeat.failures.is_empty()).await;
    let failing = coordinator.heartbeat(|heartbeat| !heartbeat.failures.is_empty()).await;
    assert!(failing.poll_milliseconds.is_empty(), "only valid ones: {failing:?}");
}

#[tokio::test]
async fn it_waits_long_for_the_first_answer() {
    // Longer than any later answer may take.
    let imds = Imds::start(
        Answer::ok(support::imds::COMPUTE),
        Answer::After(Duration::from_secs(7), FREEZE.to_owned()),
    )
    .await;
    let mut coordinator = Coordinator::start(Role::Leads).await;
    let _probe = Probe::start(&imds, &coordinator, &[]);
    let heartbeat = coordinator.heartbeat(|_| true).await;
    assert!(heartbeat.evidence.is_none() && heartbeat.failures.is_empty(), "nothing is known yet");
    assert_eq!(ids(&coordinator.observation().await), [FREEZE_ID]);
}

#[tokio::test]
async fn it_follows_a_redirect_and_not_a_circle() {
    let imds = Imds::well(FREEZE).await;
    let mut leader = Coordinator::start(Role::Leads).await;
    let mut follower = Coordinator::start(Role::Redirects(leader.address.to_string())).await;
    let _probe = Probe::start(&imds, &follower, &[]);
    assert_eq!(ids(&leader.observation().await), [FREEZE_ID]);

    leader.becomes(Role::Redirects(follower.address.to_string()));
    leader.hang_up();
    // In the circle for two seconds: 4 streams a round, and a pause of at least 200 ms after the first.
    sleep(Duration::from_secs(2)).await;
    let streams = leader
        .so_far()
        .iter()
        .chain(&follower.so_far())
        .filter(|one| matches!(one, Arrived::Stream(..)))
        .count();
    assert!((2..=60).contains(&streams), "{streams} streams in two seconds");

    follower.becomes(Role::Leads);
    assert_eq!(ids(&follower.observation().await), [FREEZE_ID]);
}

/// Handshakes are what 5,000 probes would keep a coordinator busy with.
#[tokio::test]
async fn while_nobody_leads_it_asks_on_one_connection_and_after_a_while_on_another() {
    let imds = Imds::well(FREEZE).await;
    let mut coordinator = Coordinator::start(Role::KnowsNobody).await;
    let _probe = Probe::start(&imds, &coordinator, &[]);
    let first = coordinator.connection().await;
    let mut questions = 1;
    let second = loop {
        let connection = coordinator.connection().await;
        if connection != first {
            break connection;
        }
        questions += 1;
    };
    assert_eq!(questions, 6);
    // A leader that nobody reaches: its guide is asked again, on the same connection.
    let nobody = Coordinator::start(Role::Leads).await.die().await.0;
    coordinator.becomes(Role::Redirects(nobody.to_string()));
    assert_eq!(coordinator.connection().await, second);
    // One that is reached and doesn't lead is the next guide.
    let mut other = Coordinator::start(Role::KnowsNobody).await;
    coordinator.becomes(Role::Redirects(other.address.to_string()));
    let third = other.connection().await;
    assert_eq!(other.connection().await, third);
    other.becomes(Role::Leads);
    assert_eq!(ids(&other.observation().await), [FREEZE_ID]);
}

#[tokio::test]
async fn after_the_coordinator_is_gone_it_comes_back_with_everything_and_a_fresh_token() {
    let imds = Imds::well(FREEZE).await;
    let mut coordinator = Coordinator::start(Role::Leads).await;
    let probe = Probe::start(&imds, &coordinator, &[]);
    coordinator.observation().await;
    probe.token.replace("token-2");
    let (address, _authorities) = coordinator.die().await;
    sleep(Duration::from_secs(1)).await;

    let mut next = Coordinator::start_at(address, Role::KnowsNobody).await;
    assert_eq!(next.stream().await, "Bearer token-2");
    next.becomes(Role::Silent);
    next.stream().await;
    next.becomes(Role::Leads);
    // The silent one was given up after 10 s.
    next.stream().await;
    assert!(matches!(next.next().await, Arrived::Hello(_)));
    assert_eq!(ids(&next.observation().await), [FREEZE_ID]);
}

#[tokio::test]
async fn a_stream_that_takes_nothing_holds_up_no_poll_and_is_given_up() {
    // Larger than the windows of the stream.
    let large = |incarnation: u32| {
        format!("{{\"DocumentIncarnation\":{incarnation},\"Events\":[]{}}}", " ".repeat(200 * 1024))
    };
    let imds = Imds::well(&large(1)).await;
    let mut coordinator = Coordinator::start(Role::Deaf).await;
    let _probe = Probe::start(&imds, &coordinator, &[]);
    coordinator.stream().await;
    let before = imds.requests().len();
    sleep(Duration::from_secs(1)).await;
    assert!(imds.requests().len() >= before + 3, "polls go on");
    imds.events(Answer::ok(&large(2)));
    coordinator.becomes(Role::Leads);
    timeout(Duration::from_secs(20), coordinator.stream()).await.expect("the stream is given up");
    assert_eq!(coordinator.observation().await.document_incarnation, Some(2), "only the newest is sent");
}
