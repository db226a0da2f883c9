//! Which requests a fault is for, what it does to them, and the hand that a test keeps on it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::watch;

/// A request as the proxy saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whose entrance it came through.
    pub caller: String,
    /// In upper case.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Empty where the caller sent none.
    pub user_agent: String,
    /// The whole body.
    pub body: Bytes,
}

impl Seen {
    /// The body as text, for looking at.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

type Predicate = Arc<dyn Fn(&Seen) -> bool + Send + Sync>;

/// A choice of requests: all of its conditions must hold.
#[derive(Clone, Default)]
pub struct Requests {
    conditions: Vec<(String, Predicate)>,
}

impl Requests {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Adds a condition of one's own; `words` describe it in messages.
    #[must_use]
    pub fn that(mut self, words: &str, holds: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Self {
        self.conditions.push((words.to_owned(), Arc::new(holds)));
        self
    }

    /// Only this method, in upper case.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        let wanted = method.to_owned();
        self.that(method, move |seen| seen.method == wanted)
    }

    /// Only paths (with their query) that contain this.
    #[must_use]
    pub fn path_contains(self, part: &str) -> Self {
        let wanted = part.to_owned();
        self.that(&format!("path with {part}"), move |seen| seen.path.contains(&wanted))
    }

    /// Only bodies that contain this text.
    #[must_use]
    pub fn body_contains(self, part: &str) -> Self {
        let wanted = part.to_owned();
        self.that(&format!("body with {part}"), move |seen| seen.text().contains(&wanted))
    }

    /// Only what came through this caller's entrance.
    #[must_use]
    pub fn from(self, caller: &str) -> Self {
        let wanted = caller.to_owned();
        self.that(&format!("from {caller}"), move |seen| seen.caller == wanted)
    }

    /// Only user agents that contain this.
    #[must_use]
    pub fn user_agent_contains(self, part: &str) -> Self {
        let wanted = part.to_owned();
        self.that(&format!("user agent with {part}"), move |seen| seen.user_agent.contains(&wanted))
    }

    fn include(&self, seen: &Seen) -> bool {
        self.conditions.iter().all(|(_, holds)| holds(seen))
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.conditions.is_empty() {
            return f.write_str("any request");
        }
        let words: Vec<&str> = self.conditions.iter().map(|(words, _)| words.as_str()).collect();
        f.write_str(&words.join(", "))
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What happens to a request that a fault is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Waits until the fault is released, then goes on. Dies with its caller: the server never hears of it.
    Hold,
    /// As `Hold`, but already on its way: released, it takes effect even if its caller is gone by then. This is what a
    /// stalled API server does.
    HoldOnItsWay,
    /// Takes effect at once; the answer waits until the fault is released.
    HoldAnswer,
    /// The connection is closed, the server never hears of it.
    DropBefore,
    /// Takes effect; the connection is closed instead of the answer.
    DropAfterTakingEffect,
    /// Goes on after this time.
    Delay(Duration),
    /// The caller's clock is ahead by this: the times that it writes are, and those that it reads seem to be behind. From
    /// its first request on, or it won't know its own writes again.
    ClockAhead(SignedDuration),
    /// Is answered by the proxy, the server never hears of it.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The JSON body.
        body: Value,
    },
}

impl Effect {
    /// An answer in the shape in which an API server refuses: a `Status` with this reason, for example `TooManyRequests`.
    #[must_use]
    pub fn refuse(status: u16, reason: &str) -> Self {
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!("the sandbox's fault proxy says {reason}"), "reason": reason, "code": status,
        });
        Self::Answer { status, body }
    }
}

/// A fault to inject.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The requests that it is for.
    pub requests: Requests,
    /// What happens to them.
    pub effect: Effect,
    /// To how many; `None` is all, until the fault ends.
    pub times: Option<u32>,
}

impl Fault {
    /// A fault for the first request of this kind only.
    #[must_use]
    pub fn once(requests: Requests, effect: Effect) -> Self {
        Self { requests, effect, times: Some(1) }
    }

