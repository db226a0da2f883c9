//! What the API server's answer to an eviction means, and when to ask again.

use std::time::Duration;

use kube::core::Status;
use mechanic_plan::Verdict;

use crate::gate::WriteError;

/// After another no.
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// After a budget's no: what it allows is watched, and may have changed since.
const RETRY_BUDGET: Duration = Duration::from_secs(1);
/// Where an API server that sheds load doesn't say itself for how long.
const RETRY_OVERLOAD: Duration = Duration::from_secs(1);
/// After an answer that didn't come, the watch is given this long to show what happened.
pub(super) const RETRY_UNKNOWN: Duration = Duration::from_secs(2);
/// An eviction without an answer may land so late: a stalled API server has applied them after 17 s.
pub(super) const LANDS_WITHIN: Duration = Duration::from_secs(30);

/// What came of one eviction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Accepted: the pod is on its way out.
    Evicted,
    /// The pod we meant is gone.
    Gone,
    /// No; why, and when to ask again.
    Refused { verdict: Verdict, detail: String, again_in: Duration },
    /// The API server sheds load; nothing was said of the pod. All evictions wait.
    Overloaded { again_in: Duration },
    /// No answer came: it may have been accepted, or may yet be.
    Unknown(String),
    /// This process doesn't lead, or was told not to; nothing was sent.
    NotSent(String),
}

impl Outcome {
    /// The label of the metric that counts it.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Evicted => "accepted",
            Self::Gone => "gone",
            Self::Refused { verdict: Verdict::BlockedByBudget, .. } => "budget",
            Self::Refused { .. } => "refused",
            Self::Overloaded { .. } => "overloaded",
            Self::Unknown(_) => "unknown",
            Self::NotSent(_) => "not_sent",
        }
    }
}

/// Reads the answer.
pub(super) fn answer<T>(written: Result<T, WriteError>) -> Outcome {
    match written {
        Ok(_) => Outcome::Evicted,
        Err(error @ (WriteError::NotLeading(_) | WriteError::HeldBack(_))) => {
            Outcome::NotSent(error.to_string())
        }
        Err(WriteError::Refused(status)) => outcome(&status),
        Err(WriteError::Unknown(detail)) => Outcome::Unknown(detail),
    }
}

/// Reads a refusal. A 429 alone says nothing: budgets, webhooks and an overloaded server all use it.
fn outcome(status: &Status) -> Outcome {
    let details = status.details.as_ref();
    let kind = details.map_or("", |details| details.kind.as_str());
    let caused_by = |reason: &str| {
        details.into_iter().flat_map(|details| &details.causes).any(|cause| cause.reason == reason)
    };
    let says = &status.message;
    let refused = |verdict, detail: String, again_in| Outcome::Refused { verdict, detail, again_in };
    let asked_to_wait = details.map_or(0, |details| details.retry_after_seconds);
    let after =
        |least: Duration| least.max(Duration::from_secs(asked_to_wait.into())).min(Duration::from_mins(1));
    match status.code {
        // Webhooks and admission policies choose their code themselves; the API server adds these words.
        _ if is_denial(says) => {
            refused(Verdict::BlockedForGood, format!("never, while {says}"), after(RETRY))
        }
        404 => Outcome::Gone,
        409 if kind != "poddisruptionbudgets" && says.contains("UID in the precondition") => Outcome::Gone,
        429 if caused_by("DisruptionBudget") => {
            refused(Verdict::BlockedByBudget, says.clone(), after(RETRY_BUDGET))
        }
        429 => Outcome::Overloaded { again_in: after(RETRY_OVERLOAD) },
        500 if says.contains("more than one PodDisruptionBudget") => {
            refused(Verdict::BlockedForGood, format!("never, as things stand: {says}"), after(RETRY))
        }
        403 if caused_by("NamespaceTerminating") => refused(
            Verdict::EvictionRefused,
            "until its namespace is gone, and it with that".into(),
            after(RETRY),
        ),
        _ if says.contains("failed calling webhook") => {
            refused(Verdict::EvictionRefused, format!("until the webhook answers: {says}"), after(RETRY))
        }
        // The API server has given up waiting for what may yet be done.
        503 | 504 => Outcome::Unknown(says.clone()),
        500 if says.contains("timed out") => Outcome::Unknown(says.clone()),
        _ => refused(Verdict::EvictionRefused, says.clone(), after(RETRY)),
    }
}

