//! Which pods something keeps on the node, and for long enough to be told on the pod itself: once for each reason.

use std::time::Duration;

use mechanic_plan::{ReasonCode, Verdict};
use tokio::time::Instant;

use super::{Pods, Target, Tracked};

/// Most of what keeps a pod passes sooner.
const TOLD_AFTER: Duration = Duration::from_secs(10);

/// What keeps one pod, and what of that was told.
#[derive(Debug, Default)]
pub(in crate::drain) struct Kept {
    by: Option<KeptBy>,
    told: Vec<ReasonCode>,
}

#[derive(Debug)]
struct KeptBy {
    verdict: Verdict,
    detail: String,
    since: Instant,
}

/// Something to tell about a pod.
#[derive(Debug)]
pub(in crate::drain) struct StillThere {
    pub(in crate::drain) target: Target,
    pub(in crate::drain) verdict: Verdict,
    pub(in crate::drain) detail: String,
}

/// What a drain waits for: one pod, and how many more of which the same is said.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::drain) struct DrainWaits {
    /// By namespace and name.
    pub(in crate::drain) pod: String,
    pub(in crate::drain) others: usize,
    pub(in crate::drain) verdict: Verdict,
    pub(in crate::drain) detail: String,
}

impl Kept {
    pub(super) fn note(&mut self, verdict: Verdict, detail: &str, now: Instant) {
        match &mut self.by {
            Some(by) if by.verdict == verdict => detail.clone_into(&mut by.detail),
            by => *by = Some(KeptBy { verdict, detail: detail.to_owned(), since: now }),
        }
    }

    fn is_told(&self, verdict: Verdict) -> bool {
        self.told.contains(&verdict.code())
    }

    /// When it is to be told, whether or not that is past.
    fn due_at(&self, grace: Duration) -> Option<Instant> {
        let KeptBy { verdict, since, .. } = self.by.as_ref().filter(|by| !self.is_told(by.verdict))?;
        let after = match verdict {
            Verdict::Evict
            | Verdict::LastCall
            | Verdict::Leader
            | Verdict::MirrorPod
            | Verdict::DaemonSetPod => return None,
            Verdict::Terminating => grace + TOLD_AFTER,
            Verdict::WaitingForWave
            | Verdict::ProtectedForNow
            | Verdict::BlockedByBudget
            | Verdict::BlockedForGood
            | Verdict::EvictionRefused => TOLD_AFTER,
            // No waiting will change that it stays.
            Verdict::Unmanaged | Verdict::EmptyDir | Verdict::Protected | Verdict::CameBack => Duration::ZERO,
        };
        Some(*since + after)
    }
}

impl Tracked {
    fn due_to_tell(&self) -> Option<Instant> {
        self.kept.due_at(self.pod.grace)
    }
}

impl Pods {
    /// What is to be told now, as of the last report; it counts as told from now on.
    pub(in crate::drain) fn take_still_there(&mut self, now: Instant) -> Vec<StillThere> {
        let due = self.by_uid.values_mut().filter(|pod| pod.due_to_tell().is_some_and(|at| at <= now));
        let take = |pod: &mut Tracked| {
            let KeptBy { verdict, detail, .. } = pod.kept.by.as_ref()?;
            let still_there = StillThere { target: pod.target(), verdict: *verdict, detail: detail.clone() };
            pod.kept.told.push(verdict.code());
            Some(still_there)
        };
        due.filter_map(take).collect()
    }

    /// What of that is news of the drain as a whole. Pods that stay are not waited for.
    pub(in crate::drain) fn take_waits(&mut self, still_there: &[StillThere]) -> Vec<DrainWaits> {
        let mut waits = Vec::new();
        for StillThere { target, verdict, detail } in still_there {
            if !verdict.must_leave() || self.waits_told.contains(verdict) {
                continue;
            }
            self.waits_told.push(*verdict);
            let kept = self.by_uid.values().filter_map(|pod| pod.kept.by.as_ref());
            waits.push(DrainWaits {
                pod: format!("{}/{}", target.namespace, target.name),
                others: kept.filter(|by| by.verdict == *verdict).count().saturating_sub(1),
                verdict: *verdict,
                detail: detail.clone(),
            });
        }
        waits
    }

    /// When something is to be told next.
    pub(in crate::drain) fn next_told(&self, now: Instant) -> Option<Instant> {
        self.by_uid.values().filter_map(Tracked::due_to_tell).filter(|at| *at > now).min()
    }

