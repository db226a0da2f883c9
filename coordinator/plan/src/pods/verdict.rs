//! What a drain may do with a pod, and how that is said.

use std::fmt;

use crate::reason::ReasonCode;

/// What is done with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is evicted.
    Evict,
    /// It is evicted once the waves before it are gone.
    WaitingForWave,
    /// Its own wish, or policy, is that it stays until the latest safe start; it is evicted then.
    ProtectedForNow,
    /// It is evicted as soon as its PodDisruptionBudget allows.
    BlockedByBudget,
    /// No eviction can move it until somebody changes something.
    BlockedForGood,
    /// The API server refused the eviction for another reason; it is tried again.
    EvictionRefused,
    /// A budget holds it, and its machine is destroyed before it could stop in its own time: it is deleted, with
    /// the time that is left.
    LastCall,
    /// It is on its way out.
    Terminating,
    /// The kubelet's own; it can't be evicted.
    MirrorPod,
    /// Its DaemonSet would put it back at once.
    DaemonSetPod,
    /// Nothing would bring it back elsewhere, and it stays for that.
    Unmanaged,
    /// An eviction would delete its data, and it stays for that.
    EmptyDir,
    /// It asks not to be moved, and so it stays.
    Protected,
    /// It tolerates the cordon, and came back when it was evicted.
    CameBack,
    /// The leader's own pod.
    Leader,
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
                | Self::LastCall
                | Self::Terminating
        )
    }

    /// Whether something is being done about the pod right now.
    #[must_use]
    pub fn is_moving(self) -> bool {
        matches!(self, Self::Evict | Self::LastCall | Self::Terminating)
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
            Self::LastCall => ReasonCode::LastCall,
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
                "by its own wish or by policy it stays until the latest safe start, and is evicted then"
            }
            Self::BlockedByBudget => "its PodDisruptionBudget allows no eviction now; it is tried again",
            Self::BlockedForGood => "no eviction can move it until somebody changes something",
            Self::EvictionRefused => "the API server refused its eviction; it is tried again",
            Self::LastCall => {
                "a PodDisruptionBudget holds it and its machine is about to be destroyed, so it is deleted with the time that is left"
            }
            Self::Terminating => "it is terminating",
            Self::MirrorPod => "it is a static pod of the kubelet",
            Self::DaemonSetPod => "its DaemonSet would put it back at once",
            Self::Unmanaged => "it stays, since nothing would bring it back elsewhere",
            Self::EmptyDir => "it stays, since an eviction would delete its emptyDir",
            Self::Protected => "it stays, since it asks not to be moved",
            Self::CameBack => "it stays, since it tolerates the cordon and came back when it was evicted",
            Self::Leader => "it stays, since it is the coordinator that leads",
        })
    }
}
