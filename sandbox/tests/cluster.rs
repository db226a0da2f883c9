//! A cluster starts in seconds, beside others, and leaves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::{Duration, Instant};

use mechanic_sandbox::cluster::{Cluster, ClusterOptions};
use mechanic_sandbox::nodes::Pool;

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_start_in_seconds_and_leave_nothing() {
    let begun = Instant::now();
    let (one, two) = tokio::try_join!(
        Cluster::start(ClusterOptions::default()),
        Cluster::start(ClusterOptions::default())
    )
    .unwrap();
    println!("two clusters in {:?}", begun.elapsed());
    assert_ne!(one.api_server_url(), two.api_server_url());
    let nodes = Pool::new("userpool").nodes(6);
    let begun = Instant::now();
    one.nodes().await.unwrap().create_ready(&nodes, Duration::from_mins(1)).await.unwrap();
    println!("six nodes Ready in {:?}", begun.elapsed());
    assert_eq!(one.kubectl(["get", "nodes", "--no-headers"]).await.unwrap().lines().count(), 6);
    assert_eq!(two.kubectl(["get", "nodes", "--no-headers"]).await.unwrap().lines().count(), 0);

    let pids: Vec<u32> = one.children().chain(two.children()).map(|child| child.pid()).collect();
    let folders = [one.run_folder().to_owned(), two.run_folder().to_owned()];
    assert!(pids.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    one.stop().await.unwrap();
    drop(two);
    assert!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    assert!(folders.iter().all(|folder| !folder.exists()));
}
