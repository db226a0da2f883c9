use mechanic_plan::{DrainStage, EventType, PodReport};
use serde_json::json;

use super::*;

const REBOOT: Departure = Departure { worst: EventType::Reboot, ..Departure::UNKNOWN };

fn no_pods() -> Pods {
    behind(Arc::default())
}

fn behind(budgets: Arc<Budgets>) -> Pods {
    let mut pods = Pods::new(String::new(), budgets);
    leave_for(&mut pods, REBOOT);
    pods
}

fn leave_for(pods: &mut Pods, departure: Departure) {
    pods.leave_for(departure, PodPolicy::default(), Timestamp::UNIX_EPOCH);
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
    let mut pods = behind(Arc::clone(&budgets));
    let now = Instant::now();
    for number in 0..5 {
        let mut pod = pod(&format!("a-{number}"), &number.to_string());
        let ready = json!([{"type": "Ready", "status": if number < 4 { "True" } else { "False" }}]);
        pod.status.as_mut().unwrap().conditions = serde_json::from_value(ready).unwrap();
        pods.apply(&pod);
    }
    let uids = |targets: Vec<Target>| targets.into_iter().map(|target| target.uid).collect::<Vec<_>>();
    assert_eq!(uids(pods.take_targets(now)), ["0", "4"], "one asks; the one that isn't Ready may go anyway");
    pods.settle("0", Some(&refused()), now, Duration::from_secs(1));
    let later = now + Duration::from_secs(5);
    assert_eq!(uids(pods.take_targets(later)), [""; 0]);
    let blocked = |report: &&PodReport| report.verdict == Verdict::BlockedByBudget;
    assert_eq!(reports(&mut pods).iter().filter(blocked).count(), 4);
    allows(2);
    pods.settle("4", Some(&refused()), now, Duration::from_secs(9));
    assert_eq!(pods.next_try(now), Some(now + Duration::from_secs(1)), "not a minute after the refusal");
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
    let mut pods = behind(budgets);
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
    let mut pods = behind(budgets);
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
    assert!(!pods.is_wanted("1", Verdict::Evict));
    assert!(pods.is_wanted("2", Verdict::Evict));
}

