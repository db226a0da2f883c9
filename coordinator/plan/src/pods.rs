//! What a drain does with each pod of a node.

use std::{fmt, time::Duration};

use crate::{decide::Departure, reason::ReasonCode};

/// A pod, as far as a drain must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
// Each says something of its own, and all combinations occur.
#[allow(clippy::struct_excessive_bools)]
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
    /// Asks by an annotation not to be moved: `cluster-autoscaler.kubernetes.io/safe-to-evict: "false"` or
    /// `karpenter.sh/do-not-disrupt: "true"`.
    pub asks_to_stay: bool,
    /// It tolerates the cordon, and its controller has put it here in place of one that this drain has evicted.
    pub came_back: bool,
    /// When it goes, among the pods of its node.
    pub wave: Wave,
    /// Has a `deletionTimestamp`.
    pub terminating: bool,
    /// `spec.terminationGracePeriodSeconds`.
    pub grace: Duration,
}

/// `status.phase`, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    /// Pending, Running or Unknown.
    Active,
    /// Succeeded or Failed.
    Finished,
}

/// Pods go in waves; the next one starts when the last is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wave {
    /// All others.
    Ordinary,
    /// Priority class `system-cluster-critical` or `system-node-critical`: the others may need them to the end.
    Critical,
}

/// A pod's controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
}

/// What is done with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is evicted.
    Evict,
    /// It is evicted once the waves before it are gone.
    WaitingForWave,
    /// It asks not to be moved, so it is evicted at the latest safe start and not sooner.
    ProtectedForNow,
    /// It is evicted as soon as its PodDisruptionBudget allows.
    BlockedByBudget,
    /// No eviction can move it until somebody changes something.
    BlockedForGood,
    /// The API server refused the eviction for another reason; it is tried again.
    EvictionRefused,
    /// It is on its way out.
    Terminating,
    /// The kubelet's own; it can't be evicted.
    MirrorPod,
    /// Its DaemonSet would put it back at once.
    DaemonSetPod,
    /// Nothing would bring it back elsewhere, and it outlives the event here.
    Unmanaged,
    /// An eviction would delete its data, which outlives the event.
    EmptyDir,
    /// It asks not to be moved, and outlives the event here.
    Protected,
    /// It tolerates the cordon, and came back when it was evicted.
    CameBack,
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
    /// What keeps it, and what would free it; what the API server said, where it refused the eviction.
    pub detail: String,
    /// How long it may take to stop.
    pub grace: Duration,
    /// The PodDisruptionBudget over it, if there is exactly one.
    pub budget: Option<BudgetOverPod>,
}

/// A PodDisruptionBudget, as far as the time behind it can be estimated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetOverPod {
    /// Name, in the pod's namespace.
    pub name: String,
    /// Pods that it lets go at once while all are healthy.
    pub allows_at_once: usize,
}

/// Decides what a drain does with a pod: kubectl's rules, but what must stay, stays, and the others go.
///
/// Where the machine keeps its disks, a pod that would lose something by leaving stays; where it doesn't,
/// staying saves nothing. `leaving` is the first wave that isn't gone from the node yet.
#[must_use]
pub fn classify(pod: &Pod, leader_pod_uid: &str, departure: Departure, leaving: Wave) -> Verdict {
    let finished = pod.phase == PodPhase::Finished;
    let outlives_event = departure.worst.keeps_disks();
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
    } else if pod.came_back {
        Verdict::CameBack
    } else if outlives_event && pod.controller.is_none() {
        Verdict::Unmanaged
    } else if outlives_event && pod.empty_dir {
        Verdict::EmptyDir
    } else if outlives_event && pod.asks_to_stay {
        Verdict::Protected
    } else if departure.urgent {
        Verdict::Evict
    } else if pod.asks_to_stay {
        Verdict::ProtectedForNow
    } else if pod.wave > leaving {
        Verdict::WaitingForWave
    } else {
        Verdict::Evict
    }
}

/// The first wave that isn't gone yet from a node with these pods.
#[must_use]
pub fn first_wave<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    leader_pod_uid: &str,
    departure: Departure,
) -> Wave {
    let leaving = pods
        .into_iter()
        .filter(|pod| classify(pod, leader_pod_uid, departure, pod.wave).must_leave())
        .map(|pod| pod.wave);
    leaving.min().unwrap_or(Wave::Critical)
}

impl Controller {
    /// Other groups have a kind of that name, whose pods are ordinary ones.
    fn is_daemon_set(&self) -> bool {
        self.kind == "DaemonSet" && self.api_version == "apps/v1"
    }
}

impl Verdict {
    /// Whether the pod belongs to the node itself and isn't reported at all.
    #[must_use]
    pub fn is_part_of_node(self) -> bool {
        matches!(self, Self::MirrorPod | Self::DaemonSetPod)
    }

    /// Whether the drain goes on until the pod is gone.
    #[must_use]
    pub fn must_leave(self) -> bool {
        matches!(
            self,
            Self::Evict
                | Self::WaitingForWave
                | Self::ProtectedForNow
                | Self::BlockedByBudget
                | Self::BlockedForGood
                | Self::EvictionRefused
                | Self::Terminating
        )
    }

    /// Whether something is being done about the pod right now.
    #[must_use]
    pub fn is_moving(self) -> bool {
        matches!(self, Self::Evict | Self::Terminating)
    }

