//! The pods of the node that is being drained, and what has been tried with each.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod as ApiPod;
use mechanic_plan::{
    BudgetOverPod, Departure, DrainProgress, DrainStage, Monotonic, Pod, PodReport, Verdict, Wave, classify,
    first_wave,
};
use tokio::time::Instant;

use super::{
    evict::{Outcome, RETRY},
    pod_view,
    tracked::Tracked,
    turns::Turns,
};
use crate::{
    clock,
    fleet::{BudgetKey, Budgets},
};

/// The pods; one that was replaced under its name is another pod.
pub(super) struct Pods {
    leader_pod_uid: String,
    budgets: Arc<Budgets>,
    turns: Turns,
    /// By the UID of a pod whose eviction is on its way: the budget behind which it is.
    taken: HashMap<String, BudgetKey>,
    /// What they are to leave for.
    departure: Departure,
    by_uid: BTreeMap<String, Tracked>,
    /// UIDs of the controllers of pods that were evicted.
    evicted_of: HashSet<String>,
    /// What the watch's list under way has shown so far.
    listing: HashSet<String>,
    /// The budgets over them, as of the last report.
    behind: HashSet<BudgetKey>,
    /// Since when none of those that must leave can.
    blocked_since: Option<Monotonic>,
}

/// A pod that is to be evicted now.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Pods {
    pub(super) fn new(leader_pod_uid: String, budgets: Arc<Budgets>, departure: Departure) -> Self {
        Self {
            leader_pod_uid,
            budgets,
            turns: Turns::default(),
            taken: HashMap::new(),
            departure,
            by_uid: BTreeMap::new(),
            evicted_of: HashSet::new(),
            listing: HashSet::new(),
            behind: HashSet::new(),
            blocked_since: None,
        }
    }

    /// What the pods leave for.
    pub(super) fn departure(&self) -> Departure {
        self.departure
    }

    /// The pods are to leave for something else, or more urgently.
    pub(super) fn leave_for(&mut self, departure: Departure) {
        self.departure = departure;
    }

    /// Takes in a pod as the API server shows it.
    pub(super) fn apply(&mut self, pod: &ApiPod) {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let (standing, tolerates_cordon) = (pod_view::standing(pod), pod_view::tolerates_cordon(pod));
        let controller = pod_view::controller_uid(pod).map(str::to_owned);
        let Some(mut pod) = pod_view::read(pod) else { return };
        if let Some(tracked) = self.by_uid.get_mut(&pod.uid) {
            pod.came_back = tracked.pod.came_back;
            (tracked.pod, tracked.labels, tracked.standing) = (pod, labels, standing);
        } else {
            let is_anew = controller.as_ref().is_some_and(|controller| self.evicted_of.contains(controller));
            pod.came_back = tolerates_cordon && is_anew;
            let uid = pod.uid.clone();
            self.by_uid.insert(uid, Tracked::new(pod, controller, labels, standing));
        }
    }

    /// Forgets a pod that is gone.
    pub(super) fn delete(&mut self, pod: &ApiPod) {
        if let Some(uid) = &pod.metadata.uid {
            self.by_uid.remove(uid);
        }
    }

    /// The watch begins a list.
    pub(super) fn begin_list(&mut self) {
        self.listing.clear();
    }

    /// Takes in a pod of the watch's list.
    pub(super) fn apply_listed(&mut self, pod: &ApiPod) {
        self.listing.extend(pod.metadata.uid.clone());
        self.apply(pod);
    }

    /// The watch's list is whole: what it didn't show is gone, though no deletion was seen.
    pub(super) fn end_list(&mut self) {
        let listing = std::mem::take(&mut self.listing);
        self.by_uid.retain(|uid, _| listing.contains(uid));
    }

    /// Takes in a whole list: what it doesn't show is gone.
    pub(super) fn replace(&mut self, listed: &[ApiPod]) {
        self.by_uid.retain(|uid, _| listed.iter().any(|pod| pod.metadata.uid.as_ref() == Some(uid)));
        for pod in listed {
            self.apply(pod);
        }
    }

    /// The pods whose eviction is to be sent now, marked as on their way: first those behind budgets, which go a few at a
    /// time, and of the others those that may take longest to stop.
    pub(super) fn take_targets(&mut self, now: Instant) -> Vec<Target> {
        let (leader, departure, leaving) = (&self.leader_pod_uid, self.departure, self.first_wave());
        let due = self.by_uid.values_mut().filter(|tracked| {
            classify(&tracked.pod, leader, departure, leaving) == Verdict::Evict
                && !tracked.in_flight
                && !tracked.evicted
                && tracked.not_before.is_none_or(|not_before| not_before <= now)
        });
        let mut due: Vec<_> = due.map(|tracked| (tracked.budget(&self.budgets), tracked)).collect();
        due.sort_by(|(budget, tracked), (other_budget, other)| {
            let order = |budget: &Option<_>, pod: &Pod| (budget.is_none(), Reverse(pod.grace));
            let by_name =
                || (&tracked.pod.namespace, &tracked.pod.name).cmp(&(&other.pod.namespace, &other.pod.name));
            order(budget, &tracked.pod).cmp(&order(other_budget, &other.pod)).then_with(by_name)
        });
        let mut targets = Vec::new();
        for (budget, tracked) in due {
            let Pod { namespace, name, uid, .. } = tracked.pod.clone();
            if let Some((key, budget)) = budget {
                if !self.turns.take(&key, &budget, now) {
                    continue;
                }
                self.taken.insert(uid.clone(), key);
            }
            tracked.in_flight = true;
            targets.push(Target { namespace, name, uid });
        }
        targets
    }

    /// The pods about whose evictions the API server is to be asked now, in a dry run.
    pub(super) fn take_questions(&mut self, now: Instant) -> Vec<Target> {
        let (leader, departure, leaving) = (&self.leader_pod_uid, self.departure, self.first_wave());
        let due = self.by_uid.values_mut().filter(|tracked| {
            classify(&tracked.pod, leader, departure, leaving) == Verdict::Evict
                && tracked.ask_at().is_none_or(|at| at <= now)
        });
        let question = |tracked: &mut Tracked| {
            tracked.ask(now);
            let Pod { namespace, name, uid, .. } = tracked.pod.clone();
            Target { namespace, name, uid }
        };
        due.map(question).collect()
    }

    /// Notes what the API server would say to an eviction.
    pub(super) fn settle_question(&mut self, uid: &str, outcome: Option<&Outcome>, now: Instant) {
        if let Some(tracked) = self.by_uid.get_mut(uid) {
            tracked.settle_question(outcome, now);
        }
    }

    /// When the next question is due.
    pub(super) fn next_question(&self, now: Instant) -> Option<Instant> {
        self.by_uid.values().filter_map(Tracked::ask_at).filter(|at| *at > now).min()
    }

    /// When the next eviction may be tried that can't be now, unless its budget opens before.
    pub(super) fn next_try(&self, now: Instant) -> Option<Instant> {
        let leaving = self.first_wave();
        let waiting = self
            .by_uid
            .values()
            .filter(|tracked| !tracked.in_flight && !tracked.evicted)
            .filter(|tracked| self.verdict(tracked, leaving) == Verdict::Evict);
        let next = |tracked: &Tracked| {
            let budget = tracked.budget(&self.budgets);
            let turn = budget.and_then(|(key, budget)| self.turns.next(&key, &budget, now));
            tracked.not_before.max(turn)
        };
        waiting.filter_map(next).min()
    }

    /// Notes what came of an eviction, and that the pod's next comes after `again_in`; `None` if it was not sent.
    pub(super) fn settle(
        &mut self,
        uid: &str,
        outcome: Option<&Outcome>,
        now: Instant,
        mut again_in: Duration,
    ) {
        match (self.taken.remove(uid), outcome) {
            (Some(key), Some(Outcome::Evicted)) => self.turns.accepted(&key, now),
            (Some(key), Some(Outcome::Refused { verdict: Verdict::BlockedByBudget, .. })) => {
                self.turns.refused(&key, now);
            }
            (Some(key), _) => self.turns.unsettled(&key, now),
            // Which budget said no isn't known, so nobody hears when it opens.
            (None, Some(Outcome::Refused { .. })) => again_in = again_in.max(RETRY),
            (None, _) => {}
        }
        if let Some(tracked) = self.by_uid.get_mut(uid) {
            tracked.settle(outcome, now, again_in);
            if outcome == Some(&Outcome::Evicted) {
                self.evicted_of.extend(tracked.controller.clone());
            }
        }
    }

    /// Whether the pod is still to be evicted, as the watch shows it now.
    pub(super) fn is_wanted(&self, uid: &str) -> bool {
        let leaving = self.first_wave();
        self.by_uid.get(uid).is_some_and(|tracked| self.verdict(tracked, leaving) == Verdict::Evict)
    }

    fn verdict(&self, tracked: &Tracked, leaving: Wave) -> Verdict {
        classify(&tracked.pod, &self.leader_pod_uid, self.departure, leaving)
    }

    /// The first wave that isn't gone yet.
    fn first_wave(&self) -> Wave {
        let pods = self.by_uid.values().map(|tracked| &tracked.pod);
        first_wave(pods, &self.leader_pod_uid, self.departure)
    }

    fn count(&self, counts: impl Fn(Verdict) -> bool) -> usize {
        let leaving = self.first_wave();
        self.by_uid.values().filter(|tracked| counts(self.verdict(tracked, leaving))).count()
    }

    /// Pods that must leave and haven't.
    pub(super) fn must_leave(&self) -> usize {
        self.count(Verdict::must_leave)
    }

    /// Pods that this drain has evicted and that are still there, or may have.
    pub(super) fn evicted(&self, now: Instant) -> usize {
        let evicted = |tracked: &&Tracked| {
            tracked.evicted || tracked.in_flight || tracked.unknown_until.is_some_and(|until| until > now)
        };
        self.by_uid.values().filter(evicted).count()
    }

    /// Pods that are terminating, whoever asked for it: an earlier leader may have.
    pub(super) fn terminating(&self) -> usize {
        self.count(|verdict| verdict == Verdict::Terminating)
    }

    /// When an eviction without an answer can no longer land, or a refusal counts no longer, while nothing is tried.
    pub(super) fn next_certainty(&self, now: Instant) -> Option<Instant> {
        let lands =
            self.by_uid.values().filter_map(|tracked| tracked.unknown_until).filter(|until| *until > now);
        let forgets = self.by_uid.values().filter_map(|tracked| tracked.forgets_refusal(now));
        lands.chain(forgets).min()
    }

    /// Whether one of them is behind that budget.
    pub(super) fn is_behind(&self, budget: &BudgetKey) -> bool {
        self.behind.contains(budget)
    }

    /// How the drain goes; the node's own pods are no part of it.
    pub(super) fn progress(&mut self, listed: bool, stage: DrainStage) -> DrainProgress {
        let now = Instant::now();
        let mut progress = DrainProgress {
            listed,
            pods: self.reports(stage == DrainStage::Evicting, now),
            stage,
            evicted: self.evicted(now),
            terminating: self.terminating(),
            blocked_since: self.blocked_since,
        };
        self.blocked_since =
            progress.is_blocked().then(|| self.blocked_since.unwrap_or_else(clock::monotonic));
        progress.blocked_since = self.blocked_since;
        progress
    }

    fn reports(&mut self, tries: bool, now: Instant) -> Vec<PodReport> {
        let leaving = self.first_wave();
        let mut behind = HashSet::new();
        let mut report = |tracked: &Tracked| {
            let Pod { namespace, name, grace, .. } = tracked.pod.clone();
            let budgets = self.budgets.over(&namespace, &tracked.labels);
            behind.extend(budgets.iter().map(|now| (namespace.clone(), now.budget.name.clone())));
            let (verdict, detail) = match self.verdict(tracked, leaving) {
                Verdict::Evict => {
                    let kept_by = tracked.kept_by(&budgets, &self.turns, tries, now);
                    kept_by.unwrap_or((Verdict::Evict, tracked.would_go().unwrap_or_default()))
                }
                verdict => (verdict, String::new()),
            };
            let budget = match budgets.as_slice() {
                [now] => Some(BudgetOverPod {
                    name: now.budget.name.clone(),
                    allows_at_once: now.budget.allows_at_once(),
                }),
                _ => None,
            };
            PodReport { namespace, name, verdict, detail, grace, budget }
        };
        let reports = self.by_uid.values().map(&mut report);
        let reports = reports.filter(|report| !report.verdict.is_part_of_node()).collect();
        self.behind = behind;
        reports
    }
}

