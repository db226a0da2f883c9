//! What happens when, as data: the cluster, what runs on it, what Azure does to it, and how it has to end.

mod build;
mod built_in;
mod play;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use build::build;
pub use built_in::one_reboot;
pub use play::play;

/// A scripted afternoon. All times are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// One line for people.
    pub title: String,
    /// The nodes.
    pub pools: Vec<PoolScript>,
    /// What runs on them.
    pub workloads: Vec<WorkloadScript>,
    /// Keys of the ConfigMap `mechanic` that differ from what the overlay installs.
    pub config: BTreeMap<String, String>,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// What must have become of it.
    pub expect: Expectations,
}

/// A pool of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PoolScript {
    /// Its name.
    pub name: String,
    /// How many nodes.
    pub nodes: u32,
}

/// Something that runs on the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WorkloadScript {
    /// What brings its pods back.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
    /// How many pods; nothing to a DaemonSet.
    #[serde(default)]
    pub replicas: u32,
    /// A PodDisruptionBudget lets so many be down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<u32>,
    /// How long a pod needs to get ready.
    #[serde(default)]
    pub start_after: u64,
    /// How long a pod needs to stop.
    #[serde(default)]
    pub stop_after: u64,
}

/// What brings a workload's pods back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// Pods spread over the nodes.
    Deployment,
    /// Pods with names.
    StatefulSet,
    /// A pod on each node.
    DaemonSet,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// When, counted from the first step.
    pub at: u64,
    /// What.
    pub action: Action,
}

/// What can happen. Events and VMs are known by names of the script's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Action {
    /// The VM's document shows an event.
    Announce {
        /// The script's name for the event.
        event: String,
        /// `Reboot`, `Freeze`, …
        event_type: String,
        /// The VM it hits.
        vm: Which,
        /// How long before it may start.
        notice: u64,
        /// There is time and room enough to move every pod that may be moved.
        avoidable: bool,
    },
    /// The event begins: status `Started`.
    Start {
        /// The script's name for it.
        event: String,
    },
    /// The event's VM goes: processes die, the metadata service falls silent.
    PowerOff {
        /// The script's name for it.
        event: String,
    },
    /// The event's VM boots.
    PowerOn {
        /// The script's name for it.
        event: String,
    },
    /// The event is no longer shown.
    Remove {
        /// The script's name for it.
        event: String,
    },
    /// A PodDisruptionBudget changes.
    SetBudget {
        /// The workload that it is over.
        workload: String,
        /// Lets so many be down from now on.
        max_unavailable: u32,
    },
}

/// A VM that is picked when the script gets there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// One that runs no coordinator.
    WithoutCoordinator,
    /// The one that runs the leader.
    OfTheLeader,
    /// The one that runs a coordinator that doesn't lead.
    OfAFollower,
    /// The instance of a pool.
    Instance(String, u32),
}

/// How a run must end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expectations {
    /// A PodDisruptionBudget must refuse an eviction and later allow it.
    pub budget_says_no_then_yes: bool,
    /// All nodes are given back so long after the last step.
    pub given_back_within: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_data_and_survives_being_written_down() {
        let scenario = one_reboot();
        let text = serde_json::to_string_pretty(&scenario).unwrap();
        assert_eq!(serde_json::from_str::<Scenario>(&text).unwrap(), scenario);
        let misspelt = text.replace("\"notice\"", "\"notise\"");
        assert!(serde_json::from_str::<Scenario>(&misspelt).is_err());
    }

    #[test]
    fn the_built_in_one_is_a_reboot_from_announcement_to_end() {
        let steps = one_reboot().steps;
        assert!(steps.is_sorted_by_key(|step| step.at));
        let Action::Announce { notice, .. } = &steps[0].action else { panic!("{:?}", steps[0]) };
        let started = steps.iter().find(|step| matches!(step.action, Action::Start { .. })).unwrap();
        assert!(started.at >= steps[0].at + notice, "Azure keeps its word");
        assert!(matches!(steps.last().unwrap().action, Action::Remove { .. }));
    }
}