    /// Whether something was told about the pod.
    pub(in crate::drain) fn is_told_of(&self, uid: &str) -> bool {
        self.by_uid.get(uid).is_some_and(|pod| !pod.kept.told.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::Pod as ApiPod;
    use mechanic_plan::{Departure, DrainStage, EventType, Node, PodPolicy, Policy};
    use serde_json::{Value, json};

    use super::*;
    use crate::{drain::answer::Outcome, testing};

    fn pods(metadata: &Value) -> (Pods, ApiPod) {
        let mut pod =
            json!({"metadata": {"namespace": "d", "name": "a", "uid": "1"}, "status": {"phase": "Running"}});
        for (key, value) in metadata.as_object().unwrap() {
            pod["metadata"][key] = value.clone();
        }
        let pod = serde_json::from_value(pod).unwrap();
        let mut pods = Pods::new(String::new(), Arc::default());
        let departure = Departure { worst: EventType::Reboot, ..Departure::UNKNOWN };
        pods.leave_for(departure, PodPolicy::default(), Timestamp::UNIX_EPOCH);
        pods.apply(&pod);
        (pods, pod)
    }

    fn controlled() -> Value {
        json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]})
    }

    fn told(pods: &mut Pods, at: Instant) -> Vec<(Verdict, String)> {
        pods.progress(true, DrainStage::Evicting);
        pods.take_still_there(at).into_iter().map(|pod| (pod.verdict, pod.detail)).collect()
    }

    fn refused(verdict: Verdict, detail: &str) -> Outcome {
        Outcome::Refused { verdict, detail: detail.into(), again_in: TOLD_AFTER }
    }

    fn refuse(pods: &mut Pods, verdict: Verdict, detail: &str, now: Instant) {
        pods.settle("1", Some(&refused(verdict, detail)), now, TOLD_AFTER);
    }

    #[test]
    fn each_reason_is_told_once_when_it_has_lasted_however_often_it_is_refused() {
        let (mut pods, _) = pods(&controlled());
        let now = Instant::now();
        let later = |seconds| now + TOLD_AFTER + Duration::from_secs(seconds);
        assert_eq!(told(&mut pods, later(100)), [], "it is being evicted");
        refuse(&mut pods, Verdict::BlockedForGood, "first", now);
        assert_eq!(told(&mut pods, now), [], "that may pass");
        assert!(pods.next_told(now).is_some_and(|at| at > now));
        refuse(&mut pods, Verdict::BlockedForGood, "second", now);
        assert_eq!(told(&mut pods, later(1)), [(Verdict::BlockedForGood, "second".to_owned())]);
        assert!(pods.is_told_of("1"));
        refuse(&mut pods, Verdict::BlockedForGood, "third", now);
        assert_eq!(told(&mut pods, later(100)), []);
        refuse(&mut pods, Verdict::EvictionRefused, "another", now);
        assert_eq!(told(&mut pods, later(101))[0].0, Verdict::EvictionRefused);
        refuse(&mut pods, Verdict::BlockedForGood, "again", now);
        assert_eq!(told(&mut pods, later(200)), []);
        assert_eq!(pods.next_told(now), None);
    }

    #[test]
    fn what_a_drain_waits_for_is_told_of_one_pod_for_all() {
        let (mut pods, mut pod) = pods(&controlled());
        pod.metadata.name = Some("b".into());
        pod.metadata.uid = Some("2".into());
        pods.apply(&pod);
        let now = Instant::now();
        refuse(&mut pods, Verdict::BlockedForGood, "no", now);
        pods.settle("2", Some(&refused(Verdict::BlockedForGood, "no")), now, TOLD_AFTER);
        pods.progress(true, DrainStage::Evicting);
        let told = pods.take_still_there(now + 2 * TOLD_AFTER);
        let waits = DrainWaits {
            pod: "d/a".into(),
            others: 1,
            verdict: Verdict::BlockedForGood,
            detail: "no".into(),
        };
        assert_eq!((told.len(), pods.take_waits(&told)), (2, vec![waits]));
        assert_eq!(pods.take_waits(&told), [], "once");
        let (mut stays, _) = self::pods(&json!({}));
        stays.progress(true, DrainStage::Evicting);
        let told = stays.take_still_there(now + TOLD_AFTER);
        assert_eq!((told.len(), stays.take_waits(&told)), (1, vec![]));
    }

    #[test]
    fn a_pod_that_stays_is_told_of_at_once_and_one_that_stops_when_its_grace_is_over() {
        let (mut stays, _) = pods(&json!({}));
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(told(&mut stays, now), [(Verdict::Unmanaged, String::new())]);
        let (mut stops, mut pod) = pods(&controlled());
        pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-26T12:00:00Z")).unwrap();
        stops.apply(&pod);
        let grace = stops.by_uid["1"].pod.grace;
        assert_eq!(told(&mut stops, Instant::now() + grace), []);
        let told = told(&mut stops, Instant::now() + grace + TOLD_AFTER);
        assert!(told[0].0 == Verdict::Terminating && told[0].1.contains("asked to be gone"), "{told:?}");
    }

    #[test]
    fn where_a_rule_keeps_a_pod_its_line_is_told() {
        let (mut pods, _) = pods(&json!({}));
        let policy = Policy::parse("pods:\n- pools: [held]\n  unmanaged: Wait").unwrap();
        for (pool, expected) in [("", ""), ("held", "the rule at line 2 of policy.yaml says Wait")] {
            let policy = policy.pods.on(&Node { pool: pool.into(), ..testing::node() });
            let departure = Departure { worst: EventType::Reboot, ..Departure::UNKNOWN };
            pods.leave_for(departure, policy, Timestamp::UNIX_EPOCH);
            let told = told(&mut pods, Instant::now() + Duration::from_mins(1));
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0].1, expected);
        }
    }

    #[test]
    fn the_nodes_own_pods_are_told_of_by_nobody() {
        let (mut pods, _) = pods(&json!({"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "r", "uid": "r", "controller": true}]}));
        assert_eq!(told(&mut pods, Instant::now() + Duration::from_hours(1)), []);
    }
}
