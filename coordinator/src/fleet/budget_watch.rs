//! Keeps the PodDisruptionBudgets current by one watch.

use std::{collections::HashSet, pin::pin, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};

use super::{Budgets, budgets};
use crate::watches::watch;

const PAGE: u32 = 500;

/// Watches all budgets until the process ends. What is estimated from them may be old; whether a pod may go is
/// for the API server to say.
pub(crate) async fn watch_budgets(client: Client, budgets: Arc<Budgets>) {
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = pin!(watch(Api::<PodDisruptionBudget>::all(client), config));
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(budget)) => {
                listed.extend(budgets::key(&budget));
                budgets.apply(&budget);
            }
            // Until then what was known holds, or evictions would be tried that it forbids.
            Ok(Event::InitDone) => budgets.retain_listed(&listed),
            Ok(Event::Apply(budget)) => budgets.apply(&budget),
            Ok(Event::Delete(budget)) => budgets.delete(&budget),
            Err(error) => {
                tracing::warn!(%error, "the watch on PodDisruptionBudgets failed; it is tried again");
            }
        }
    }
}