#[cfg(test)]
mod tests {
    use mechanic_plan::EventType;
    use serde_json::json;

    use super::*;

    const REBOOT: Departure = Departure { worst: EventType::Reboot, urgent: false };

    fn no_pods() -> Pods {
        Pods::new(String::new(), Arc::default(), REBOOT)
    }

    fn pod(name: &str, uid: &str) -> ApiPod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "d", "name": name, "uid": uid, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]},
            "status": {"phase": "Running"},
        }))
        .unwrap()
    }

    fn reports(pods: &mut Pods) -> Vec<PodReport> {
        pods.progress(true, DrainStage::Evicting).pods
    }

    fn refused() -> Outcome {
        Outcome::Refused {
            verdict: Verdict::BlockedByBudget,
            detail: "no".into(),
            again_in: Duration::from_secs(5),
        }
    }

    #[test]
    fn w1_d1_u8_a_pod_is_sent_once_and_after_a_refusal_not_before_its_time() {
        let mut pods = no_pods();
        let now = Instant::now();
        pods.apply(&pod("a", "1"));
        assert_eq!(pods.take_targets(now).len(), 1);
        assert_eq!(pods.take_targets(now).len(), 0, "on its way");
        pods.settle("1", Some(&refused()), now, Duration::from_secs(5));
        assert_eq!(pods.take_targets(now + Duration::from_secs(4)).len(), 0);
        assert_eq!(pods.next_try(now), Some(now + Duration::from_secs(5)));
        assert_eq!(reports(&mut pods)[0].verdict, Verdict::BlockedByBudget);
        assert_eq!(pods.take_targets(now + Duration::from_secs(5)).len(), 1);
        pods.settle("1", Some(&Outcome::Evicted), now, Duration::ZERO);
        assert_eq!(pods.take_targets(now + Duration::from_hours(1)).len(), 0, "never twice");
        assert_eq!((pods.evicted(now) + pods.terminating(), pods.must_leave()), (1, 1));
        pods.delete(&pod("a", "1"));
        assert_eq!((pods.evicted(now) + pods.terminating(), pods.must_leave()), (0, 0));
    }

    #[test]
    fn behind_a_closed_budget_one_asks_for_all_and_when_it_opens_as_many_go_as_it_allows() {
        let budgets = Arc::new(Budgets::default());
        let allows = |pods: i32| {
            let budget = json!({
                "metadata": {"namespace": "d", "name": "web", "resourceVersion": pods.to_string()},
                "spec": {"selector": {}},
                "status": {"expectedPods": 5, "desiredHealthy": 3, "currentHealthy": 5, "disruptionsAllowed": pods},
            });
            budgets.apply(&serde_json::from_value(budget).unwrap());
        };
        allows(0);
        let mut pods = Pods::new(String::new(), Arc::clone(&budgets), REBOOT);
        let now = Instant::now();
        for number in 0..5 {
            let mut pod = pod(&format!("a-{number}"), &number.to_string());
            let ready = json!([{"type": "Ready", "status": if number < 4 { "True" } else { "False" }}]);
            pod.status.as_mut().unwrap().conditions = serde_json::from_value(ready).unwrap();
            pods.apply(&pod);
        }
        let uids = |targets: Vec<Target>| targets.into_iter().map(|target| target.uid).collect::<Vec<_>>();
        assert_eq!(
            uids(pods.take_targets(now)),
            ["0", "4"],
            "one asks; the one that isn't Ready may go anyway"
        );
        pods.settle("0", Some(&refused()), now, Duration::from_secs(1));
        let later = now + Duration::from_secs(5);
        assert_eq!(uids(pods.take_targets(later)), [""; 0]);
        let blocked = |report: &&PodReport| report.verdict == Verdict::BlockedByBudget;
        assert_eq!(reports(&mut pods).iter().filter(blocked).count(), 4);
        allows(2);
        pods.settle("4", Some(&refused()), now, Duration::from_secs(9));
        assert_eq!(
            pods.next_try(later),
            Some(now + Duration::from_secs(1)),
            "not a minute after the refusal"
        );
        assert_eq!(uids(pods.take_targets(later)), ["0", "1"]);
    }

    #[test]
    fn pods_behind_budgets_go_first_then_those_that_take_longest_then_by_name() {
        let budgets = Arc::new(Budgets::default());
        let budget = json!({
            "metadata": {"namespace": "d", "name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {"expectedPods": 5, "desiredHealthy": 3, "currentHealthy": 5, "disruptionsAllowed": 2},
        });
        budgets.apply(&serde_json::from_value(budget).unwrap());
        let mut pods = Pods::new(String::new(), budgets, REBOOT);
        for (uid, name, grace, app) in
            [("1", "b", 30, ""), ("2", "a", 30, ""), ("3", "slow", 300, ""), ("4", "web", 5, "web")]
        {
            let mut pod = pod(name, uid);
            pod.metadata.labels = Some(BTreeMap::from([("app".to_owned(), app.to_owned())]));
            let spec = json!({"containers": [], "terminationGracePeriodSeconds": grace});
            pod.spec = serde_json::from_value(spec).unwrap();
            let conditions = json!([{"type": "Ready", "status": "True"}]);
            pod.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
            pods.apply(&pod);
        }
        let names: Vec<String> =
            pods.take_targets(Instant::now()).into_iter().map(|target| target.name).collect();
        assert_eq!(names, ["web", "slow", "a", "b"]);
    }

    #[test]
    fn a_pod_that_goes_while_its_eviction_is_on_its_way_gives_its_turn_back() {
        let budgets = Arc::new(Budgets::default());
        let budget = json!({
            "metadata": {"namespace": "d", "name": "web"}, "spec": {"selector": {}},
            "status": {"expectedPods": 5, "desiredHealthy": 3, "currentHealthy": 5, "disruptionsAllowed": 1},
        });
        budgets.apply(&serde_json::from_value(budget).unwrap());
        let mut pods = Pods::new(String::new(), budgets, REBOOT);
        let now = Instant::now();
        let ready = |uid: &str| {
            let mut pod = pod(&format!("a-{uid}"), uid);
            let conditions = json!([{"type": "Ready", "status": "True"}]);
            pod.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
            pod
        };
        pods.apply(&ready("1"));
        pods.apply(&ready("2"));
        assert_eq!(pods.take_targets(now).len(), 1);
        pods.delete(&ready("1"));
        pods.settle("1", Some(&Outcome::Gone), now, Duration::ZERO);
        assert_eq!(pods.take_targets(now)[0].uid, "2");
    }

    #[test]
    fn w2_u9_edge_1_edge_2_the_same_name_with_another_uid_is_another_pod() {
        let mut pods = no_pods();
        pods.apply(&pod("a", "1"));
        pods.replace(&[pod("a", "2")]);
        assert!(!pods.is_wanted("1"));
        assert!(pods.is_wanted("2"));
    }

    #[test]
    fn edge_15_edge_16_who_tolerates_the_cordon_is_evicted_once_and_stays_when_it_comes_back() {
        let mut pods = no_pods();
        let now = Instant::now();
        let tolerant = |name: &str, uid: &str| {
            let mut pod = pod(name, uid);
            let spec = json!({"containers": [], "tolerations": [{"operator": "Exists"}]});
            pod.spec = serde_json::from_value(spec).unwrap();
            pod
        };
        pods.apply(&tolerant("a", "1"));
        assert_eq!(pods.take_targets(now).len(), 1);
        pods.apply(&pod("late", "2"));
        pods.settle("1", Some(&Outcome::Evicted), now, Duration::ZERO);
        pods.delete(&tolerant("a", "1"));
        pods.apply(&tolerant("b", "3"));
        pods.apply(&pod("bound late, and not to come back", "4"));
        assert!(!pods.is_wanted("3") && pods.is_wanted("2") && pods.is_wanted("4"));
        pods.apply(&tolerant("b", "3"));
        let verdict = |report: &PodReport| (report.name == "b").then_some(report.verdict);
        assert_eq!(reports(&mut pods).iter().find_map(verdict), Some(Verdict::CameBack));
    }

    #[test]
    fn a_deletion_that_the_watch_missed_shows_in_its_next_list() {
        let mut pods = no_pods();
        pods.apply(&pod("a", "1"));
        pods.begin_list();
        pods.apply_listed(&pod("b", "2"));
        assert!(pods.is_wanted("1"), "a list that isn't whole proves nothing gone");
        pods.end_list();
        assert!(!pods.is_wanted("1") && pods.is_wanted("2"));
    }

    #[test]
    fn edge_34_a_pod_that_began_to_terminate_is_no_longer_wanted_and_still_waited_for() {
        let mut pods = no_pods();
        let mut terminating = pod("a", "1");
        pods.apply(&terminating);
        terminating.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-11-23T12:00:00Z")).unwrap());
        pods.apply(&terminating);
        let now = Instant::now();
        assert!(!pods.is_wanted("1"));
        assert_eq!((pods.evicted(now) + pods.terminating(), pods.must_leave()), (1, 1));
    }

    #[test]
    fn a_refused_pod_that_goes_by_itself_is_not_waited_for_again_and_again() {
        let mut pods = no_pods();
        let now = Instant::now();
        let mut going = pod("a", "1");
        pods.apply(&going);
        pods.take_targets(now);
        pods.settle("1", Some(&refused()), now, RETRY);
        assert_eq!(pods.next_try(now), Some(now + RETRY));
        going.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-11-23T12:00:00Z")).unwrap());
        pods.apply(&going);
        assert_eq!(pods.next_try(now), None);
    }

    #[test]
    fn edge_39_an_eviction_without_an_answer_counts_as_under_way_until_it_can_no_longer_land() {
        let mut pods = no_pods();
        let now = Instant::now();
        pods.apply(&pod("a", "1"));
        pods.take_targets(now);
        pods.settle("1", Some(&Outcome::Unknown("no answer".into())), now, Duration::ZERO);
        assert_eq!(pods.evicted(now), 1);
        let certain = pods.next_certainty(now).unwrap();
        assert_eq!(pods.evicted(certain), 0);
    }

    #[test]
    fn edge_10_what_is_refused_again_and_again_is_asked_at_longer_and_longer_intervals() {
        let mut pods = no_pods();
        let mut now = Instant::now();
        pods.apply(&pod("a", "1"));
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert_eq!(pods.take_targets(now).len(), 1);
            let refused =
                Outcome::Refused { verdict: Verdict::EvictionRefused, detail: "no".into(), again_in: RETRY };
            pods.settle("1", Some(&refused), now, RETRY);
            let next = pods.next_try(now).unwrap();
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn in_a_dry_run_each_pod_is_asked_about_and_none_goes() {
        let mut pods = no_pods();
        let now = Instant::now();
        for uid in ["1", "2"] {
            pods.apply(&pod(&format!("a-{uid}"), uid));
        }
        assert_eq!(pods.take_questions(now).len(), 2);
        assert_eq!(pods.take_questions(now).len(), 0, "they are being asked about");
        pods.settle_question("1", Some(&Outcome::Evicted), now);
        pods.settle_question("2", Some(&refused()), now);
        let reports = pods.progress(true, DrainStage::Looking).pods;
        assert_eq!((reports[0].verdict, reports[1].verdict), (Verdict::Evict, Verdict::BlockedByBudget));
        assert!(reports[0].detail.contains("would evict it"), "{}", reports[0].detail);
        assert_eq!((pods.evicted(now), pods.must_leave()), (0, 2));
        let again = pods.next_question(now).unwrap();
        assert_eq!(pods.take_questions(again).len(), 2);
    }

    #[test]
    fn since_when_nothing_can_leave_is_kept_over_tries_and_forgotten_once_something_can() {
        let mut pods = no_pods();
        pods.apply(&pod("a", "1"));
        assert_eq!(pods.progress(true, DrainStage::Evicting).blocked_since, None);
        let now = Instant::now();
        pods.take_targets(now);
        pods.settle("1", Some(&refused()), now, RETRY);
        let since = pods.progress(true, DrainStage::Evicting).blocked_since;
        assert!(since.is_some());
        pods.take_targets(now + RETRY);
        assert_eq!(pods.progress(true, DrainStage::Evicting).blocked_since, since, "asked once more");
        assert_eq!(pods.progress(true, DrainStage::Looking).blocked_since, since);
        pods.settle("1", Some(&Outcome::Evicted), now, RETRY);
        assert_eq!(pods.progress(true, DrainStage::Looking).blocked_since, None);
    }

    #[test]
    fn two_budgets_over_a_pod_are_told_before_anybody_asks() {
        let budgets = Arc::new(Budgets::default());
        for name in ["web", "all"] {
            let budget = json!({
                "metadata": {"namespace": "d", "name": name}, "spec": {"selector": {}, "maxUnavailable": 1},
                "status": {"expectedPods": 5, "desiredHealthy": 4, "currentHealthy": 5, "disruptionsAllowed": 1},
            });
            budgets.apply(&serde_json::from_value(budget).unwrap());
        }
        let mut pods = Pods::new(String::new(), budgets, REBOOT);
        pods.apply(&pod("a", "1"));
        let report = pods.progress(true, DrainStage::Looking).pods.remove(0);
        let behind = |name: &str| pods.is_behind(&("d".to_owned(), name.to_owned()));
        assert_eq!((behind("web"), behind("all"), behind("cart")), (true, true, false));
        assert_eq!(report.verdict, Verdict::BlockedForGood);
        assert!(report.detail.contains("(all, web)"), "{}", report.detail);
    }

    #[test]
    fn the_critical_pods_go_when_the_others_are_gone() {
        let mut pods = no_pods();
        let now = Instant::now();
        let mut critical = pod("a", "1");
        critical.spec =
            serde_json::from_value(json!({"containers": [], "priorityClassName": "system-node-critical"}))
                .unwrap();
        pods.apply(&critical);
        pods.apply(&pod("b", "2"));
        let uids = |targets: Vec<Target>| targets.into_iter().map(|target| target.uid).collect::<Vec<_>>();
        assert_eq!(uids(pods.take_targets(now)), ["2"]);
        pods.settle("2", Some(&Outcome::Evicted), now, Duration::ZERO);
        assert_eq!(uids(pods.take_targets(now)), [""; 0], "it is still there");
        assert_eq!(reports(&mut pods)[0].verdict, Verdict::WaitingForWave);
        pods.delete(&pod("b", "2"));
        assert_eq!(uids(pods.take_targets(now)), ["1"]);
    }
}