    /// The stable code.
    #[must_use]
    pub fn code(self) -> ReasonCode {
        match self {
            Self::Evict => ReasonCode::Evict,
            Self::WaitingForWave => ReasonCode::WaitingForWave,
            Self::ProtectedForNow => ReasonCode::ProtectedForNow,
            Self::BlockedByBudget => ReasonCode::BlockedByBudget,
            Self::BlockedForGood => ReasonCode::BlockedForGood,
            Self::EvictionRefused => ReasonCode::EvictionRefused,
            Self::Terminating => ReasonCode::Terminating,
            Self::MirrorPod => ReasonCode::MirrorPod,
            Self::DaemonSetPod => ReasonCode::DaemonSetPod,
            Self::Unmanaged => ReasonCode::Unmanaged,
            Self::EmptyDir => ReasonCode::EmptyDir,
            Self::Protected => ReasonCode::Protected,
            Self::CameBack => ReasonCode::CameBack,
            Self::Leader => ReasonCode::Leader,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evict => "it is being evicted",
            Self::WaitingForWave => "it is critical and leaves when the others are gone",
            Self::ProtectedForNow => {
                "it asks not to be moved, so it stays until the latest safe start, and is evicted then"
            }
            Self::BlockedByBudget => "its PodDisruptionBudget allows no eviction now; it is tried again",
            Self::BlockedForGood => "no eviction can move it until somebody changes something",
            Self::EvictionRefused => "the API server refused its eviction; it is tried again",
            Self::Terminating => "it is terminating",
            Self::MirrorPod => "it is a static pod of the kubelet",
            Self::DaemonSetPod => "its DaemonSet would put it back at once",
            Self::Unmanaged => {
                "it stays, since nothing would bring it back elsewhere and it outlives the event"
            }
            Self::EmptyDir => "it stays, since an eviction would delete its emptyDir and the event doesn't",
            Self::Protected => "it stays, since it asks not to be moved and outlives the event",
            Self::CameBack => "it stays, since it tolerates the cordon and came back when it was evicted",
            Self::Leader => "it stays, since it is the coordinator that leads",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;

    fn departure(worst: EventType) -> Departure {
        Departure { worst, urgent: false }
    }

    fn pod() -> Pod {
        Pod {
            namespace: "default".into(),
            name: "web-1".into(),
            uid: "uid".into(),
            phase: PodPhase::Active,
            controller: controller("apps/v1", "ReplicaSet"),
            mirror: false,
            empty_dir: false,
            asks_to_stay: false,
            came_back: false,
            wave: Wave::Ordinary,
            terminating: false,
            grace: Duration::from_secs(30),
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
            ("that came back", Pod { came_back: true, ..pod() }, Verdict::CameBack),
            ("that asks to stay", Pod { asks_to_stay: true, ..pod() }, Verdict::Protected),
            ("critical", Pod { wave: Wave::Critical, ..pod() }, Verdict::WaitingForWave),
            ("the leader itself", Pod { uid: "leader".into(), ..pod() }, Verdict::Leader),
        ];
        for (name, pod, expected) in cases {
            let verdict = classify(&pod, "leader", departure(EventType::Reboot), Wave::Ordinary);
            assert_eq!(verdict, expected, "{name}");
        }
    }

    #[test]
    fn what_would_be_lost_either_way_leaves() {
        let unmanaged = Pod { controller: None, ..pod() };
        let with_data = Pod { empty_dir: true, ..pod() };
        for (worst, stays) in [
            (EventType::Freeze, true),
            (EventType::Reboot, true),
            (EventType::Redeploy, false),
            (EventType::Terminate, false),
            (EventType::Preempt, false),
        ] {
            let expected = |verdict| if stays { verdict } else { Verdict::Evict };
            let verdict = |pod| classify(pod, "", departure(worst), Wave::Ordinary);
            assert_eq!(verdict(&unmanaged), expected(Verdict::Unmanaged), "{worst:?}");
            assert_eq!(verdict(&with_data), expected(Verdict::EmptyDir), "{worst:?}");
        }
    }

    #[test]
    fn who_asks_to_stay_is_waited_for_until_the_latest_safe_start_where_the_machine_goes() {
        let protected = Pod { asks_to_stay: true, ..pod() };
        for (worst, urgent, expected) in [
            (EventType::Freeze, true, Verdict::Protected),
            (EventType::Reboot, true, Verdict::Protected),
            (EventType::Redeploy, false, Verdict::ProtectedForNow),
            (EventType::Terminate, false, Verdict::ProtectedForNow),
            (EventType::Terminate, true, Verdict::Evict),
            (EventType::Preempt, true, Verdict::Evict),
        ] {
            let verdict = classify(&protected, "", Departure { worst, urgent }, Wave::Ordinary);
            assert_eq!(verdict, expected, "{worst:?} {urgent}");
        }
    }

    #[test]
    fn a_critical_pod_leaves_after_the_others_or_when_there_is_no_more_time() {
        let critical = Pod { wave: Wave::Critical, ..pod() };
        let verdict = |urgent, leaving| {
            classify(&critical, "", Departure { worst: EventType::Redeploy, urgent }, leaving)
        };
        assert_eq!(verdict(false, Wave::Ordinary), Verdict::WaitingForWave);
        assert_eq!(verdict(false, Wave::Critical), Verdict::Evict);
        assert_eq!(verdict(true, Wave::Ordinary), Verdict::Evict);
    }
}
