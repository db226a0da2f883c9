//! The PodDisruptionBudgets of the cluster, cut down to what tells how long pods may have to wait behind them.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{Selector, SelectorExt};
use mechanic_plan::BudgetOverPod;
use tokio::sync::watch;

type Labels = std::collections::BTreeMap<String, String>;

/// All budgets. Kept current by [`watch_budgets`](super::watch_budgets).
#[derive(Default)]
pub(crate) struct Budgets {
    /// By namespace, then by name.
    by_namespace: RwLock<HashMap<String, HashMap<String, Budget>>>,
    /// Counts how often one has come to allow more.
    openings: watch::Sender<u64>,
}

#[derive(Debug)]
struct Budget {
    selector: Selector,
    allows_at_once: usize,
    allows_now: usize,
    /// `metadata.resourceVersion`.
    version: String,
}

/// The one budget over a pod, and what it allows now, as far as the watch has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BudgetNow {
    pub(crate) over_pod: BudgetOverPod,
    pub(crate) allows_now: usize,
    /// `metadata.resourceVersion`.
    pub(crate) version: String,
}

impl Budgets {
    /// The budget over a pod. `None` where there is none, and where there are several: the API server then
    /// evicts nothing, so there is nothing to wait for.
    pub(crate) fn over(&self, namespace: &str, labels: &Labels) -> Option<BudgetNow> {
        let budgets = self.by_namespace.read().unwrap_or_else(PoisonError::into_inner);
        let mut over = budgets.get(namespace)?.iter().filter(|(_, budget)| budget.selector.matches(labels));
        match (over.next(), over.next()) {
            (Some((name, budget)), None) => Some(BudgetNow {
                over_pod: BudgetOverPod { name: name.clone(), allows_at_once: budget.allows_at_once },
                allows_now: budget.allows_now,
                version: budget.version.clone(),
            }),
            _ => None,
        }
    }

    /// Hears each time a budget has come to allow more than before, or has gone.
    pub(crate) fn openings(&self) -> watch::Receiver<u64> {
        self.openings.subscribe()
    }

    /// Takes one in as the API server shows it.
    pub(crate) fn apply(&self, budget: &PodDisruptionBudget) {
        let Some((namespace, name)) = key(budget) else { return };
        let Some(budget) = read(budget) else { return self.delete(budget) };
        let allows_now = budget.allows_now;
        let known = {
            let mut budgets = self.by_namespace.write().unwrap_or_else(PoisonError::into_inner);
            budgets.entry(namespace).or_default().insert(name, budget)
        };
        if allows_now > known.map_or(0, |known| known.allows_now) {
            self.openings.send_modify(|openings| *openings += 1);
        }
    }

    /// Forgets one that is gone.
    pub(super) fn delete(&self, budget: &PodDisruptionBudget) {
        let Some((namespace, name)) = key(budget) else { return };
        {
            let mut budgets = self.by_namespace.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(of_namespace) = budgets.get_mut(&namespace) {
                of_namespace.remove(&name);
                if of_namespace.is_empty() {
                    budgets.remove(&namespace);
                }
            }
        }
        self.openings.send_modify(|openings| *openings += 1);
    }

    /// A list begins: what it won't show is gone.
    pub(super) fn clear(&self) {
        self.by_namespace.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn key(budget: &PodDisruptionBudget) -> Option<(String, String)> {
    Some((budget.metadata.namespace.clone()?, budget.metadata.name.clone()?))
}

/// `None` for a budget that selects no pod.
fn read(budget: &PodDisruptionBudget) -> Option<Budget> {
    // In policy/v1 an empty selector selects all pods of the namespace, an absent one none.
    let selector = Selector::try_from(budget.spec.as_ref()?.selector.clone()?).ok()?;
    let status = budget.status.as_ref();
    let allows = status.map_or(0, |status| status.expected_pods - status.desired_healthy);
    let allows_now = status.map_or(0, |status| status.disruptions_allowed);
    Some(Budget {
        selector,
        allows_at_once: usize::try_from(allows).unwrap_or(0),
        allows_now: usize::try_from(allows_now).unwrap_or(0),
        version: budget.metadata.resource_version.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn budget(name: &str, selector: &serde_json::Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"selector": selector},
            "status": {"expectedPods": 5, "desiredHealthy": 3, "currentHealthy": 5, "disruptionsAllowed": 2},
        }))
        .unwrap()
    }

    fn over(budgets: &Budgets, app: &str) -> Option<BudgetOverPod> {
        let over = budgets.over("shop", &Labels::from([("app".to_owned(), app.to_owned())]));
        over.map(|budget| budget.over_pod)
    }

    #[test]
    fn a_pod_has_the_one_budget_whose_selector_matches_it() {
        let budgets = Budgets::default();
        budgets.apply(&budget("cart", &json!({"matchLabels": {"app": "cart"}})));
        assert_eq!(over(&budgets, "cart"), Some(BudgetOverPod { name: "cart".into(), allows_at_once: 2 }));
        assert_eq!(over(&budgets, "search"), None);
        assert_eq!(budgets.over("other", &Labels::from([("app".into(), "cart".into())])), None);
        budgets.delete(&budget("cart", &json!({})));
        assert_eq!(over(&budgets, "cart"), None);
    }

    #[test]
    fn an_empty_selector_is_over_all_pods_and_an_absent_one_over_none() {
        let budgets = Budgets::default();
        budgets.apply(&budget("none", &json!(null)));
        assert_eq!(over(&budgets, "cart"), None);
        budgets.apply(&budget("all", &json!({})));
        assert_eq!(over(&budgets, "cart").unwrap().name, "all");
        budgets.apply(&budget("cart", &json!({"matchLabels": {"app": "cart"}})));
        assert_eq!(over(&budgets, "cart"), None, "two budgets over one pod");
    }

    #[test]
    fn who_waits_hears_when_a_budget_allows_more_and_not_when_it_allows_less() {
        let budgets = Budgets::default();
        let openings = budgets.openings();
        let mut cart = budget("cart", &json!({"matchLabels": {"app": "cart"}}));
        let mut allows = |pods: i32| {
            cart.status.as_mut().unwrap().disruptions_allowed = pods;
            budgets.apply(&cart);
            *openings.borrow()
        };
        assert_eq!([allows(0), allows(1), allows(1), allows(0), allows(2)], [0, 1, 1, 1, 2]);
        budgets.delete(&cart);
        assert_eq!(*openings.borrow(), 3, "nobody says no any more");
    }
}
