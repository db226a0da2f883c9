//! What the referee has seen, in plain data: everything that is judged is judged from this and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use crate::azure::Event;

/// The label that a Node held by mechanic carries.
pub const CORDONED_LABEL: &str = "mechanic.cordoned";
/// The label by which people keep mechanic away from a Node.
pub const OPT_OUT_LABEL: &str = "mechanic/opt-out";
/// The ConfigMap that holds the settings.
pub(super) const SETTINGS: &str = "mechanic";
/// The annotation that says what mechanic holds a Node for.
pub const CLAIM_ANNOTATION: &str = "mechanic/claim";

/// One run as seen from outside mechanic.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order in which they were noticed, which is not always the order in which they happened.
    pub records: Vec<Record>,
    /// Why some of it was not seen. Anything here makes every verdict void.
    pub blind_spots: Vec<String>,
}

impl History {
    /// mechanic held the Node of this name at some time.
    #[must_use]
    pub fn was_held(&self, node: &str) -> bool {
        self.records.iter().any(|record| match &record.fact {
            Fact::Node(seen) => seen.name == node && seen.held(),
            _ => false,
        })
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it was noticed: for requests, when the API server had answered.
    pub at: Timestamp,
    /// What it was.
    pub fact: Fact,
}

/// Something noticed by watching the API server, by reading its audit log, or told by whoever plays Azure.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A Node as it is from this version on.
    Node(NodeSeen),
    /// The Node of this name no longer exists.
    NodeGone(String),
    /// A pod as it is now.
    Pod(PodSeen),
    /// The pod with this UID no longer exists.
    PodGone(String),
    /// A PodDisruptionBudget as it is now.
    Budget(BudgetSeen),
    /// A request that the API server has answered.
    Request(Box<Request>),
    /// The ConfigMap `mechanic` of a namespace as it is from now on.
    Settings(SettingsSeen),
    /// What happened to a VM or its events.
    Azure(AzureFact),
    /// What a script did beside that, in words: for the story, and nothing is judged by it.
    Script(String),
}

/// The part of a Node that promises are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
// Each says something of its own, and all combinations occur.
#[allow(clippy::struct_excessive_bools)]
pub struct NodeSeen {
    /// Its name.
    pub name: String,
    /// Tells it from an earlier Node of the same name.
    pub uid: String,
    /// `metadata.resourceVersion`: orders all states of all objects.
    pub version: u64,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Somebody has made that their own by server-side apply.
    pub cordon_applied: bool,
    /// It carries mechanic's label.
    pub labelled: bool,
    /// The text of mechanic's claim.
    pub claim: Option<String>,
    /// Its `Ready` condition is `True`.
    pub ready: bool,
    /// The pool that it belongs to.
    pub pool: String,
    /// Somebody has opted it out.
    pub opted_out: bool,
}

impl NodeSeen {
    /// It carries mechanic's label or its claim.
    #[must_use]
    pub fn held(&self) -> bool {
        self.labelled || self.claim.is_some()
    }

    /// Its claim says that its pods are being evicted.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        let claim = self.claim.as_deref().and_then(|claim| serde_json::from_str::<Value>(claim).ok());
        claim.is_some_and(|claim| claim["phase"] == "draining")
    }

    /// The events that the claim names; nothing where there is no claim or no sense in it.
    #[must_use]
    pub fn claimed_events(&self) -> BTreeSet<String> {
        let claim: Option<Value> = self.claim.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let events = claim.as_ref().and_then(|claim| claim.get("events")).and_then(Value::as_object);
        events.map(|events| events.keys().cloned().collect()).unwrap_or_default()
    }
}

/// The part of a pod that promises are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
// Each says something of its own, and all combinations occur.
#[allow(clippy::struct_excessive_bools)]
pub struct PodSeen {
    /// Its namespace.
    pub namespace: String,
    /// Its name, which a successor may bear too.
    pub name: String,
    /// Its own, for ever.
    pub uid: String,
    /// Where it is bound to, once it is.
    pub node: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// A DaemonSet's or a static one: no drain moves it.
    pub stays: bool,
    /// It has come to its end by itself.
    pub finished: bool,
    /// Its `Ready` condition is `True`.
    pub ready: bool,
    /// Its deletion has been asked for.
    pub terminating: bool,
    /// How long it may take to stop.
    pub grace: Duration,
}