#[test]
fn edge_15_who_tolerates_the_cordon_is_evicted_once_and_stays_when_it_comes_back() {
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
    assert!(
        !pods.is_wanted("3", Verdict::Evict)
            && pods.is_wanted("2", Verdict::Evict)
            && pods.is_wanted("4", Verdict::Evict)
    );
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
    assert!(pods.is_wanted("1", Verdict::Evict), "a list that isn't whole proves nothing gone");
    pods.end_list();
    assert!(!pods.is_wanted("1", Verdict::Evict) && pods.is_wanted("2", Verdict::Evict));
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
    assert!(!pods.is_wanted("1", Verdict::Evict));
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
    going.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-11-23T12:00:00Z")).unwrap());
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
    let again = pods.next_certainty(now).unwrap();
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
    let mut pods = behind(budgets);
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

#[test]
fn what_a_budget_holds_gets_its_last_call_once_when_its_grace_no_longer_fits() {
    let budgets = Arc::new(Budgets::default());
    let closed = json!({
        "metadata": {"namespace": "d", "name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"expectedPods": 2, "desiredHealthy": 2, "currentHealthy": 2, "disruptionsAllowed": 0},
    });
    budgets.apply(&serde_json::from_value(closed).unwrap());
    let mut pods = behind(budgets);
    for (uid, app) in [("1", "web"), ("2", "free")] {
        let mut pod = pod(app, uid);
        pod.metadata.labels = Some([("app".to_owned(), app.to_owned())].into());
        let conditions = json!([{"type": "Ready", "status": "True"}]);
        pod.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
        pods.apply(&pod);
    }
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let last_call = Some(mechanic_plan::LastCall::Before(at(100)));
    let leave_at = |pods: &mut Pods, seconds| {
        let departure = Departure { worst: EventType::Terminate, urgent: true, last_call };
        pods.leave_for(departure, PodPolicy::default(), at(seconds));
    };
    let now = Instant::now();
    leave_at(&mut pods, 60);
    assert_eq!(pods.take_last_calls(now).len(), 0, "40 s are more than its grace of 30 s");
    assert_eq!(pods.next_last_call(now), Some(now + Duration::from_secs(10)));
    assert_eq!(pods.take_targets(now).len(), 2, "it is tried as any other");
    pods.settle("1", Some(&refused()), now, Duration::from_secs(5));
    pods.settle("2", Some(&Outcome::Evicted), now, Duration::ZERO);
    leave_at(&mut pods, 71);
    let called = pods.take_last_calls(now);
    assert_eq!(called.iter().map(|(target, _)| target.uid.as_str()).collect::<Vec<_>>(), ["1"]);
    assert_eq!(
        (pods.take_last_calls(now).len(), pods.last_grace(at(72))),
        (0, Some(Duration::from_secs(28)))
    );
    let forbidden =
        Outcome::Refused { verdict: Verdict::EvictionRefused, detail: "forbidden".into(), again_in: RETRY };
    pods.settle_last_call("1", Some(&forbidden), now);
    let report = reports(&mut pods).into_iter().find(|report| report.name == "web").unwrap();
    assert_eq!((report.verdict, report.detail.as_str()), (Verdict::LastCall, "forbidden"));
    assert_eq!(pods.take_last_calls(now).len(), 0);
    assert_eq!(pods.take_last_calls(now + RETRY).len(), 1);
    pods.settle_last_call("1", Some(&Outcome::Evicted), now);
    assert_eq!(pods.take_last_calls(now + RETRY * 2).len(), 0, "never twice");
}

#[test]
fn pods_that_are_not_ready_are_asked_for_seldom_and_go_as_soon_as_the_others_are_enough() {
    let budgets = Arc::new(Budgets::default());
    let healthy = |healthy: i32, version: &str| {
        let budget = json!({
            "metadata": {"namespace": "d", "name": "web", "resourceVersion": version},
            "spec": {"selector": {}},
            "status": {"expectedPods": 5, "desiredHealthy": 4, "currentHealthy": healthy, "disruptionsAllowed": 0},
        });
        budgets.apply(&serde_json::from_value(budget).unwrap());
    };
    healthy(2, "1");
    let mut pods = behind(Arc::clone(&budgets));
    for number in 0..3 {
        pods.apply(&pod(&format!("crashing-{number}"), &number.to_string()));
    }
    let now = Instant::now();
    let mut asked = 0;
    for second in 0..180 {
        let now = now + Duration::from_secs(second);
        for target in pods.take_targets(now) {
            asked += 1;
            pods.settle(&target.uid, Some(&refused()), now, Duration::from_secs(1));
        }
    }
    let next = pods.next_try(now + Duration::from_secs(179));
    assert_eq!(next, Some(now + Duration::from_mins(3)), "and woken up for it");
    assert_eq!(asked, 3 * 3, "once a minute each, as long as it can be seen that they may not go");
    healthy(4, "2");
    assert_eq!(pods.take_targets(now + Duration::from_secs(181)).len(), 3, "they are no loss any more");
}

#[test]
fn a_pod_that_is_not_ready_and_refused_by_something_else_waits_its_time() {
    let budgets = Arc::new(Budgets::default());
    let open = json!({
        "metadata": {"namespace": "d", "name": "web"}, "spec": {"selector": {}},
        "status": {"expectedPods": 5, "desiredHealthy": 3, "currentHealthy": 4, "disruptionsAllowed": 1},
    });
    budgets.apply(&serde_json::from_value(open).unwrap());
    let mut pods = behind(budgets);
    pods.apply(&pod("a", "1"));
    let now = Instant::now();
    assert_eq!(pods.take_targets(now).len(), 1);
    let webhook =
        Outcome::Refused { verdict: Verdict::EvictionRefused, detail: "the webhook".into(), again_in: RETRY };
    pods.settle("1", Some(&webhook), now, RETRY);
    assert_eq!((pods.take_targets(now).len(), pods.take_targets(now + RETRY).len()), (0, 1));
}

#[test]
fn what_has_ended_is_held_by_no_budget() {
    let budgets = Arc::new(Budgets::default());
    let closed = json!({
        "metadata": {"namespace": "d", "name": "web"}, "spec": {"selector": {}},
        "status": {"expectedPods": 1, "desiredHealthy": 1, "currentHealthy": 0, "disruptionsAllowed": 0},
    });
    budgets.apply(&serde_json::from_value(closed).unwrap());
    let mut pods = behind(budgets);
    let mut failed = pod("evicted-before", "1");
    failed.status.as_mut().unwrap().phase = Some("Failed".into());
    pods.apply(&failed);
    assert_eq!(reports(&mut pods)[0].verdict, Verdict::Evict);
    assert_eq!(pods.take_targets(Instant::now()).len(), 1);
}

#[test]
fn a_pod_that_is_terminating_says_since_when_and_what_keeps_it() {
    let mut pods = no_pods();
    let mut kept = pod("kept", "1");
    kept.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-26T12:00:00Z")).unwrap();
    kept.metadata.finalizers = Some(vec!["example.com/keep".into()]);
    pods.apply(&kept);
    let report = &reports(&mut pods)[0];
    assert_eq!(report.verdict, Verdict::Terminating);
    assert!(report.detail.contains("2026-11-26T12:00:00Z") && report.detail.contains("example.com/keep"));
}

#[test]
fn an_overloaded_server_says_nothing_of_the_pod() {
    let mut pods = no_pods();
    let now = Instant::now();
    pods.apply(&pod("a", "1"));
    pods.take_targets(now);
    let second = Duration::from_secs(1);
    pods.settle("1", Some(&Outcome::Overloaded { again_in: second }), now, second);
    assert_eq!(reports(&mut pods)[0].verdict, Verdict::Evict, "so no node is set aside for it");
    assert_eq!((pods.take_targets(now).len(), pods.take_targets(now + second).len()), (0, 1));
}
