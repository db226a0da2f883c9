//! The codes themselves: one list for claims, Events, `FleetService` and the log.

use strum::{Display, IntoStaticStr, VariantNames};

/// A stable code. The names are a public contract, documented in `docs/reasons.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, IntoStaticStr, VariantNames)]
#[expect(missing_docs, reason = "docs/reasons.md says what each means; a test holds the two together")]
pub enum ReasonCode {
    // Steps of a node.
    Cordoned,
    DrainStarted,
    DrainStopped,
    DrainFinished,
    Released,
    LastCallAnswered,
    // Why a node is as it is.
    NothingAnnounced,
    NotCovered,
    ProbeMismatched,
    MachineNotUnique,
    WaitingForLeadTime,
    ShownOnly,
    Tolerated,
    SeenByNeighbour,
    OptedOut,
    Paused,
    CordonDeferred,
    Cordoning,
    LabelWithoutClaim,
    ClaimUnreadable,
    ClaimOfAnotherNode,
    ClaimOfLaterLeader,
    Vetoed,
    CordonedOnly,
    WaitingForSlot,
    TooManyUnavailable,
    StartingDrain,
    ReportTooOld,
    NowhereToGo,
    Draining,
    StoppingDrain,
    DrainBlocked,
    Drained,
    DrainedExcept,
    WaitingForProbe,
    WaitingForProof,
    Releasing,
    // What is worth knowing beside it.
    DeadlineAtRisk,
    NoticeTooShort,
    ProbeDisagrees,
    ProofOverdue,
    // About the settings.
    SettingRefused,
    RuleUnmatched,
    // What is done with a pod.
    Evict,
    WaitingForWave,
    ProtectedForNow,
    BlockedByBudget,
    BlockedForGood,
    EvictionRefused,
    LastCall,
    Terminating,
    MirrorPod,
    DaemonSetPod,
    Unmanaged,
    EmptyDir,
    Protected,
    CameBack,
    Leader,
}

impl ReasonCode {
    /// The code as it is written everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether it names a step that was taken with a node.
    #[must_use]
    pub fn is_step(self) -> bool {
        matches!(
            self,
            Self::Cordoned | Self::DrainStarted | Self::DrainStopped | Self::DrainFinished | Self::Released
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn docs_reasons_md_lists_exactly_the_codes_there_are() {
        let documented: BTreeSet<&str> = include_str!("../../../../docs/reasons.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(code, _)| code))
            .collect();
        assert_eq!(documented, ReasonCode::VARIANTS.iter().copied().collect());
    }
}
