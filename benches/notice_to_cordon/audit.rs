//! What the API server's audit log says.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use jiff::Timestamp;
use mechanic_sandbox::{cluster::Cluster, referee::CLAIM_ANNOTATION};
use serde_json::Value;

use crate::{
    Announced,
    support::{audit_log, time},
};

const COORDINATORS: &str = "system:serviceaccount:mechanic:mechanic-coordinator";

/// Each request once, when it had ended; a watch when it began.
pub(crate) struct AuditLog {
    requests: Vec<Value>,
}

/// How long it took since the announcement.
pub(crate) struct Cordon {
    /// Until the API server had the PATCH.
    pub(crate) arrived: Duration,
    /// Until it was carried out.
    pub(crate) written: Duration,
}

impl AuditLog {
    pub(crate) fn read(cluster: &Cluster) -> Result<Self> {
        Ok(Self { requests: audit_log(cluster)? })
    }

    fn node_writes(&self) -> impl Iterator<Item = &Value> {
        self.requests.iter().filter(|request| {
            request["user"]["username"] == COORDINATORS
                && request["verb"] == "patch"
                && request["objectRef"]["resource"] == "nodes"
        })
    }

    /// The write that answered this event.
    pub(crate) fn cordon(&self, announced: &Announced) -> Option<Cordon> {
        let write = self.node_writes().find(|write| {
            let node = &write["responseObject"];
            let claim = node["metadata"]["annotations"][CLAIM_ANNOTATION].as_str().unwrap_or_default();
            write["objectRef"]["name"] == announced.node.as_str()
                && node["spec"]["unschedulable"] == true
                && claim.contains(&announced.event)
        })?;
        let since = |time| Duration::try_from(time - announced.at).unwrap_or_default();
        Some(Cordon {
            arrived: since(time(write, "requestReceivedTimestamp")?),
            written: since(time(write, "stageTimestamp")?),
        })
    }

    pub(crate) fn conflicts(&self) -> usize {
        self.node_writes().filter(|write| write["responseStatus"]["code"] == 409).count()
    }

    /// Prints what was asked between two moments, by whom.
    pub(crate) fn tell_requests(&self, from: Timestamp, to: Timestamp, leader: &str) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for request in &self.requests {
            if time(request, "requestReceivedTimestamp").is_some_and(|at| from <= at && at < to) {
                *counts.entry(describe(request, leader)).or_default() += 1;
            }
        }
        let coordinators = |who: &str| -> usize {
            counts.iter().filter(|(what, _)| what.starts_with(who)).map(|(_, count)| count).sum()
        };
        let (leading, following) = (coordinators("leader "), coordinators("follower "));
        println!("  {leading:5}  the leader in all\n  {following:5}  the follower in all");
        for (what, count) in &counts {
            println!("  {count:5}  {what}");
        }
    }
}

fn describe(request: &Value, leader: &str) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let who = if request["user"]["username"] == COORDINATORS {
        let pod = &request["user"]["extra"]["authentication.kubernetes.io/pod-name"][0];
        if *pod == leader { "leader".to_owned() } else { "follower".to_owned() }
    } else {
        text(&request["user"]["username"])
    };
    let agent = text(&request["userAgent"]);
    let agent = agent.split(' ').next().unwrap_or_default();
    let object = &request["objectRef"];
    let resource = match (object["resource"].as_str(), object["subresource"].as_str()) {
        (Some(resource), Some(part)) => format!("{resource}/{part}"),
        (Some(resource), None) => resource.to_owned(),
        // Health checks and the like.
        (None, _) => text(&request["requestURI"]),
    };
    format!("{who} ({agent}): {} {resource}", text(&request["verb"]))
}
