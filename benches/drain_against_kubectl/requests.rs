//! What somebody has asked of the API server, by its audit log.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use mechanic_sandbox::cluster::Cluster;
use serde_json::Value;

use crate::support::{audit_log, time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Kubectl,
    Mechanic,
}

/// Counts of one who in one time.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Without Kubernetes Events, and without what mechanic asks whether or not anything is drained.
    pub(crate) all: usize,
    pub(crate) evictions: usize,
    pub(crate) events: usize,
}

impl Requests {
    pub(crate) fn of(cluster: &Cluster, who: Who, from: Timestamp, until: Timestamp) -> Result<Self> {
        let mut counts = Self::default();
        for request in audit_log(cluster)?.iter().filter(|request| who.asked(request)) {
            let received = time(request, "requestReceivedTimestamp");
            if !received.is_some_and(|at| from <= at && at < until) {
                continue;
            }
            let object = &request["objectRef"];
            match object["resource"].as_str().unwrap_or_default() {
                "events" => {
                    counts.events += 1;
                    continue;
                }
                // The Lease, reviews of probes' tokens, and the watches that every coordinator keeps.
                "pods" => {}
                "nodes" if request["verb"] != "watch" => {}
                _ if who == Who::Mechanic => continue,
                _ => {}
            }
            counts.all += 1;
            counts.evictions += usize::from(object["subresource"] == "eviction");
        }
        Ok(counts)
    }

    /// How long after `since` the first eviction came that was accepted.
    pub(crate) fn first_eviction(cluster: &Cluster, who: Who, since: Timestamp) -> Result<Option<Duration>> {
        let first = first(cluster, who, since, |request| request["objectRef"]["subresource"] == "eviction")?;
        Ok(first.and_then(|at| Duration::try_from(at.duration_since(since)).ok()))
    }

    /// When mechanic's first write on a Node came after `since`, which claims and cordons it.
    pub(crate) fn first_claim(cluster: &Cluster, since: Timestamp) -> Result<Option<Timestamp>> {
        first(cluster, Who::Mechanic, since, |request| {
            request["verb"] == "patch" && request["objectRef"]["resource"] == "nodes"
        })
    }
}

/// When the first of these requests came after `since` that was granted.
fn first(
    cluster: &Cluster,
    who: Who,
    since: Timestamp,
    is_one: impl Fn(&Value) -> bool,
) -> Result<Option<Timestamp>> {
    let log = audit_log(cluster)?;
    let granted = log.iter().filter(|request| {
        let code = request["responseStatus"]["code"].as_u64().unwrap_or_default();
        who.asked(request) && is_one(request) && code < 300
    });
    let times = granted.filter_map(|request| time(request, "requestReceivedTimestamp"));
    Ok(times.filter(|at| *at >= since).min())
}

impl Who {
    fn asked(self, request: &Value) -> bool {
        match self {
            Self::Kubectl => {
                // The bench itself uses kubectl for other things, before and after.
                request["userAgent"].as_str().is_some_and(|agent| agent.starts_with("kubectl"))
            }
            Self::Mechanic => {
                request["user"]["username"] == "system:serviceaccount:mechanic:mechanic-coordinator"
            }
        }
    }
}
