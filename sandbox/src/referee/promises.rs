//! What a run has to keep: the numbers in force, and who is who.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::history::Request;
use super::settings::Settings;

/// What mechanic promises in one run, as far as it depends on the run.
#[derive(Clone, Debug)]
pub struct Promises {
    /// What is in force where the ConfigMap says nothing. What it says is seen, and counts from then on.
    pub settings: Settings,
    /// Nodes that may still be held when the run ends.
    pub may_stay_held: BTreeSet<String>,
    /// `namespace/name` of pods that may be on a node when its event begins.
    pub may_stay_on_node: BTreeSet<String>,
    /// Names of workloads (their pods' label `app`) of which the same is true.
    pub workloads_that_may_stay: BTreeSet<String>,
    /// The API server itself is stopped in this run, so what a leader sent in time may be received after its term:
    /// at most [`IN_FLIGHT`] evictions, and writes that are compare-and-swap. Without this nothing may be.
    pub api_server_stalls: bool,
    /// Where mechanic lives.
    pub namespace: String,
    /// The Lease's name.
    pub lease: String,
}

/// Evictions that a coordinator may have under way at once.
pub const IN_FLIGHT: usize = 10;

/// How long a change of the settings, or of a label, may take until mechanic acts by it.
pub const TAKES_EFFECT: SignedDuration = SignedDuration::from_secs(5);

/// Not written under a Permit: made once, before anybody leads.
const MADE_WITHOUT_LEADING: [&str; 1] = ["mechanic-ca"];
/// What is written under `dry-run` too: reviews ask something, the Lease says who leads, and the rest is mechanic's
/// own memory.
const WRITTEN_IN_DRY_RUN: [&str; 3] = ["leases", "tokenreviews", "subjectaccessreviews"];
const OWN_MEMORY: [&str; 3] = ["mechanic-accepted", "mechanic-authority", "mechanic-ca"];

impl Default for Promises {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            may_stay_held: BTreeSet::new(),
            may_stay_on_node: BTreeSet::new(),
            workloads_that_may_stay: BTreeSet::new(),
            api_server_stalls: false,
            namespace: "mechanic".into(),
            lease: "mechanic-coordinator".into(),
        }
    }
}

impl Promises {
    pub(super) fn is_coordinator(&self, request: &Request) -> bool {
        request.user == self.account("mechanic-coordinator")
    }

    pub(super) fn is_probe(&self, request: &Request) -> bool {
        request.user == self.account("mechanic-probe")
    }

    /// It is worth remembering: mechanic's own, or a write that a promise is about.
    pub(super) fn matter(&self, request: &Request) -> bool {
        let of_object = request.is_write() && request.subresource.is_empty();
        let node_or_lease = request.resource == "nodes"
            || (request.resource == "leases" && request.namespace == self.namespace);
        self.is_coordinator(request) || self.is_probe(request) || (of_object && node_or_lease)
    }

    /// It may be sent by a leader only.
    pub(super) fn needs_leader(&self, request: &Request) -> bool {
        let steered = matches!(request.resource.as_str(), "nodes" | "pods" | "events" | "configmaps");
        let exempt =
            request.resource == "configmaps" && MADE_WITHOUT_LEADING.contains(&request.name.as_str());
        self.is_coordinator(request) && request.is_write() && steered && !exempt
    }

    fn account(&self, name: &str) -> String {
        format!("system:serviceaccount:{}:{name}", self.namespace)
    }
}

/// It may be sent under `dry-run`.
pub(super) fn is_dry(request: &Request) -> bool {
    let memory = matches!(request.resource.as_str(), "configmaps" | "secrets")
        && OWN_MEMORY.contains(&request.name.as_str());
    !request.is_write() || WRITTEN_IN_DRY_RUN.contains(&request.resource.as_str()) || memory
}
