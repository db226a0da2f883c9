//! What happens when, as data: the cluster, what runs on it, what Azure and others do to it, and how it has to end.
//! `docs/scenarios.md` documents the format; this module and those below are its only reader.

mod act;
mod action;
mod build;
mod built_in;
mod check;
mod outcome;
mod pick;
mod play;
mod random;
mod time;
mod which;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
pub use serde_saphyr::Spanned;

pub use action::Action;
pub use build::build;
pub use built_in::{BUILT_IN, BuiltIn};
pub use check::Refusal;
pub use outcome::{MustHappen, Outcome};
pub use play::{Next, play};
pub use time::{Speed, Time};
pub use which::{Nodes, Which};

/// A scripted afternoon. Whatever came out of [`Scenario::read`] makes sense.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// One line for people.
    pub title: String,
    /// The nodes.
    pub pools: Vec<Spanned<PoolScript>>,
    /// What runs on them.
    #[serde(default)]
    pub workloads: Vec<Spanned<WorkloadScript>>,
    /// Keys of the ConfigMap `mechanic` that differ from what the overlay installs.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// What happens, in order.
    #[serde(default)]
    pub steps: Vec<Spanned<Step>>,
    /// What must have become of it.
    pub expect: Spanned<Expectations>,
}

/// A pool of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PoolScript {
    /// Its name.
    pub name: String,
    /// How many nodes.
    pub nodes: u32,
    /// How many zones they are spread over; 0 for none, three where it isn't said.
    #[serde(default = "three")]
    pub zones: u32,
    /// What its VMs are to Azure.
    #[serde(default)]
    pub kind: PoolKind,
    /// Spot VMs, on which only workloads run that are meant for the pool.
    #[serde(default)]
    pub spot: bool,
}

fn three() -> u32 {
    3
}

/// What a pool's VMs are to Azure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolKind {
    /// A uniform scale set: all its VMs see each other's events.
    #[default]
    ScaleSet,
    /// Single VMs: each sees its own events only.
    VirtualMachines,
}

/// Something that runs on the nodes, in the namespace `default`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WorkloadScript {
    /// What brings its pods back.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
    /// How many pods; only for what has replicas.
    #[serde(default)]
    pub replicas: Option<u32>,
    /// A PodDisruptionBudget lets so many be down: a number or a share.
    #[serde(default)]
    pub max_unavailable: Option<IntOrString>,
    /// A PodDisruptionBudget wants so many up: a number or a share.
    #[serde(default)]
    pub min_available: Option<IntOrString>,
    /// The pool that its pods must run on; any that isn't Spot where it isn't said.
    #[serde(default)]
    pub pool: Option<String>,
    /// How long a pod needs to get ready.
    #[serde(default)]
    pub start_after: Time,
    /// How long a pod needs to stop.
    #[serde(default)]
    pub stop_after: Time,
    /// How long a pod may take to stop, whatever the speed. 30 s where it isn't said.
    #[serde(default)]
    pub grace: Option<Time>,
    /// Its pods keep files in an `emptyDir`.
    #[serde(default)]
    pub empty_dir: bool,
    /// Its pods' annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What brings a workload's pods back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// Pods spread over the nodes.
    Deployment,
    /// Pods with names.
    StatefulSet,
    /// A pod on each node.
    DaemonSet,
    /// A single pod that nobody brings back.
    Pod,
}

/// Things that happen at one time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// When, counted from the first; later where the steps before it took longer.
    pub at: Time,
    /// What, one after the other.
    pub r#do: Vec<Spanned<Action>>,
}

/// How a run must end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expectations {
    /// All nodes are given back so long after the last step, whatever the speed.
    pub given_back_within: Time,
    /// Nodes that may still be held then.
    #[serde(default)]
    pub may_stay_held: Nodes,
    /// Workloads whose pods may be on a node when its event begins.
    #[serde(default)]
    pub may_stay_on_node: Vec<String>,
    /// What else must have come about.
    #[serde(default)]
    pub must_happen: Vec<MustHappen>,
}

impl Scenario {
    /// Reads and checks a script. `name` is what people know it by.
    pub fn read(name: &str, text: &str) -> Result<Self> {
        let scenario: Self = serde_saphyr::from_str(text)
            .map_err(|error| anyhow!("{name} is no scenario: {}", error.render()))?;
        check::check(&scenario).map_err(|refusal| anyhow!("{name} is no scenario: {refusal}"))?;
        Ok(scenario)
    }

    /// A script drawn from a seed, of events and faults for so long, as its file would be written.
    #[must_use]
    pub fn drawn(seed: u64, length: Time) -> String {
        random::script(seed, length)
    }

    /// The script in this file, or the built-in one of this name.
    pub fn load(file_or_name: &str) -> Result<Self> {
        if let Some(built_in) = BUILT_IN.iter().find(|built_in| built_in.name == file_or_name) {
            return Self::read(built_in.name, built_in.text);
        }
        let path = Path::new(file_or_name);
        if !path.exists() {
            let names: Vec<&str> = BUILT_IN.iter().map(|built_in| built_in.name).collect();
            bail!(
                "{file_or_name} is neither a file nor a built-in scenario; those are: {}",
                names.join(", ")
            );
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("can't read {file_or_name}"))?;
        Self::read(file_or_name, &text)
    }

    /// All actions in order, each with the time of its step.
    pub(crate) fn actions(&self) -> impl Iterator<Item = (Time, &Spanned<Action>)> {
        self.steps.iter().flat_map(|step| step.value.r#do.iter().map(|action| (step.value.at, action)))
    }
}
