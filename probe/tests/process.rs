//! The real binary: how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use support::{
    TempFile,
    coordinator::{Coordinator, Role},
    imds::{Answer, EMPTY, Imds},
};

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(imds: &Imds, coordinator: &Coordinator, token: &TempFile) -> Process {
    let child = Command::new(env!("CARGO_BIN_EXE_mechanic-probe"))
        .args(["--imds-address", &imds.address.to_string(), "--log-format", "json"])
        .args(["--coordinator-address", &coordinator.address.to_string(), "--authorities-file"])
        .arg(coordinator.authorities.path())
        .arg("--token-file")
        .arg(token.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Process(child)
}

/// Sends the signal and returns the exit status and how long it took.
fn end(mut process: Process, signal: &str) -> (Option<i32>, Duration) {
    let asked = Instant::now();
    assert!(Command::new("kill").args([signal, &process.0.id().to_string()]).status().unwrap().success());
    let status = loop {
        if let Some(status) = process.0.try_wait().unwrap() {
            break status;
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "{signal} was ignored");
        std::thread::sleep(Duration::from_millis(10));
    };
    (status.code(), asked.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_within_a_second_whatever_it_waits_for() {
    let token = TempFile::new("token");
    for (events, role, signal) in [
        (Answer::ok(EMPTY), Role::Leads, "-TERM"),
        (Answer::Hang, Role::Silent, "-TERM"),
        (Answer::ok(EMPTY), Role::Leads, "-INT"),
    ] {
        let imds = Imds::start(Answer::ok(support::imds::COMPUTE), events).await;
        let mut coordinator = Coordinator::start(role).await;
        let process = start(&imds, &coordinator, &token);
        coordinator.hello().await;
        let (code, took) = tokio::task::block_in_place(|| end(process, signal));
        assert_eq!(code, Some(0), "{signal}");
        // A second on a machine that has one to spare.
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[test]
fn wrong_usage_is_said_with_status_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_mechanic-probe"))
        .args(["--poll-interval", "soon"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is not a time"));
}
