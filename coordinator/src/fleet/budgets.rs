//! The PodDisruptionBudgets of the cluster, cut down to what tells how long pods may have to wait behind them.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{Selector, SelectorExt};
use mechanic_plan::BudgetOverPod;

type Labels = std::collections::BTreeMap<String, String>;

/// All budgets. Kept current by [`watch_budgets`](super::watch_budgets).
#[derive(Default)]
pub(crate) struct Budgets {
    /// By namespace, then by name.
    by_namespace: RwLock<HashMap<String, HashMap<String, Budget>>>,
}

#[derive(Debug)]
struct Budget {
    selector: Selector,
    allows_at_once: usize,
}

impl Budgets {
    /// The budget over a pod. `None` where there is none, and where there are several: the API server then
    /// evicts nothing, so there is nothing to wait for.
    pub(crate) fn over(&self, namespace: &str, labels: &Labels) -> Option<BudgetOverPod> {
        let budgets = self.by_namespace.read().unwrap_or_else(PoisonError::into_inner);
        let mut over = budgets.get(namespace)?.iter().filter(|(_, budget)| budget.selector.matches(labels));
        match (over.next(), over.next()) {
            (Some((name, budget)), None) => {
                Some(BudgetOverPod { name: name.clone(), allows_at_once: budget.allows_at_once })
            }
            _ => None,
        }
    }

    /// Takes one in as the API server shows it.
    pub(super) fn apply(&self, budget: &PodDisruptionBudget) {
        let Some((namespace, name)) = key(budget) else { return };
        match read(budget) {
            Some(budget) => {
                let mut budgets = self.by_namespace.write().unwrap_or_else(PoisonError::into_inner);
                budgets.entry(namespace).or_default().insert(name, budget);
            }
            None => self.delete(budget),
        }
    }

    /// Forgets one that is gone.
    pub(super) fn delete(&self, budget: &PodDisruptionBudget) {
        let Some((namespace, name)) = key(budget) else { return };
        let mut budgets = self.by_namespace.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_namespace) = budgets.get_mut(&namespace) {
            of_namespace.remove(&name);
            if of_namespace.is_empty() {
                budgets.remove(&namespace);
            }
        }
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
    Some(Budget { selector, allows_at_once: usize::try_from(allows).unwrap_or(0) })
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
        budgets.over("shop", &Labels::from([("app".to_owned(), app.to_owned())]))
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
}
