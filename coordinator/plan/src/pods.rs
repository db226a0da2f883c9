//! What a drain does with each pod of a node.

use std::fmt;

use strum::{IntoStaticStr, VariantNames};

/// A pod, as far as a drain must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `status.phase`.
    pub phase: PodPhase,
    /// The owner reference with `controller: true`.
    pub controller: Option<Controller>,
    /// Has the annotation `kubernetes.io/config.mirror`: the kubelet's own static pod.
    pub mirror: bool,
    /// Has a volume of type `emptyDir`.
    pub empty_dir: bool,
    /// Has a `deletionTimestamp`.
    pub terminating: bool,
}

/// `status.phase`, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    /// Pending, Running or Unknown.
    Active,
    /// Succeeded or Failed.
    Finished,
}

/// A pod's controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
}

/// What is done with a pod. The names are the codes: a public contract, documented in `docs/reasons.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantNames)]
pub enum Verdict {
    /// It is evicted.
    Evict,
    /// It is evicted as soon as its PodDisruptionBudget allows.
    BlockedByBudget,
    /// The API server refused the eviction for another reason; it is tried again.
    EvictionRefused,
    /// It is on its way out.
    Terminating,
    /// The kubelet's own; it can't be evicted.
    MirrorPod,
    /// Its DaemonSet would put it back at once.
    DaemonSetPod,
    /// Nothing would bring it back elsewhere, and it outlives a reboot here.
    Unmanaged,
    /// An eviction would delete its data, which outlives a reboot.
    EmptyDir,
    /// The leader's own pod.
    Leader,
}

/// One pod of a node that is being drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodReport {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What is done with it.
    pub verdict: Verdict,
    /// What the API server said to its eviction, if that was no.
    pub detail: String,
}

/// Decides what a drain for a reboot does with a pod: kubectl's rules, but what must stay, stays, and the
/// others go.
///
/// A reboot gives the machine back with its disks, so a pod that would lose something by leaving stays.
#[must_use]
pub fn classify(pod: &Pod, leader_pod_uid: &str) -> Verdict {
    let finished = pod.phase == PodPhase::Finished;
    if pod.mirror {
        Verdict::MirrorPod
    } else if pod.controller.as_ref().is_some_and(Controller::is_daemon_set) && !finished {
        Verdict::DaemonSetPod
    } else if pod.terminating {
        Verdict::Terminating
    } else if pod.uid == leader_pod_uid {
        Verdict::Leader
    } else if finished {
        Verdict::Evict
    } else if pod.controller.is_none() {
        Verdict::Unmanaged
    } else if pod.empty_dir {
        Verdict::EmptyDir
    } else {
        Verdict::Evict
    }
}

impl Controller {
    /// Other groups have a kind of that name, whose pods are ordinary ones.
    fn is_daemon_set(&self) -> bool {
        self.kind == "DaemonSet" && self.api_version == "apps/v1"
    }
}

impl Verdict {
    /// All codes.
    pub const CODES: &'static [&'static str] = Self::VARIANTS;

    /// Whether the pod belongs to the node itself and isn't reported at all.
    #[must_use]
    pub fn is_part_of_node(self) -> bool {
        matches!(self, Self::MirrorPod | Self::DaemonSetPod)
    }

    /// Whether the drain goes on until the pod is gone.
    #[must_use]
    pub fn must_leave(self) -> bool {
        matches!(self, Self::Evict | Self::BlockedByBudget | Self::EvictionRefused | Self::Terminating)
    }

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evict => "it is being evicted",
            Self::BlockedByBudget => "its PodDisruptionBudget allows no eviction now; it is tried again",
            Self::EvictionRefused => "the API server refused its eviction; it is tried again",
            Self::Terminating => "it is terminating",
            Self::MirrorPod => "it is a static pod of the kubelet",
            Self::DaemonSetPod => "its DaemonSet would put it back at once",
            Self::Unmanaged => {
                "it stays, since nothing would bring it back elsewhere and it outlives a reboot"
            }
            Self::EmptyDir => "it stays, since an eviction would delete its emptyDir and a reboot doesn't",
            Self::Leader => "it stays, since it is the coordinator that leads",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        Pod {
            namespace: "default".into(),
            name: "web-1".into(),
            uid: "uid".into(),
            phase: PodPhase::Active,
            controller: controller("apps/v1", "ReplicaSet"),
            mirror: false,
            empty_dir: false,
            terminating: false,
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a pod holds")]
    fn controller(api_version: &str, kind: &str) -> Option<Controller> {
        Some(Controller { api_version: api_version.into(), kind: kind.into() })
    }

    #[test]
    fn each_pod_gets_its_verdict() {
        let daemon = Pod { controller: controller("apps/v1", "DaemonSet"), ..pod() };
        let finished = Pod { phase: PodPhase::Finished, ..pod() };
        let cases = [
            ("managed", pod(), Verdict::Evict),
            ("static", Pod { mirror: true, controller: None, ..pod() }, Verdict::MirrorPod),
            ("static and finished", Pod { mirror: true, ..finished.clone() }, Verdict::MirrorPod),
            ("of a DaemonSet", daemon.clone(), Verdict::DaemonSetPod),
            (
                "of a DaemonSet, with emptyDir",
                Pod { empty_dir: true, ..daemon.clone() },
                Verdict::DaemonSetPod,
            ),
            (
                "of a DaemonSet, terminating",
                Pod { terminating: true, ..daemon.clone() },
                Verdict::DaemonSetPod,
            ),
            ("of a DaemonSet, finished", Pod { phase: PodPhase::Finished, ..daemon }, Verdict::Evict),
            (
                "of another group's DaemonSet",
                Pod { controller: controller("apps.kruise.io/v1alpha1", "DaemonSet"), ..pod() },
                Verdict::Evict,
            ),
            ("terminating", Pod { terminating: true, ..pod() }, Verdict::Terminating),
            ("unmanaged", Pod { controller: None, ..pod() }, Verdict::Unmanaged),
            ("unmanaged and finished", Pod { controller: None, ..finished }, Verdict::Evict),
            ("with emptyDir", Pod { empty_dir: true, ..pod() }, Verdict::EmptyDir),
            ("the leader itself", Pod { uid: "leader".into(), ..pod() }, Verdict::Leader),
        ];
        for (name, pod, expected) in cases {
            assert_eq!(classify(&pod, "leader"), expected, "{name}");
        }
    }
}
