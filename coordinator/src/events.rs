//! Kubernetes Events on Nodes, Pods and the settings.

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams, core::ObjectMeta};
use mechanic_plan::ReasonCode;

use crate::gate::{Gate, Intent, WriteError};

const CONTROLLER: &str = "mechanic-coordinator";
/// Where Events on cluster-wide objects belong.
const OF_CLUSTER_WIDE_OBJECTS: &str = "default";
/// A note may be a kilobyte long.
const NOTE: usize = 1000;
/// An Event's name may be 253 characters long; this much of it is the object's.
const OBJECT_IN_NAME: usize = 200;

/// Publishes Events, while this process leads. Not kube's Recorder, which counts a repeated reason under its
/// first note: the next event of a node would never be named.
#[derive(Clone)]
pub(crate) struct Events {
    client: Client,
    gate: Gate,
    pod_name: String,
}

/// What something is told about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    Node { name: &'a str, uid: &'a str },
    Pod { namespace: &'a str, name: &'a str, uid: &'a str },
    ConfigMap { namespace: &'a str, name: &'a str, uid: &'a str },
}

/// Something that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Telling {
    pub(crate) code: ReasonCode,
    pub(crate) note: String,
    pub(crate) warning: bool,
    /// Names what is told once and for all, whichever leader tells it.
    pub(crate) key: Option<u64>,
}

impl Events {
    pub(crate) fn new(client: Client, gate: Gate, pod_name: &str) -> Self {
        Self { client, gate, pod_name: pod_name.to_owned() }
    }

    /// Publishes one. An Event that gets lost costs an explanation, never a step.
    pub(crate) async fn publish(&self, subject: Subject<'_>, telling: Telling) {
        let Telling { code, note, warning, key } = telling;
        let (kind, namespace, name, uid) = match subject {
            Subject::Node { name, uid } => ("Node", None, name, uid),
            Subject::Pod { namespace, name, uid } => ("Pod", Some(namespace), name, uid),
            Subject::ConfigMap { namespace, name, uid } => ("ConfigMap", Some(namespace), name, uid),
        };
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(kind.to_owned()),
            namespace: namespace.map(str::to_owned),
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let prefix: String = name.chars().take(OBJECT_IN_NAME).collect();
        let metadata = match key {
            Some(key) => ObjectMeta { name: Some(format!("{prefix}-{key:016x}")), ..ObjectMeta::default() },
            None => ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() },
        };
        let event = Event {
            metadata,
            action: Some("Maintain".to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(note.chars().take(NOTE).collect()),
            reason: Some(code.to_string()),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.pod_name.clone()),
            type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        };
        let parameters = PostParams::default();
        let events: Api<Event> =
            Api::namespaced(self.client.clone(), namespace.unwrap_or(OF_CLUSTER_WIDE_OBJECTS));
        match self.gate.write(Intent::Tell, events.create(&parameters, &event)).await {
            Ok(_) => {}
            Err(WriteError::Refused(status)) if status.code == 409 && key.is_some() => {
                tracing::debug!(name, reason = %code, "an earlier leader has told this");
            }
            Err(error) => tracing::warn!(kind, name, reason = %code, %error, "an Event was not published"),
        }
    }
}
