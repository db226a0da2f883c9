//! What a drain does with each pod of a node.

mod classify;
mod last_call;
mod verdict;

use std::{collections::BTreeMap, time::Duration};

pub use classify::{Surroundings, classify, first_wave};
pub use last_call::LastCall;
pub use verdict::Verdict;

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
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
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
    /// A PodDisruptionBudget doesn't let it go now. Asked only where [`Departure::last_call`] allows to go on without.
    ///
    /// [`Departure::last_call`]: crate::Departure::last_call
    pub held_by_budget: bool,
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

impl PodReport {
    /// What is done with it and why, as a sentence.
    #[must_use]
    pub fn message(&self) -> String {
        let Self { verdict, detail, .. } = self;
        if detail.is_empty() { verdict.to_string() } else { format!("{verdict}: {detail}") }
    }
}

impl Controller {
    /// Other groups have a kind of that name, whose pods are ordinary ones.
    fn is_daemon_set(&self) -> bool {
        self.kind == "DaemonSet" && self.api_version == "apps/v1"
    }
}
