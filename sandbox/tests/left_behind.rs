//! A sandbox whose process is killed leaves no process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mechanic_sandbox::cluster::{Cluster, ClusterOptions};

const PARENT: &str = "MECHANIC_TEST_IS_THE_PARENT";

/// Not a test by itself: the process that the test below starts and kills.
#[tokio::test(flavor = "multi_thread")]
async fn the_parent() {
    if std::env::var_os(PARENT).is_none() {
        return;
    }
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    let pids: Vec<String> = cluster.children().map(|child| child.pid().to_string()).collect();
    println!("\npids {} {}", pids.join(" "), cluster.run_folder().display());
    std::future::pending::<()>().await;
}

#[test]
fn a_killed_parent_takes_its_children_along_and_its_folder_is_swept() {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["the_parent", "--exact", "--nocapture"])
        .env(PARENT, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(parent.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .find(|line| line.starts_with("pids "))
        .unwrap();
    let mut words: Vec<&str> = line.split(' ').skip(1).collect();
    let folder = words.pop().unwrap();
    assert_eq!(words.len(), 5, "etcd, API server, controller manager, scheduler, kwok");
    let processes: Vec<String> = words.iter().map(|pid| format!("/proc/{pid}/cmdline")).collect();
    assert!(processes.iter().all(|process| Path::new(process).exists()));
    parent.kill().unwrap();
    parent.wait().unwrap();
    let begun = Instant::now();
    // An orphan that nobody has reaped yet has an empty command line.
    while processes.iter().any(|process| std::fs::read(process).is_ok_and(|line| !line.is_empty())) {
        assert!(begun.elapsed() < Duration::from_secs(20), "a child outlived its parent");
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("all gone after {:?}", begun.elapsed());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let next = runtime.block_on(Cluster::start(ClusterOptions::default())).unwrap();
    assert!(!Path::new(folder).exists());
    drop(next);
}
