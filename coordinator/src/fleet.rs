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

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

pub(crate) use accepted_settings::AcceptedSettings;
pub(crate) use budget_watch::watch_budgets;
pub(crate) use budgets::{BudgetKey, BudgetNow, Budgets};
pub(crate) use config_watch::watch_config;
pub(crate) use node_view::NodeView;
pub(crate) use node_watch::watch_nodes;
pub(crate) use polls::{Polls, Row};
pub(crate) use record::Seen;
pub(crate) use state::{FleetState, NodeVersion, SessionId, Settings};

/// An epoch this far beyond the leader's can't have come about by elections: a forged claim, which must not
/// drive the count of epochs.
const CREDIBLE_EPOCH_STEP: u64 = 1_000_000;

/// The shared [`FleetState`].
#[derive(Default)]
pub(crate) struct Fleet {
    state: Mutex<FleetState>,
    changed: Notify,
    relist: Notify,
    budgets: Arc<Budgets>,
    highest_claim_epoch: Arc<AtomicU64>,
}

impl Fleet {
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

    /// The highest credible epoch in any claim, kept current for the elector.
    pub(crate) fn highest_claim_epoch(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.highest_claim_epoch)
    }

    fn note_epoch(&self, epoch: u64) {
        let known = self.highest_claim_epoch.load(Ordering::Relaxed);
        if epoch <= known.saturating_add(CREDIBLE_EPOCH_STEP) {
            self.highest_claim_epoch.fetch_max(epoch, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, FleetState> {
        // Each step leaves the state consistent, so one that panicked half-way can't have hurt it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
