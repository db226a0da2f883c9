//! Streams whose other end is there no more, and doesn't say so: both sides notice, and go on.

use std::time::Instant;

use crate::support::{House, signal};
use mechanic_sandbox::install::PodProcess;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

/// Fewer than there may be, and enough for the tests beside this one. A container runtime may leave 1,024.
const FEW: u64 = 4_096;
const STREAMS: &str = "mechanic_probe_streams";

impl House {
    async fn ended(&self, leader: &PodProcess, reason: &str) -> f64 {
        self.metric(leader, &format!("mechanic_probe_streams_ended_total{{reason=\"{reason}\"}}")).await
    }
}

/// Each probe is a file descriptor, and processes begin with the limit that they were given.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_uses_all_file_descriptors_that_it_may() {
    let given = getrlimit(Resource::Nofile);
    assert!(given.maximum.is_none_or(|maximum| maximum > FEW), "{given:?} leaves nothing to test");
    setrlimit(Resource::Nofile, Rlimit { current: Some(FEW), ..given }).unwrap();
    let house = House::with_nodes(2, 1).await;
    for pod in house.installation.coordinators() {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", pod.pid.unwrap())).unwrap();
        let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let [soft, hard] = [3, 4].map(|field| files.split_whitespace().nth(field).unwrap());
        assert_eq!(soft, hard);
    }
    house.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_dead_but_not_closed_is_noticed_by_both_sides() {
    let house = House::with_nodes(3, 1).await;
    let leader = house.leader().await;
    let all = async || (house.metric(&leader, STREAMS).await >= 3.0).then_some(());
    house.wait("all probes report", all).await;
    let polls =
        async || (house.metric(&leader, "mechanic_imds_poll_seconds_count").await >= 3.0).then_some(());
    house.wait("their polls are counted", polls).await;

    // A stopped process' kernel still says that all is well.
    let node = house.node_without_coordinator();
    let probe = house.installation.probe_on(&node.name).unwrap();
    let ended = async |reason| house.ended(&leader, reason).await;
    let (closed, silent) = (ended("closed").await, ended("silent").await);
    signal(&probe, Signal::STOP);
    let begun = Instant::now();
    let less = async || (house.metric(&leader, STREAMS).await < 3.0).then_some(());
    house.wait("the leader notices", less).await;
    println!("the leader noticed after {:.1} s", begun.elapsed().as_secs_f64());
    assert!(
        ended("closed").await > closed && ended("silent").await <= silent,
        "by its pings, not by its silence"
    );
    signal(&probe, Signal::CONT);
    house.wait("the probe is back", all).await;

    signal(&leader, Signal::STOP);
    let begun = Instant::now();
    let complaints = || house.logs_of(&probe).matches("not reporting").count();
    let before = complaints();
    let lost = async || (complaints() > before).then_some(());
    house.wait("the probe notices", lost).await;
    println!("the probe noticed after {:.1} s", begun.elapsed().as_secs_f64());
    let event = house.announce_reboot(node);
    house.wait_for_phase(&node.name, "drained").await;
    signal(&leader, Signal::CONT);
    house.remove(&event);
    house.wait_released(&node.name).await;
    house.judge().await;
}
