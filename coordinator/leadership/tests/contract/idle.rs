//! What the election costs the API server when nothing happens, with the durations that ship.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use mechanic_leadership::clock::Clock;
use mechanic_sandbox::cluster::Cluster;
use serde_json::Value;

use crate::group::{Group, now};

const MINUTE: Duration = Duration::from_mins(1);
/// Two a renewal, a renewal each 4 s; one more of each where the minute begins badly.
const LEADER_MOST: usize = 32;
/// One watch, which the server ends each minute; a read where the watch was silent.
const FOLLOWER_MOST: usize = 4;

/// Requests in an idle minute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) leader: usize,
    pub(crate) follower: usize,
}

pub(crate) async fn idle(cluster: &Cluster) -> Result<Idle> {
    let mut group = Group::new(cluster, "idle", [15_000, 4000, 10_000, 2000]).await?;
    let members = [group.spawn(0)?, group.spawn(0)?];
    let led = group.next_leader(now(), None, MINUTE).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let from = Clock::system().now().wall;
    tokio::time::sleep(MINUTE).await;
    let to = Clock::system().now().wall;
    ensure!(group.leader().await?.by == led.by, "an idle election changed its leader");
    group.verdict().await?;
    let follower = members.iter().find(|member| **member != led.by).context("a follower")?;
    let idle = Idle {
        leader: requests(cluster, &led.by, from, to)?,
        follower: requests(cluster, follower, from, to)?,
    };
    ensure!((1..=LEADER_MOST).contains(&idle.leader) && idle.follower <= FOLLOWER_MOST, "{idle:?}");
    Ok(idle)
}

/// How many requests for its Lease a candidate made in that time.
pub(crate) fn requests(cluster: &Cluster, who: &str, from: Timestamp, to: Timestamp) -> Result<usize> {
    let audit = fs::read_to_string(cluster.audit_log())?;
    let agent = format!("{who} leadership");
    let mut requests = BTreeSet::new();
    for line in audit.lines().filter(|line| line.contains(&agent)) {
        // The last line may be half written.
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let received: Timestamp = event["requestReceivedTimestamp"].as_str().context("a time")?.parse()?;
        if event["userAgent"] == agent.as_str() && (from..to).contains(&received) {
            requests.insert(event["auditID"].to_string());
        }
    }
    Ok(requests.len())
}
