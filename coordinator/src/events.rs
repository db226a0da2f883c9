//! Kubernetes Events on Nodes, Pods and the settings.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
};
use kube::{Api, Client, api::PostParams, core::ObjectMeta};
use mechanic_plan::ReasonCode;

use crate::{
    gate::{Gate, Intent, WriteError},
    note,
};

const CONTROLLER: &str = "mechanic-coordinator";
/// Where Events on cluster-wide objects belong.
const OF_CLUSTER_WIDE_OBJECTS: &str = "default";
/// An Event's name may be 253 characters long; this much of it is the object's.
const OBJECT_IN_NAME: usize = 200;

/// Publishes Events, while this process leads. Not kube's Recorder, which counts a repeated reason under its
/// first note: the next event of a node would never be named. And not through `events.k8s.io`, which refuses the
/// `lastTimestamp` that `kubectl describe` sorts by: there a story would stand in the order of its Events' names.
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
    /// Where it stands among what is told in the same second, or empty: `kubectl describe` knows no shorter time, and
    /// goes by name then.
    pub(crate) place: String,
}

impl Events {
    pub(crate) fn new(client: Client, gate: Gate, pod_name: &str) -> Self {
        Self { client, gate, pod_name: pod_name.to_owned() }
    }

    /// Publishes one. An Event that gets lost costs an explanation, never a step.
    pub(crate) async fn publish(&self, subject: Subject<'_>, telling: Telling) {
        let Telling { code, note, warning, key, place } = telling;
        let (kind, namespace, name, uid) = match subject {
            Subject::Node { name, uid } => ("Node", None, name, uid),
            Subject::Pod { namespace, name, uid } => ("Pod", Some(namespace), name, uid),
            Subject::ConfigMap { namespace, name, uid } => ("ConfigMap", Some(namespace), name, uid),
        };
        let involved_object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(kind.to_owned()),
            namespace: namespace.map(str::to_owned),
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let now = Timestamp::now();
        let prefix: String = name.chars().take(OBJECT_IN_NAME).collect();
        let event_name = match key {
            Some(key) => format!("{prefix}-{place}{key:016x}"),
            None => format!("{prefix}-{place}{:016x}", now.as_nanosecond()),
        };
        let event = Event {
            metadata: ObjectMeta { name: Some(event_name), ..ObjectMeta::default() },
            action: Some("Maintain".to_owned()),
            count: Some(1),
            event_time: Some(MicroTime(now)),
            first_timestamp: Some(Time(now)),
            involved_object,
            last_timestamp: Some(Time(now)),
            message: Some(note::cut(note)),
            reason: Some(code.to_string()),
            reporting_component: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.pod_name.clone()),
            source: Some(EventSource { component: Some(CONTROLLER.to_owned()), host: None }),
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
