//! The world as known: Nodes, what probes say of them, how their drains go, and the settings.
//!
//! One value behind one lock, changed by small synchronous steps and never across an await. Whoever changes
//! it wakes the planner.

mod accepted_settings;
mod budget_watch;
mod budgets;
mod config_watch;
mod cordon_owner;
mod node_view;
mod node_watch;
mod polls;
mod record;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering};

use k8s_openapi::api::core::v1::Node as ApiNode;
use mechanic_leadership::Circumstances;
use mechanic_plan::ClaimOnNode;
use tokio::sync::Notify;

pub(crate) use accepted_settings::AcceptedSettings;
pub(crate) use budget_watch::watch_budgets;
pub(crate) use budgets::{BudgetKey, BudgetNow, Budgets};
pub(crate) use config_watch::{NAME as SETTINGS, watch_config};
pub(crate) use node_view::NodeView;
pub(crate) use node_watch::watch_nodes;
pub(crate) use polls::{Polls, Row};
pub(crate) use record::Seen;
pub(crate) use state::{FleetState, NodeVersion, SessionId, Settings};

use crate::clock;

/// An epoch this far beyond the leader's can't have come about by elections: a forged claim, which must not
/// drive the count of epochs.
const CREDIBLE_EPOCH_STEP: u64 = 1_000_000;

/// The shared [`FleetState`].
#[derive(Default)]
pub(crate) struct Fleet {
    /// The Node that this process runs on.
    own_node: String,
    state: Mutex<FleetState>,
    changed: Notify,
    relist: Notify,
    budgets: Arc<Budgets>,
    circumstances: Circumstances,
}

impl Fleet {
    /// Nothing is known yet.
    pub(crate) fn new(own_node: &str) -> Self {
        Self { own_node: own_node.to_owned(), ..Self::default() }
    }

    /// Reads the state without waking anybody.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&FleetState) -> T) -> T {
        read(&self.lock())
    }

    /// Changes the state and wakes the planner.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut FleetState) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_one();
        result
    }

    /// Takes in a Node as it was just read; where there is none, the one with this UID is gone.
    pub(crate) fn take_in(&self, name: &str, uid: &str, read: Option<&ApiNode>) {
        match read {
            Some(read) => {
                if let Some(view) = NodeView::of(read) {
                    self.change(|state| state.apply_node(view, clock::monotonic()));
                }
            }
            None => self.change(|state| state.delete_node(name, uid)),
        }
    }

    /// Waits for the next change.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Has the Nodes listed afresh; [`FleetState::is_known`] is false until that is done.
    pub(crate) fn relist(&self) {
        self.lock().forget_list();
        self.relist.notify_one();
    }

    async fn relist_requested(&self) {
        self.relist.notified().await;
    }

    /// The PodDisruptionBudgets, which change without waking anybody.
    pub(crate) fn budgets(&self) -> Arc<Budgets> {
        Arc::clone(&self.budgets)
    }

    /// What the elector must know, kept current: the highest credible epoch in any claim, and whether this process's own
    /// node is held.
    pub(crate) fn circumstances(&self) -> Circumstances {
        self.circumstances.clone()
    }

    fn note_claim(&self, view: &NodeView) {
        if view.name == self.own_node {
            let is_held = view.claim != ClaimOnNode::None;
            self.circumstances.stands_back.store(is_held, Ordering::Relaxed);
        }
        if let ClaimOnNode::Readable(claim) = &view.claim {
            let highest = &self.circumstances.highest_claim_epoch;
            if claim.epoch <= highest.load(Ordering::Relaxed).saturating_add(CREDIBLE_EPOCH_STEP) {
                highest.fetch_max(claim.epoch, Ordering::Relaxed);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, FleetState> {
        // Each step leaves the state consistent, so one that panicked half-way can't have hurt it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