fn is_denial(says: &str) -> bool {
    [" denied the request: ", " denied request: ", " denied the request without explanation"]
        .iter()
        .any(|words| says.contains(words))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer_to(status: serde_json::Value) -> Outcome {
        outcome(&serde_json::from_value(status).unwrap())
    }

    fn verdict(outcome: &Outcome) -> Option<Verdict> {
        match outcome {
            Outcome::Refused { verdict, .. } => Some(*verdict),
            _ => None,
        }
    }

    #[test]
    fn u10_a_pod_that_is_gone_or_replaced_is_gone() {
        assert_eq!(
            answer_to(json!({"code": 404, "reason": "NotFound", "details": {"kind": "pods"}})),
            Outcome::Gone
        );
        let replaced = json!({"code": 409, "reason": "Conflict", "message": "the UID in the precondition (a) does not match the UID in record (b)", "details": {"kind": "Pod"}});
        assert_eq!(answer_to(replaced), Outcome::Gone);
    }

    #[test]
    fn edge_8_only_a_429_that_names_a_budget_is_a_budgets_no() {
        let budget = answer_to(
            json!({"code": 429, "message": "budget", "details": {"causes": [{"reason": "DisruptionBudget"}]}}),
        );
        assert_eq!(verdict(&budget), Some(Verdict::BlockedByBudget));
        let overload = answer_to(json!({"code": 429, "details": {"retryAfterSeconds": 9}}));
        assert_eq!(overload, Outcome::Overloaded { again_in: Duration::from_secs(9) });
        // As it really comes: plain text, of which nothing but the code is left.
        let plain = answer_to(json!({"code": 429, "message": "Too many requests, please try again later."}));
        assert_eq!(plain, Outcome::Overloaded { again_in: RETRY_OVERLOAD });
    }

    #[test]
    fn n1_n2_edge_11_what_no_waiting_will_change_is_told_from_what_it_may() {
        for (status, expected, part) in [
            (
                json!({"code": 403, "message": "admission webhook \"guard.shop.io\" denied the request: not today"}),
                Verdict::BlockedForGood,
                "guard.shop.io",
            ),
            (
                json!({"code": 500, "message": "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}),
                Verdict::BlockedForGood,
                "more than one",
            ),
            (
                json!({"code": 500, "message": "Internal error occurred: failed calling webhook \"guard.shop.io\": connection refused"}),
                Verdict::EvictionRefused,
                "until the webhook answers",
            ),
            (
                json!({"code": 403, "message": "no", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}),
                Verdict::EvictionRefused,
                "until its namespace is gone",
            ),
        ] {
            let Outcome::Refused { verdict, detail, .. } = answer_to(status) else { panic!("{part}") };
            assert_eq!(verdict, expected, "{detail}");
            assert!(detail.contains(part), "{detail}");
        }
    }

    #[test]
    fn a_denial_is_one_whatever_its_code_and_without_explanation_too() {
        for (code, says) in [
            (404, "admission webhook \"guard.shop.io\" denied the request: no such pod to evict"),
            (429, "admission webhook \"guard.shop.io\" denied the request: later"),
            (403, "admission webhook \"guard.shop.io\" denied the request without explanation"),
        ] {
            let denied = answer_to(json!({"code": code, "message": says}));
            assert_eq!(verdict(&denied), Some(Verdict::BlockedForGood), "{says}");
        }
    }

    #[test]
    fn what_the_server_gave_up_waiting_for_may_yet_be_done() {
        for status in [
            json!({"code": 500, "message": "etcdserver: request timed out"}),
            json!({"code": 504, "message": "Timeout: request did not complete within the allotted duration"}),
            json!({"code": 503, "message": "unavailable"}),
        ] {
            assert!(matches!(answer_to(status), Outcome::Unknown(_)));
        }
    }

    #[test]
    fn u18_everything_else_is_asked_again_later_and_never_at_once() {
        for status in [
            json!({"code": 403, "message": "forbidden"}),
            json!({"code": 409, "details": {"kind": "poddisruptionbudgets"}}),
            json!({"code": 0}),
        ] {
            let outcome = answer_to(status);
            assert_eq!(verdict(&outcome), Some(Verdict::EvictionRefused));
            assert!(
                matches!(outcome, Outcome::Refused { again_in, .. } if again_in >= RETRY && again_in <= Duration::from_mins(1))
            );
        }
    }
}
