//! `cargo bench -p mechanic-probe`: size and memory of the probe as it ships, while it polls once a second and
//! streams. Builds the shipped form (static-pie, stripped) first, since a bench's own binary has other features.
//! `MECHANIC_PROBE` names a binary that is built already; `SECONDS` how long to run (60).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use support::{
    TempFile,
    coordinator::{Coordinator, Role},
    imds::{Answer, EMPTY, FREEZE, Imds},
};

/// Bytes, and kB as /proc says them.
const LARGEST_BINARY: u64 = 4_500_000;
const LARGEST_RSS: u64 = 5_000;

const TARGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/shipped");

fn shipped() -> PathBuf {
    if let Some(given) = env::var_os("MECHANIC_PROBE") {
        return given.into();
    }
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let folder = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(TARGET), |folder| PathBuf::from(folder).join("shipped"));
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--locked", "-p", "mechanic-probe", "--bin", "mechanic-probe"])
        .args(["--target", &triple, "--target-dir"])
        .arg(&folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .unwrap();
    assert!(status.success(), "the shipped form can't be built");
    folder.join(triple).join("release/mechanic-probe")
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A field of /proc/PID/status, in kB or as a count.
fn field(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// User and system time in clock ticks.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// `VmRSS` in kB of a probe that reports.
async fn measure(binary: &Path, seconds: u64) -> u64 {
    let token = TempFile::new("token");
    let imds = Imds::well(EMPTY).await;
    let mut coordinator = Coordinator::start(Role::Leads).await;
    let child = Command::new(binary)
        .args(["--imds-address", &imds.address.to_string()])
        .args(["--coordinator-address", &coordinator.address.to_string()])
        .arg("--authorities-file")
        .arg(coordinator.authorities.path())
        .arg("--token-file")
        .arg(token.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Process(child);
    let pid = process.0.id();
    coordinator.observation().await;
    // An event comes and goes, so that the ways of an event have been used.
    for body in [FREEZE, EMPTY] {
        tokio::time::sleep(Duration::from_secs(seconds / 4)).await;
        imds.events(Answer::ok(body));
        coordinator.observation().await;
    }
    tokio::time::sleep(Duration::from_secs(seconds / 2)).await;
    let rss = field(pid, "VmRSS:");
    println!("after {seconds} s and {} requests to the metadata service:", imds.requests().len());
    println!(
        "  VmRSS {rss} kB (bar {LARGEST_RSS}), anon {} kB, file {} kB",
        field(pid, "RssAnon:"),
        field(pid, "RssFile:")
    );
    println!("  threads {}, CPU {} ticks of 10 ms", field(pid, "Threads:"), ticks(pid));
    rss
}

fn main() -> ExitCode {
    // `cargo test --benches` asks for the tests in here; there are none.
    if !env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let binary = shipped();
    let size = fs::metadata(&binary).unwrap().len();
    println!("binary {size} bytes (bar {LARGEST_BINARY})");
    let seconds = env::var("SECONDS").map_or(60, |seconds| seconds.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let rss = runtime.block_on(measure(&binary, seconds));
    if size <= LARGEST_BINARY && rss <= LARGEST_RSS { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
