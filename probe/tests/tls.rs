//! The probe trusts the authority it was given, one server name, and nobody else with its token.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use clap::Parser;
use mechanic_probe::arguments::Arguments;
use support::{
    TempFile,
    authority::{Authority, authority, certified},
    coordinator::{ANY_PORT, Arrived, Coordinator, Role},
    imds::{FREEZE, Imds},
};

/// What a coordinator hears in three seconds from a probe that trusts `authority`.
async fn heard(authority: &Authority, mut coordinator: Coordinator) -> Vec<Arrived> {
    let imds = Imds::well(FREEZE).await;
    let (token, ca) = (TempFile::new("token"), TempFile::new(&authority.pem()));
    let arguments = Arguments::parse_from([
        "mechanic-probe",
        &format!("--imds-address={}", imds.address),
        &format!("--coordinator-address={}", coordinator.address),
        &format!("--token-file={}", token.path().display()),
        &format!("--authorities-file={}", ca.path().display()),
    ]);
    mechanic_probe::run(arguments, tokio::time::sleep(Duration::from_secs(3))).await.unwrap();
    coordinator.so_far()
}

async fn coordinator(authority: &Authority, name: &str) -> Coordinator {
    Coordinator::start_as(ANY_PORT, Role::Leads, Some(certified(authority, name))).await
}

#[tokio::test]
async fn it_reports_to_the_name_that_its_authority_vouches_for() {
    let authority = authority();
    let right = coordinator(&authority, "mechanic-coordinator").await;
    let arrived = heard(&authority, right).await;
    assert!(matches!(&arrived[0], Arrived::Stream(token, _) if token == "Bearer token"), "{arrived:?}");
    assert!(arrived.iter().any(|one| matches!(one, Arrived::Observation(_))), "{arrived:?}");
}

#[tokio::test]
async fn nobody_else_gets_as_much_as_its_token() {
    let (ours, theirs) = (authority(), authority());
    let stranger = coordinator(&theirs, "mechanic-coordinator").await;
    assert!(heard(&ours, stranger).await.is_empty());
    let misnamed = coordinator(&ours, "localhost").await;
    assert!(heard(&ours, misnamed).await.is_empty());
    let plain = Coordinator::start_as(ANY_PORT, Role::Leads, None).await;
    assert!(heard(&ours, plain).await.is_empty());
}

/// On a first installation the authority may come after the probe, and it is replaced while probes run.
#[tokio::test]
async fn whom_to_trust_is_read_again_at_each_connection() {
    let (ours, next) = (authority(), authority());
    let mut coordinator = coordinator(&next, "mechanic-coordinator").await;
    let imds = Imds::well(FREEZE).await;
    let (token, authorities) = (TempFile::new("token"), TempFile::new(&ours.pem()));
    let missing = authorities.path().with_extension("later");
    let arguments = Arguments::parse_from([
        "mechanic-probe",
        &format!("--imds-address={}", imds.address),
        &format!("--coordinator-address={}", coordinator.address),
        &format!("--token-file={}", token.path().display()),
        &format!("--authorities-file={}", missing.display()),
    ]);
    let probe = tokio::spawn(mechanic_probe::run(arguments, std::future::pending()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(coordinator.so_far().is_empty());
    authorities.replace(&format!("{}{}", ours.pem(), next.pem()));
    std::fs::rename(authorities.path(), &missing).unwrap();
    coordinator.observation().await;
    probe.abort();
    std::fs::remove_file(missing).unwrap();
}
