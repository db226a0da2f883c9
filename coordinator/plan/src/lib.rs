//! Every decision mechanic takes, as pure functions over plain data.
//!
//! [`plan`] takes a [`Fleet`] snapshot and [`Now`] and says for each node which phase it is in and why,
//! what is to be written on the Node, and whether its drain is to run. It does no I/O, reads no clock and
//! draws no random number; the crate's dependencies can't do otherwise. [`classify`] does the same for a
//! pod of a node that is being drained.

mod assessment;
mod budget;
mod claim;
mod config;
mod coverage;
mod deadline;
mod decide;
mod event;
mod fleet;
mod identity;
mod limits;
mod neighbours;
mod pods;
mod policy;
mod proof;
mod reason;
#[cfg(test)]
mod reference;
mod response;
mod succession;
#[cfg(test)]
mod testing;
mod time;

pub use budget::{Budget, BudgetRule, Holdup};
pub use claim::{
    CLAIM_ANNOTATION, CORDONED_LABEL, Claim, ClaimError, ClaimPhase, ClaimedEvent, ClaimedEvents,
    MAX_CLAIM_BYTES, OPT_OUT_LABEL,
};
pub use config::{Accepted, Amount, Config, Holds, LogLevel, Refusal};
pub use coverage::{Coverage, MUTE_AFTER};
pub use decide::{Decision, Departure, DrainOrder, NodeWrite, Phase, Plan, plan};
pub use event::{EventStatus, EventType, ScheduledEvent};
pub use fleet::{
    ClaimOnNode, CordonOwner, Document, DrainProgress, DrainStage, Evidence, Fleet, Listed, Node, Pending,
    Probe, ProbeVm, Readiness, VmEventCondition,
};
pub use identity::VmReference;
pub use pods::{
    BudgetOverPod, Controller, LastCall, Pod, PodPhase, PodReport, Surroundings, Verdict, Wave, classify,
    first_wave,
};
pub use policy::{EventPolicy, Fate, Fates, NodeBudget, PodPolicy, PodRules, Policy, UnmatchedRule};
pub use reason::{Reason, ReasonCode};
pub use response::{Handling, Response};
pub use succession::{Standby, Succession, succession};
pub use time::{Monotonic, Now, parse_not_before};
