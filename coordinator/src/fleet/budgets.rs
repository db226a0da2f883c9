//! The PodDisruptionBudgets of the cluster, cut down to what the API server decides by.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use k8s_openapi::{api::policy::v1::PodDisruptionBudget, apimachinery::pkg::util::intstr::IntOrString};
use kube::core::{Selector, SelectorExt};
use mechanic_plan::{Budget, BudgetRule};
use tokio::sync::broadcast;

type Labels = std::collections::BTreeMap<String, String>;

/// A budget, by namespace and name.
pub(crate) type BudgetKey = (String, String);

/// News that nobody has read yet; who falls behind looks at all.
const UNREAD: usize = 1_024;

/// All budgets. Kept current by [`watch_budgets`](super::watch_budgets).
pub(crate) struct Budgets {
    /// By namespace, then by name.
    by_namespace: RwLock<HashMap<String, HashMap<String, Watched>>>,
    /// Each that has come to allow more.
    openings: broadcast::Sender<Arc<BudgetKey>>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { by_namespace: RwLock::default(), openings: broadcast::Sender::new(UNREAD) }
    }
}

#[derive(Debug)]
struct Watched {
    selector: Selector,
    now: Arc<BudgetNow>,
}

/// A budget as the watch has shown it last.
#[derive(Debug)]
pub(crate) struct BudgetNow {
    pub(crate) budget: Budget,
    /// `metadata.resourceVersion`.
    pub(crate) version: String,
}

impl Budgets {
    /// The budgets that select a pod; several are one too many for the API server.
    pub(crate) fn over(&self, namespace: &str, labels: &Labels) -> Vec<Arc<BudgetNow>> {
        let budgets = self.by_namespace.read().unwrap_or_else(PoisonError::into_inner);
        let of_namespace = budgets.get(namespace).into_iter().flat_map(HashMap::values);
        of_namespace
            .filter(|watched| watched.selector.matches(labels))
            .map(|watched| Arc::clone(&watched.now))
            .collect()
    }

    /// Hears of each budget that has come to allow more than before, or has gone.
    pub(crate) fn openings(&self) -> broadcast::Receiver<Arc<BudgetKey>> {
        self.openings.subscribe()
    }

    /// Takes one in as the API server shows it.
    pub(crate) fn apply(&self, budget: &PodDisruptionBudget) {
        let Some((namespace, name)) = key(budget) else { return };
        let Some(budget) = read(budget, &name) else { return self.delete(budget) };
        let now = Arc::clone(&budget.now);
        let known = {
            let mut budgets = self.by_namespace.write().unwrap_or_else(PoisonError::into_inner);
            budgets.entry(namespace.clone()).or_default().insert(name.clone(), budget)
        };
        let known = known.map(|known| Arc::clone(&known.now));
        let allowed_before = known.as_ref().map_or(0, |known| known.budget.allowed);
        let held_unready = known.is_some_and(|known| !known.budget.lets_go(false));
        if now.budget.allowed > allowed_before || (held_unready && now.budget.lets_go(false)) {
            self.tell_opening(namespace, name);
        }
    }

    fn tell_opening(&self, namespace: String, name: String) {
        // Where no drain listens, nobody waits.
        let _ = self.openings.send(Arc::new((namespace, name)));
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
        self.tell_opening(namespace, name);
    }

    /// A whole list has been taken in: what it didn't show is gone.
    pub(super) fn retain_listed(&self, listed: &HashSet<BudgetKey>) {
        let mut gone = Vec::new();
        {
            let mut budgets = self.by_namespace.write().unwrap_or_else(PoisonError::into_inner);
            for (namespace, of_namespace) in budgets.iter_mut() {
                of_namespace.retain(|name, _| {
                    let key = (namespace.clone(), name.clone());
                    let is_there = listed.contains(&key);
                    gone.extend((!is_there).then_some(key));
                    is_there
                });
            }
            budgets.retain(|_, of_namespace| !of_namespace.is_empty());
        }
        for (namespace, name) in gone {
            self.tell_opening(namespace, name);
        }
    }
}

pub(super) fn key(budget: &PodDisruptionBudget) -> Option<(String, String)> {
    Some((budget.metadata.namespace.clone()?, budget.metadata.name.clone()?))
}