    /// A fault for every such request until it ends.
    #[must_use]
    pub fn always(requests: Requests, effect: Effect) -> Self {
        Self { requests, effect, times: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Released,
    Cleared,
}

#[derive(Debug, Default)]
struct Course {
    hits: Vec<Seen>,
    end: Option<End>,
}

/// A fault in force, shared by the proxy and the test's handle.
#[derive(Debug)]
pub(super) struct Rule {
    fault: Fault,
    course: watch::Sender<Course>,
}

impl Rule {
    pub(super) fn new(fault: Fault) -> Self {
        Self { fault, course: watch::Sender::new(Course::default()) }
    }

    pub(super) fn effect(&self) -> &Effect {
        &self.fault.effect
    }

    pub(super) fn is_over(&self) -> bool {
        self.course.borrow().end.is_some()
    }

    /// Takes the request if it is one of ours. Deciding and counting are one step, so that `times` is exact.
    pub(super) fn takes(&self, seen: &Seen) -> bool {
        self.fault.requests.include(seen)
            && self.course.send_if_modified(|course| {
                let used_up = self.fault.times.is_some_and(|times| course.hits.len() >= times as usize);
                let takes = course.end.is_none() && !used_up;
                if takes {
                    course.hits.push(seen.clone());
                }
                takes
            })
    }

    /// Waits for the end. True if held requests may go on.
    pub(super) async fn released(&self) -> bool {
        let mut course = self.course.subscribe();
        let end = course.wait_for(|course| course.end.is_some()).await;
        end.is_ok_and(|course| course.end == Some(End::Released))
    }

    fn end(&self, end: End) {
        self.course.send_modify(|course| {
            course.end.get_or_insert(end);
        });
    }
}

/// The test's hand on a fault. Dropping it ends the fault as `clear` does.
#[derive(Debug)]
#[must_use = "dropping the handle ends the fault"]
pub struct FaultHandle {
    rule: Arc<Rule>,
}

impl FaultHandle {
    pub(super) fn new(rule: Arc<Rule>) -> Self {
        Self { rule }
    }

    /// How many requests it met so far. A fault test in which this stays 0 has tested nothing.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.rule.course.borrow().hits.len()
    }

    /// All requests that it met, oldest first.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.rule.course.borrow().hits.clone()
    }

    /// Waits for the first request and returns it; an error if none came within that time.
    pub async fn hit(&self, within: Duration) -> Result<Seen> {
        let mut course = self.rule.course.subscribe();
        let first = course.wait_for(|course| !course.hits.is_empty());
        let course = tokio::time::timeout(within, first).await.with_context(|| {
            format!("no request came in {within:?} for the fault on {}", self.rule.fault.requests)
        })?;
        course.ok().and_then(|course| course.hits.first().cloned()).context("the fault proxy has ended")
    }

    /// Ends the fault; held requests and answers go on.
    pub fn release(&self) {
        self.rule.end(End::Released);
    }

    /// Ends the fault; the connections of requests that it still holds are closed, and they never take effect (a held
    /// answer's request has).
    pub fn clear(&self) {
        self.rule.end(End::Cleared);
    }
}

impl Drop for FaultHandle {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(method: &str, path: &str, body: &'static str) -> Seen {
        Seen {
            caller: "coordinator-1".into(),
            method: method.into(),
            path: path.into(),
            user_agent: "mechanic-coordinator/0.1".into(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn all_conditions_must_hold() {
        let claims = Requests::any()
            .method("PATCH")
            .path_contains("/nodes/")
            .body_contains("mechanic/claim")
            .user_agent_contains("coordinator")
            .from("coordinator-1");
        let claim = seen("PATCH", "/api/v1/nodes/n1", r#"{"mechanic/claim":1}"#);
        assert!(claims.include(&claim));
        assert!(!claims.include(&Seen { caller: "coordinator-2".into(), ..claim.clone() }));
        assert!(!claims.include(&Seen { method: "GET".into(), ..claim.clone() }));
        assert!(!claims.include(&seen("PATCH", "/api/v1/nodes/n1", "{}")));
        assert_eq!(Requests::any().to_string(), "any request");
        assert!(claims.to_string().contains("body with mechanic/claim"));
    }

    #[test]
    fn a_fault_for_one_request_meets_one() {
        let rule = Rule::new(Fault::once(Requests::any(), Effect::DropBefore));
        assert!(rule.takes(&seen("GET", "/", "")));
        assert!(!rule.takes(&seen("GET", "/", "")));
    }

    #[test]
    fn a_fault_that_ended_meets_none() {
        let rule = Arc::new(Rule::new(Fault::always(Requests::any(), Effect::DropBefore)));
        let handle = FaultHandle::new(Arc::clone(&rule));
        assert!(rule.takes(&seen("GET", "/", "")));
        drop(handle);
        assert!(rule.is_over());
        assert!(!rule.takes(&seen("GET", "/", "")));
    }
}
