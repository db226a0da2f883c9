//! One line of the API server's audit log, read into a [`Request`].

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::history::Request;

/// Where the API server puts the name of the pod that a token is bound to.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
/// Where it says what its authorizers decided.
const DECISION: &str = "authorization.k8s.io/decision";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: Answer,
    request_object: Option<Value>,
    response_object: Option<Value>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    #[serde(rename = "apiGroup")]
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    code: u16,
    message: String,
}

/// The request that this line ends, or nothing where a later line will say how it ended.
///
/// A watch has no end worth waiting for and counts from the start of its answer.
pub(super) fn read(line: &str) -> Result<Option<Request>> {
    let line: Line = serde_json::from_str(line).context("a line of the audit log can't be read")?;
    let ends = match line.stage.as_str() {
        "ResponseComplete" | "Panic" => line.verb != "watch",
        "ResponseStarted" => line.verb == "watch",
        _ => false,
    };
    if !ends {
        return Ok(None);
    }
    Ok(Some(Request {
        received: line.request_received_timestamp,
        answered: line.stage_timestamp,
        verb: line.verb,
        uri: line.request_uri,
        api_group: line.object_ref.api_group,
        resource: line.object_ref.resource,
        subresource: line.object_ref.subresource,
        namespace: line.object_ref.namespace,
        name: line.object_ref.name,
        pod: line.user.extra.get(POD_NAME).and_then(|names| names.first()).cloned(),
        user: line.user.username,
        code: line.response_status.code,
        forbidden: line.annotations.get(DECISION).is_some_and(|decision| decision == "forbid"),
        message: line.response_status.message,
        body: line.request_object,
        answer: line.response_object,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVICTION: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request",
        "auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/cart-1/eviction?",
        "verb":"create","user":{"username":"system:serviceaccount:mechanic:mechanic-coordinator","uid":"u",
        "extra":{"authentication.kubernetes.io/pod-name":["mechanic-coordinator-abc"]}},
        "objectRef":{"resource":"pods","namespace":"shop","name":"cart-1","apiVersion":"v1","subresource":"eviction"},
        "responseStatus":{"metadata":{},"status":"Failure","message":"Cannot evict pod as it would violate the pod's disruption budget.","reason":"TooManyRequests","code":429},
        "requestObject":{"deleteOptions":{"preconditions":{"uid":"pod-uid"},"gracePeriodSeconds":30}},
        "requestReceivedTimestamp":"2026-11-23T12:00:00.000001Z","stageTimestamp":"2026-11-23T12:00:00.500000Z"}"#;

    #[test]
    fn an_eviction_names_its_caller_its_precondition_and_its_answer() {
        let request = read(EVICTION).unwrap().unwrap();
        assert!(request.is_eviction());
        assert_eq!(request.caller(), "mechanic-coordinator-abc");
        assert_eq!(request.uid_precondition(), Some("pod-uid"));
        assert_eq!(request.grace_seconds(), Some(30));
        assert_eq!((request.code, request.accepted()), (429, false));
        assert!(request.received < request.answered);
    }

    #[test]
    fn a_right_that_is_missing_is_not_any_refusal() {
        let refused = EVICTION.replace("\"code\":429", "\"code\":403");
        assert!(!read(&refused).unwrap().unwrap().forbidden);
        let forbidden =
            refused.replacen('{', r#"{"annotations":{"authorization.k8s.io/decision":"forbid"},"#, 1);
        assert!(read(&forbidden).unwrap().unwrap().forbidden);
    }

    #[test]
    fn a_request_counts_once_and_a_watch_when_it_begins() {
        let received = EVICTION.replace("ResponseComplete", "RequestReceived");
        assert_eq!(read(&received).unwrap(), None);
        let watch_begins =
            EVICTION.replace("ResponseComplete", "ResponseStarted").replace("\"create\"", "\"watch\"");
        assert!(read(&watch_begins).unwrap().is_some());
        let watch_ends = EVICTION.replace("\"create\"", "\"watch\"");
        assert_eq!(read(&watch_ends).unwrap(), None);
    }

    #[test]
    fn a_torn_line_is_an_error_and_not_silence() {
        assert!(read(&EVICTION[..200]).is_err());
    }
}
