//! Streams whose other end is there no more, and doesn't say so: both sides notice, and go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Instant;

use mechanic_sandbox::install::PodProcess;
use rustix::process::Signal;
use support::{House, signal};

const STREAMS: &str = "mechanic_probe_streams";

impl House {
    async fn ended(&self, leader: &PodProcess, reason: &str) -> f64 {
        self.metric(leader, &format!("mechanic_probe_streams_ended_total{{reason=\"{reason}\"}}")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_dead_but_not_closed_is_noticed_by_both_sides() {
    let house = House::with_nodes(3, 1).await;
    let leader = house.leader().await;
    let all = async || (house.metric(&leader, STREAMS).await >= 3.0).then_some(());
    house.wait("all probes report", all).await;

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