/// `None` for a budget that selects no pod.
fn read(budget: &PodDisruptionBudget, name: &str) -> Option<Watched> {
    let (metadata, spec) = (&budget.metadata, budget.spec.as_ref()?);
    // In policy/v1 an empty selector selects all pods of the namespace, an absent one none.
    let selector = Selector::try_from(spec.selector.clone()?).ok()?;
    let rule = match (&spec.max_unavailable, &spec.min_available) {
        (Some(max), _) => BudgetRule::MaxUnavailable(text(max)),
        (None, Some(min)) => BudgetRule::MinAvailable(text(min)),
        // Demands nothing, and its controller counts nothing; the rule is for people to read, and never shown.
        (None, None) => BudgetRule::MinAvailable(String::new()),
    };
    let status = budget.status.as_ref();
    let condition = status
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|condition| condition.type_ == "DisruptionAllowed"));
    let failed = condition.filter(|condition| condition.reason == "SyncFailed");
    let closed = condition.filter(|condition| condition.status == "False");
    let count = |number: Option<i32>| number.and_then(|number| number.try_into().ok()).unwrap_or(0);
    let budget = Budget {
        name: name.to_owned(),
        rule,
        always_allows_unready: spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow"),
        is_counted: status.is_some_and(|status| status.observed_generation >= metadata.generation),
        trouble: failed.map(|condition| condition.message.clone()),
        expected: count(status.map(|status| status.expected_pods)),
        desired: count(status.map(|status| status.desired_healthy)),
        healthy: count(status.map(|status| status.current_healthy)),
        allowed: count(status.map(|status| status.disruptions_allowed)),
        closed_since: closed.map(|condition| condition.last_transition_time.0.to_string()),
    };
    let version = metadata.resource_version.clone().unwrap_or_default();
    Some(Watched { selector, now: Arc::new(BudgetNow { budget, version }) })
}

fn text(amount: &IntOrString) -> String {
    match amount {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(share) => share.clone(),
    }
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

    fn over(budgets: &Budgets, app: &str) -> Vec<String> {
        let over = budgets.over("shop", &Labels::from([("app".to_owned(), app.to_owned())]));
        let mut names: Vec<String> = over.iter().map(|now| now.budget.name.clone()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_pod_is_under_the_budgets_whose_selectors_match_it() {
        let budgets = Budgets::default();
        budgets.apply(&budget("cart", &json!({"matchLabels": {"app": "cart"}})));
        assert_eq!((over(&budgets, "cart"), over(&budgets, "search")), (vec!["cart".to_owned()], vec![]));
        assert_eq!(budgets.over("other", &Labels::from([("app".into(), "cart".into())])).len(), 0);
        budgets.delete(&budget("cart", &json!({})));
        assert_eq!(over(&budgets, "cart"), [""; 0]);
    }

    #[test]
    fn an_empty_selector_is_over_all_pods_and_an_absent_one_over_none() {
        let budgets = Budgets::default();
        budgets.apply(&budget("none", &json!(null)));
        assert_eq!(over(&budgets, "cart"), [""; 0]);
        budgets.apply(&budget("all", &json!({})));
        budgets.apply(&budget("cart", &json!({"matchLabels": {"app": "cart"}})));
        assert_eq!(over(&budgets, "cart"), ["all", "cart"]);
    }

    #[test]
    fn a_budget_is_read_as_its_controller_has_counted_it() {
        let read = |generation: i64, reason: &str| {
            let budget: PodDisruptionBudget = serde_json::from_value(json!({
                "metadata": {"namespace": "shop", "name": "cart", "generation": generation, "resourceVersion": "7"},
                "spec": {"selector": {}, "minAvailable": "50%", "unhealthyPodEvictionPolicy": "AlwaysAllow"},
                "status": {"observedGeneration": 2, "expectedPods": 5, "desiredHealthy": 3, "currentHealthy": 3,
                    "disruptionsAllowed": 0, "conditions": [{"type": "DisruptionAllowed", "status": "False",
                    "reason": reason, "message": "why", "lastTransitionTime": "2026-11-23T12:00:00Z"}]},
            }))
            .unwrap();
            super::read(&budget, "cart").unwrap().now.budget.clone()
        };
        let counted = Budget {
            name: "cart".into(),
            rule: BudgetRule::MinAvailable("50%".into()),
            always_allows_unready: true,
            is_counted: true,
            trouble: None,
            expected: 5,
            desired: 3,
            healthy: 3,
            allowed: 0,
            closed_since: Some("2026-11-23T12:00:00Z".into()),
        };
        assert_eq!(read(2, "InsufficientPods"), counted);
        assert_eq!(read(3, "InsufficientPods"), Budget { is_counted: false, ..counted.clone() });
        assert_eq!(read(2, "SyncFailed"), Budget { trouble: Some("why".into()), ..counted });
    }

    #[test]
    fn who_waits_hears_when_a_budget_allows_more_and_not_when_it_allows_less() {
        let budgets = Budgets::default();
        let mut openings = budgets.openings();
        let mut cart = budget("cart", &json!({"matchLabels": {"app": "cart"}}));
        let mut allows = |pods: i32| {
            cart.status.as_mut().unwrap().disruptions_allowed = pods;
            budgets.apply(&cart);
            openings.try_recv().is_ok_and(|opened| *opened == ("shop".to_owned(), "cart".to_owned()))
        };
        assert_eq!(
            [allows(0), allows(1), allows(1), allows(0), allows(2)],
            [false, true, false, false, true]
        );
        budgets.delete(&cart);
        assert!(openings.try_recv().is_ok(), "nobody says no any more");
    }
}
