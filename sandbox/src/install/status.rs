//! The status that a kubelet would write for a pod: pure, from what is known about its one process.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};

/// What the container is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Now {
    /// Its process runs.
    Running {
        /// Since then.
        since: Timestamp,
    },
    /// It waits to be started (again).
    Waiting {
        /// `CrashLoopBackOff`, `CreateContainerConfigError`, …
        reason: &'static str,
        /// A sentence.
        message: String,
    },
    /// It won't be started again.
    Terminated(Ended),
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// 128 + the signal for a process that a signal ended, as container runtimes say it.
    pub(super) exit_code: i32,
    pub(super) started: Timestamp,
    pub(super) finished: Timestamp,
}

impl Ended {
    fn json(&self) -> Value {
        json!({ "exitCode": self.exit_code, "reason": if self.exit_code == 0 { "Completed" } else { "Error" },
            "startedAt": whole_seconds(self.started), "finishedAt": whole_seconds(self.finished) })
    }
}

/// All that the status depends on.
#[derive(Clone, Debug)]
pub(super) struct Status<'a> {
    pub(super) container: &'a Container,
    pub(super) ip: &'a str,
    pub(super) host_ip: &'a str,
    pub(super) pod_started: Timestamp,
    pub(super) now: &'a Now,
    pub(super) ready: bool,
    pub(super) restarts: u32,
    pub(super) last: Option<&'a Ended>,
    /// When `ready` became what it is.
    pub(super) ready_since: Timestamp,
}

impl Status<'_> {
    /// A strategic merge patch for `pods/status`.
    pub(super) fn patch(&self) -> Value {
        let (phase, state) = match self.now {
            Now::Running { since } => {
                ("Running", json!({ "running": { "startedAt": whole_seconds(*since) } }))
            }
            Now::Waiting { reason, message } => {
                let waiting = json!({ "waiting": { "reason": reason, "message": message } });
                (if self.restarts > 0 || self.last.is_some() { "Running" } else { "Pending" }, waiting)
            }
            Now::Terminated(ended) => {
                let phase = if ended.exit_code == 0 { "Succeeded" } else { "Failed" };
                (phase, json!({ "terminated": ended.json() }))
            }
        };
        let is_running = matches!(self.now, Now::Running { .. });
        let last_state = self.last.map_or_else(|| json!({}), |ended| json!({ "terminated": ended.json() }));
        let ready = self.ready && is_running;
        json!({ "status": {
            "phase": phase,
            "podIP": self.ip,
            "podIPs": [{ "ip": self.ip }],
            "hostIP": self.host_ip,
            "hostIPs": [{ "ip": self.host_ip }],
            "startTime": whole_seconds(self.pod_started),
            "conditions": [
                self.condition("PodReadyToStartContainers", is_running, self.pod_started),
                self.condition("Initialized", true, self.pod_started),
                self.condition("ContainersReady", ready, self.ready_since),
                self.condition("Ready", ready, self.ready_since),
            ],
            "containerStatuses": [{
                "name": self.container.name,
                "image": self.container.image,
                "imageID": format!("sandbox://{}", self.container.image.as_deref().unwrap_or_default()),
                "ready": ready,
                "started": is_running,
                "restartCount": self.restarts,
                "state": state,
                "lastState": last_state,
            }],
        } })
    }

    fn condition(&self, kind: &str, holds: bool, since: Timestamp) -> Value {
        let mut condition = json!({ "type": kind, "status": if holds { "True" } else { "False" },
            "lastTransitionTime": whole_seconds(since), "reason": null, "message": null });
        if !holds && kind.ends_with("eady") {
            condition["reason"] = "ContainersNotReady".into();
            condition["message"] =
                format!("containers with unready status: [{}]", self.container.name).into();
        }
        condition
    }
}

// Kubernetes refuses fractions of a second in these fields' type.
fn whole_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(now: &Now, ready: bool, restarts: u32) -> Value {
        let container = Container { name: "probe".into(), ..Container::default() };
        let time: Timestamp = "2026-11-23T10:00:00.5Z".parse().unwrap();
        let status = Status {
            container: &container,
            ip: "127.1.2.3",
            host_ip: "127.0.0.1",
            pod_started: time,
            now,
            ready,
            restarts,
            last: None,
            ready_since: time,
        };
        status.patch()
    }

    #[test]
    fn a_running_pod_is_ready_when_its_probe_says_so() {
        let since: Timestamp = "2026-11-23T10:00:00.5Z".parse().unwrap();
        let status = &patch(&Now::Running { since }, true, 0)["status"];
        assert_eq!(status["phase"], "Running");
        assert_eq!(status["conditions"][3]["status"], "True");
        assert_eq!(status["containerStatuses"][0]["state"]["running"]["startedAt"], "2026-11-23T10:00:00Z");
        assert_eq!(patch(&Now::Running { since }, false, 0)["status"]["conditions"][3]["status"], "False");
    }

    #[test]
    fn a_crashed_pod_is_never_ready() {
        let now = Now::Waiting { reason: "CrashLoopBackOff", message: "waits".into() };
        let status = &patch(&now, true, 2)["status"];
        assert_eq!(status["phase"], "Running");
        assert_eq!(status["conditions"][3]["status"], "False");
        assert_eq!(status["containerStatuses"][0]["restartCount"], 2);
    }
}
