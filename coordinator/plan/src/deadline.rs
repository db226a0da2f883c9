//! How much time there is, and how much the pods need.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    event::{EventStatus, EventType, ScheduledEvent},
    fleet::DrainProgress,
};

/// For the way from a decision to an eviction, and for lists that must show that nothing is left.
const MARGIN: Duration = Duration::from_secs(30);
/// What Kubernetes gives a pod to stop where nothing else is said.
const USUAL_GRACE: Duration = Duration::from_secs(30);
/// From one pod's end to another's being Ready in its place, which a PodDisruptionBudget waits for.
const REPLACEMENT: Duration = Duration::from_secs(30);

/// How long the pods that have to leave a node need: the longest grace, the time behind budgets, and a margin.
pub(crate) fn time_needed(drain: Option<&DrainProgress>) -> Duration {
    let Some(drain) = drain.filter(|drain| drain.listed) else { return USUAL_GRACE + MARGIN };
    let leaving = || drain.pods.iter().filter(|pod| pod.verdict.must_leave());
    let grace = leaving().map(|pod| pod.grace).max().unwrap_or_default();
    let mut behind = BTreeMap::new();
    for pod in leaving() {
        if let Some(budget) = &pod.budget {
            let group = behind.entry((&pod.namespace, &budget.name));
            let (pods, _, grace) = group.or_insert((0_usize, budget.allows_at_once.max(1), pod.grace));
            *pods += 1;
            *grace = pod.grace.max(*grace);
        }
    }
    let waits = behind.into_values().map(|(pods, at_once, grace)| {
        let waits = u32::try_from(pods.div_ceil(at_once) - 1).unwrap_or(u32::MAX);
        (grace + REPLACEMENT).saturating_mul(waits)
    });
    grace.saturating_add(waits.max().unwrap_or_default()).saturating_add(MARGIN)
}

/// The time until `event` may begin; zero where it is under way, or where its time can't be read: to wait for
/// that could last past the event.
pub(crate) fn time_left(event: &ScheduledEvent, now: Timestamp) -> Duration {
    if event.status() == EventStatus::Started {
        return Duration::ZERO;
    }
    let ahead = event.not_before().map(|not_before| not_before.duration_since(now));
    ahead.and_then(|ahead| Duration::try_from(ahead).ok()).unwrap_or_default()
}

/// Whether it is time to act on `event`: it starts within the lead time, or later starts would be too late.
pub(crate) fn is_due(event: &ScheduledEvent, now: Timestamp, lead_time: Duration, needed: Duration) -> bool {
    time_left(event, now) <= lead_time.max(needed)
}

/// Whether this is the latest safe start of a drain for `event`, or later. A Preempt leaves no time to wait at all.
pub(crate) fn is_urgent(event: &ScheduledEvent, now: Timestamp, needed: Duration) -> bool {
    event.event_type() == EventType::Preempt || time_left(event, now) <= needed
}

/// Whether limits yield for `event`: it destroys the machine, and this is the latest safe start.
pub(crate) fn is_emergency(event: &ScheduledEvent, now: Timestamp, needed: Duration) -> bool {
    event.event_type().destroys() && is_urgent(event, now, needed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::{BudgetOverPod, PodReport, Verdict};
    use crate::testing::event;

    fn pod(grace: u64, budget: Option<(&str, usize)>) -> PodReport {
        let budget = budget.map(|(name, allows_at_once)| BudgetOverPod { name: name.into(), allows_at_once });
        PodReport {
            namespace: "default".into(),
            name: "pod".into(),
            verdict: Verdict::Evict,
            detail: String::new(),
            grace: Duration::from_secs(grace),
            budget,
        }
    }

    fn needed(pods: Vec<PodReport>) -> u64 {
        time_needed(Some(&DrainProgress { listed: true, pods, ..DrainProgress::default() })).as_secs()
    }

    #[test]
    fn pods_need_their_longest_grace_and_the_time_behind_budgets() {
        assert_eq!(time_needed(None).as_secs(), 60);
        assert_eq!(needed(vec![]), 30);
        assert_eq!(needed(vec![pod(5, None), pod(120, None)]), 150);
        let stays = PodReport { verdict: Verdict::EmptyDir, ..pod(900, None) };
        assert_eq!(needed(vec![pod(5, None), stays]), 35);
        let one_by_one = vec![pod(20, Some(("a", 1))); 4];
        assert_eq!(needed(one_by_one), 20 + 3 * 50 + 30);
        let two_at_once = vec![pod(20, Some(("a", 2))); 5];
        assert_eq!(needed(two_at_once), 20 + 2 * 50 + 30);
        let side_by_side = vec![pod(20, Some(("a", 1))), pod(20, Some(("b", 1)))];
        assert_eq!(needed(side_by_side), 50);
        assert_eq!(needed(vec![pod(20, Some(("never", 0))); 2]), 20 + 50 + 30);
    }

    const NOON: &str = "2026-11-23T12:00:00Z";

    #[test]
    fn an_event_is_due_within_the_lead_time_or_at_the_latest_safe_start() {
        let event = event("Reboot", "Scheduled", NOON);
        let due = |now: &str, needed| {
            let needed = Duration::from_mins(needed);
            is_due(&event, now.parse().unwrap(), Duration::from_mins(30), needed)
        };
        assert!(!due("2026-11-23T11:29:00Z", 1));
        assert!(due("2026-11-23T11:30:00Z", 1));
        assert!(due("2026-11-23T11:10:00Z", 50), "the pods need longer than the lead time");
        assert!(due("2026-11-23T13:00:00Z", 1));
    }

    #[test]
    fn a_time_that_is_over_or_unreadable_is_now() {
        let now = NOON.parse().unwrap();
        assert_eq!(time_left(&event("Reboot", "Scheduled", ""), now), Duration::ZERO);
        assert_eq!(time_left(&event("Reboot", "Scheduled", "soon"), now), Duration::ZERO);
        assert_eq!(time_left(&event("Reboot", "Started", "2026-11-23T13:00:00Z"), now), Duration::ZERO);
        assert_eq!(
            time_left(&event("Reboot", "Scheduled", "2026-11-23T12:01:00Z"), now),
            Duration::from_mins(1)
        );
    }

    #[test]
    fn limits_yield_where_the_machine_is_destroyed_and_waiting_would_be_too_late() {
        let needed = Duration::from_mins(2);
        let early: Timestamp = "2026-11-23T11:50:00Z".parse().unwrap();
        let late: Timestamp = "2026-11-23T11:58:00Z".parse().unwrap();
        for (event_type, at, yields) in [
            ("Preempt", early, true),
            ("Terminate", early, false),
            ("Terminate", late, true),
            ("Redeploy", late, false),
            ("Reboot", late, false),
            ("Freeze", late, false),
            ("Unheard-of", late, false),
        ] {
            assert_eq!(
                is_emergency(&event(event_type, "Scheduled", NOON), at, needed),
                yields,
                "{event_type}"
            );
        }
        assert!(is_emergency(&event("Terminate", "Started", ""), early, needed));
    }
}