/// A PodDisruptionBudget and what its controller counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BudgetSeen {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which pods it is over.
    pub selector: LabelSelector,
    /// Pods that the controller counts as healthy.
    pub healthy: i32,
    /// Pods that must be healthy.
    pub desired: i32,
}

/// The ConfigMap that holds mechanic's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsSeen {
    /// Its namespace.
    pub namespace: String,
    /// What stands in it.
    pub data: BTreeMap<String, String>,
}

/// One line of the audit log: a request and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// When the API server received it: its effect is not older than this.
    pub received: Timestamp,
    /// When it was answered: its effect is not younger than this.
    pub answered: Timestamp,
    /// `get`, `patch`, `create`, …
    pub verb: String,
    /// With its query.
    pub uri: String,
    /// `apps`, `coordination.k8s.io`, …; empty for the core group.
    pub api_group: String,
    /// `nodes`, `pods`, …; empty where no object is asked for.
    pub resource: String,
    /// `eviction`, `status`, … or nothing.
    pub subresource: String,
    /// Empty for what lives in no namespace.
    pub namespace: String,
    /// Of the object; empty for a list or a created object that the server names.
    pub name: String,
    /// Who asked.
    pub user: String,
    /// The pod that the caller's token is bound to.
    pub pod: Option<String>,
    /// The HTTP status of the answer.
    pub code: u16,
    /// The caller has no right to it. Other refusals with the status 403 come from admission, a namespace that is being
    /// deleted for one.
    pub forbidden: bool,
    /// The server's sentence, for a refusal.
    pub message: String,
    /// The body sent, where the audit policy keeps it.
    pub body: Option<Value>,
    /// The object in the answer, where the audit policy keeps it.
    pub answer: Option<Value>,
}

impl Request {
    /// The server did what was asked.
    #[must_use]
    pub fn accepted(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// It would change something, had it been granted.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
            && !self.uri.contains("dryRun=All")
    }

    /// It asks for the end of a pod through the Eviction API.
    #[must_use]
    pub fn is_eviction(&self) -> bool {
        self.resource == "pods" && self.subresource == "eviction" && self.verb == "create" && self.is_write()
    }

    /// The UID that it is bound to, of an eviction or a delete.
    #[must_use]
    pub fn uid_precondition(&self) -> Option<&str> {
        let body = self.body.as_ref()?;
        body.pointer("/deleteOptions/preconditions/uid")
            .or_else(|| body.pointer("/preconditions/uid"))?
            .as_str()
    }

    /// The grace in seconds that it asks for, of an eviction or a delete.
    #[must_use]
    pub fn grace_seconds(&self) -> Option<i64> {
        let body = self.body.as_ref()?;
        body.pointer("/deleteOptions/gracePeriodSeconds")
            .or_else(|| body.pointer("/gracePeriodSeconds"))?
            .as_i64()
    }

    /// Who asked, for people: the pod where it is known.
    #[must_use]
    pub fn caller(&self) -> &str {
        self.pod.as_deref().unwrap_or(&self.user)
    }
}

/// What whoever plays Azure did to a VM, named by the Node it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureFact {
    /// The VMs' documents show this event from now on.
    Announced {
        /// As Azure shows it.
        event: Box<Event>,
        /// The Nodes of the VMs that it hits.
        nodes: Vec<String>,
        /// There is time and room enough to move every pod that may be moved.
        avoidable: bool,
    },
    /// The event is moved.
    Moved {
        /// Its `EventId`.
        event: String,
        /// Its `NotBefore` from now on.
        not_before: String,
    },
    /// The event begins.
    Started {
        /// Its `EventId`.
        event: String,
    },
    /// The VM's document shows this event no longer.
    Removed {
        /// Its `EventId`.
        event: String,
    },
    /// The VM is gone for now, and every process on it.
    PoweredOff {
        /// Its Node.
        node: String,
    },
    /// The VM boots.
    PoweredOn {
        /// Its Node.
        node: String,
    },
    /// Another VM takes its place: the old one's events are nothing to the new one.
    Replaced {
        /// Its Node.
        node: String,
    },
}
