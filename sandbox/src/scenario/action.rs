//! What can happen in a script.

mod announce;
mod fault;

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;

use super::time::Time;
use super::which::Nodes;
use crate::azure::Behaviour;

pub(super) use announce::{Announce, Source};
pub(super) use fault::{Coordinator, EffectScript, FaultScript, RequestsScript};

/// One thing that happens. Events, picked nodes and faults are known by names of the script's own.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Action {
    /// Gives nodes a name, so that later steps mean the same ones.
    Pick(Pick),
    /// Waits until the referee has seen something.
    WaitFor(WaitFor),
    /// Does it where it can be done: for scripts that can't know what runs where by then.
    Try(Box<Action>),

    /// VMs' documents show an event.
    Announce(Announce),
    /// An announced event is moved.
    Change(Change),
    /// The event begins: status `Started`.
    Start(String),
    /// The event is no longer shown: over or cancelled, which look the same.
    Remove(String),

    /// The VMs go for now: processes die, the metadata service falls silent.
    PowerOff(Nodes),
    /// The VMs boot.
    PowerOn(Nodes),
    /// Other VMs come up behind the same Nodes.
    ReplaceVm(Nodes),
    /// The VMs go for good, and their Nodes are deleted.
    DeleteNode(Nodes),
    /// VMs and Nodes of the same names come back.
    CreateNode(Nodes),

    /// A PodDisruptionBudget changes.
    SetBudget(SetBudget),
    /// A person cordons.
    Cordon(Nodes),
    /// A person uncordons.
    Uncordon(Nodes),
    /// A person labels nodes.
    Label(Label),
    /// A person edits the ConfigMap `mechanic`; `null` takes a key out.
    Configure(BTreeMap<String, Option<String>>),

    /// SIGKILL; what ran is started again, as a kubelet does.
    Kill(Process),
    /// SIGSTOP: it holds what it holds and says nothing.
    Stop(Process),
    /// SIGCONT, to what was stopped under the same words.
    Continue(Process),
    /// The nodes' probes end and don't come back.
    Mute(Nodes),
    /// They come back.
    Unmute(Nodes),
    /// The metadata services of these nodes' VMs misbehave.
    Imds(Imds),

    /// Something happens to requests between coordinators and the API server.
    Fault(FaultScript),
    /// A fault ends; what it held goes on.
    ReleaseFault(String),
    /// A fault ends; what it held dies with its connection.
    ClearFault(String),
    /// All watches of the coordinators are cut off.
    CutWatches,
    /// The API server hangs for so long: connections stay, nobody answers.
    FreezeApiServer(Time),
    /// The API server is dead for so long.
    KillApiServer(Time),
}

/// Gives nodes a name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pick {
    /// Which.
    pub node: Nodes,
    /// Their name from now on.
    pub r#as: String,
}

/// Something to wait for, exactly one thing; where it doesn't come about in time, the run is not as promised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WaitFor {
    /// All these nodes carry a claim of mechanic's.
    pub held: Option<Nodes>,
    /// An eviction from one of these nodes was accepted.
    pub evicting: Option<Nodes>,
    /// A budget has refused an eviction from one of these nodes.
    pub refused: Option<Nodes>,
    /// None of these nodes is held any more, though each was.
    pub given_back: Option<Nodes>,
    /// The fault of this name has met a request.
    pub fault: Option<String>,
    /// How long at most, whatever the speed. One minute where it isn't said.
    pub within: Option<Time>,
}

/// Moves an event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Change {
    /// The script's name for it.
    pub event: String,
    /// How long before it may start, from now on.
    pub notice: Time,
}

/// Changes a budget.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetBudget {
    /// The workload that it is over.
    pub workload: String,
    /// So many may be down.
    #[serde(default)]
    pub max_unavailable: Option<IntOrString>,
    /// So many must be up.
    #[serde(default)]
    pub min_available: Option<IntOrString>,
}

/// Labels nodes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Label {
    /// Which nodes.
    pub on: Nodes,
    /// What they carry from now on; `null` takes a label off.
    pub labels: BTreeMap<String, Option<String>>,
}

/// Processes of mechanic's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// The coordinator that leads.
    Leader,
    /// A coordinator that doesn't.
    Follower,
    /// All coordinators.
    Coordinators,
    /// The probes of these nodes.
    Probe(Nodes),
}

/// How metadata services answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Imds {
    /// Of the VMs under these nodes.
    pub on: Nodes,
    /// From now on.
    pub answers: Behaviour,
}

impl Action {
    /// Itself, or what it tries.
    pub(super) fn tried(&self) -> &Self {
        if let Self::Try(action) = self { action } else { self }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pick(pick) => write!(f, "pick {}", pick.r#as),
            Self::WaitFor(_) => f.write_str("wait"),
            Self::Try(action) => write!(f, "try to {action}"),
            Self::Announce(Announce { event, on, .. }) => write!(f, "announce {event} for {on}"),
            Self::Change(change) => write!(f, "move {}", change.event),
            Self::Start(event) => write!(f, "start {event}"),
            Self::Remove(event) => write!(f, "remove {event}"),
            Self::PowerOff(nodes) => write!(f, "power {nodes} off"),
            Self::PowerOn(nodes) => write!(f, "power {nodes} on"),
            Self::ReplaceVm(nodes) => write!(f, "replace the VM of {nodes}"),
            Self::DeleteNode(nodes) => write!(f, "delete {nodes}"),
            Self::CreateNode(nodes) => write!(f, "create {nodes}"),
            Self::SetBudget(budget) => write!(f, "change the budget of {}", budget.workload),
            Self::Cordon(nodes) => write!(f, "cordon {nodes}"),
            Self::Uncordon(nodes) => write!(f, "uncordon {nodes}"),
            Self::Label(label) => write!(f, "label {}", label.on),
            Self::Configure(_) => f.write_str("edit the ConfigMap"),
            Self::Kill(process) => write!(f, "kill {process}"),
            Self::Stop(process) => write!(f, "stop {process}"),
            Self::Continue(process) => write!(f, "continue {process}"),
            Self::Mute(nodes) => write!(f, "mute the probe of {nodes}"),
            Self::Unmute(nodes) => write!(f, "unmute the probe of {nodes}"),
            Self::Imds(imds) => write!(f, "change the metadata service of {}", imds.on),
            Self::Fault(fault) => write!(f, "begin the fault {}", fault.name),
            Self::ReleaseFault(name) | Self::ClearFault(name) => write!(f, "end the fault {name}"),
            Self::CutWatches => f.write_str("cut all watches"),
            Self::FreezeApiServer(_) => f.write_str("freeze the API server"),
            Self::KillApiServer(_) => f.write_str("kill the API server"),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str("the leader"),
            Self::Follower => f.write_str("a follower"),
            Self::Coordinators => f.write_str("all coordinators"),
            Self::Probe(nodes) => write!(f, "the probe of {nodes}"),
        }
    }
}
