//! The rules: kubectl's, but what must stay, stays, and the others go.

use jiff::Timestamp;

use super::{Controller, Pod, PodPhase, Verdict, Wave};
use crate::{
    decide::Departure,
    policy::{Fate, PodPolicy},
};

/// What a pod's fate hangs on beside the pod itself.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The UID of the leader's own pod.
    pub leader_pod_uid: String,
    /// What the pods are to leave for.
    pub departure: Departure,
    /// What people have decided of the pods of their node.
    pub policy: PodPolicy,
    /// The time of day.
    pub now: Timestamp,
}

/// Decides what a drain does with a pod. `leaving` is the first wave that isn't gone from the node yet.
///
/// What would be lost by leaving, or asks to stay, stays where the machine keeps its disks; where it doesn't, staying
/// saves nothing. [`PodPolicy`] can say otherwise.
#[must_use]
pub fn classify(pod: &Pod, surroundings: &Surroundings, leaving: Wave) -> Verdict {
    let Surroundings { leader_pod_uid, departure, policy, now } = surroundings;
    let finished = pod.phase == PodPhase::Finished;
    if pod.mirror {
        return Verdict::MirrorPod;
    } else if pod.controller.as_ref().is_some_and(Controller::is_daemon_set) && !finished {
        return Verdict::DaemonSetPod;
    } else if pod.terminating {
        return Verdict::Terminating;
    } else if pod.uid == *leader_pod_uid {
        return Verdict::Leader;
    } else if finished {
        return Verdict::Evict;
    } else if pod.came_back {
        return Verdict::CameBack;
    }
    let fates = policy.fates(pod, departure.worst);
    let kept_by = [
        (pod.controller.is_none(), fates.unmanaged, Verdict::Unmanaged),
        (pod.empty_dir, fates.empty_dir, Verdict::EmptyDir),
        (pod.asks_to_stay, fates.annotated, Verdict::Protected),
    ];
    let mut kept_by = kept_by.into_iter().filter(|(is_so, ..)| *is_so);
    if let Some((.., verdict)) = kept_by.clone().find(|(_, fate, _)| *fate == Fate::Stay) {
        verdict
    } else if pod.held_by_budget
        && fates.last_call
        && departure.last_call.is_some_and(|call| call.is_due(pod.grace, *now))
    {
        Verdict::LastCall
    } else if departure.urgent {
        Verdict::Evict
    } else if kept_by.any(|(_, fate, _)| fate == Fate::Wait) {
        Verdict::ProtectedForNow
    } else if pod.wave > leaving {
        Verdict::WaitingForWave
    } else {
        Verdict::Evict
    }
}

/// The first wave that isn't gone yet from a node with these pods.
#[must_use]
pub fn first_wave<'a>(pods: impl IntoIterator<Item = &'a Pod>, surroundings: &Surroundings) -> Wave {
    let leaving =
        pods.into_iter().filter(|pod| classify(pod, surroundings, pod.wave).must_leave()).map(|pod| pod.wave);
    leaving.min().unwrap_or(Wave::Critical)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        event::EventType,
        fleet::Node,
        pods::LastCall,
        policy::Policy,
        testing::{node, node_in},
    };

    fn departure(worst: EventType) -> Departure {
        Departure { worst, urgent: false, last_call: None }
    }

    const NOON: &str = "2026-11-26T12:00:00Z";

    fn verdict_of(pod: &Pod, departure: Departure, leaving: Wave) -> Verdict {
        let (policy, now) = (PodPolicy::default(), NOON.parse().unwrap());
        let surroundings = Surroundings { leader_pod_uid: "leader".into(), departure, policy, now };
        classify(pod, &surroundings, leaving)
    }

    fn pod() -> Pod {
        Pod {
            namespace: "default".into(),
            name: "web-1".into(),
            uid: "uid".into(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            phase: PodPhase::Active,
            controller: controller("apps/v1", "ReplicaSet"),
            mirror: false,
            empty_dir: false,
            asks_to_stay: false,
            came_back: false,
            held_by_budget: false,
            wave: Wave::Ordinary,
            terminating: false,
            grace: Duration::from_secs(30),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a pod holds")]
    fn controller(api_version: &str, kind: &str) -> Option<Controller> {
        Some(Controller { api_version: api_version.into(), kind: kind.into() })
    }

    #[test]
    fn each_pod_gets_its_verdict() {
        let daemon = Pod { controller: controller("apps/v1", "DaemonSet"), ..pod() };
        let finished = Pod { phase: PodPhase::Finished, ..pod() };
        let cases = [
            ("managed", pod(), Verdict::Evict),
            ("static", Pod { mirror: true, controller: None, ..pod() }, Verdict::MirrorPod),
            ("static and finished", Pod { mirror: true, ..finished.clone() }, Verdict::MirrorPod),
            ("of a DaemonSet", daemon.clone(), Verdict::DaemonSetPod),
            (
                "of a DaemonSet, with emptyDir",
                Pod { empty_dir: true, ..daemon.clone() },
                Verdict::DaemonSetPod,
            ),
            (
                "of a DaemonSet, terminating",
                Pod { terminating: true, ..daemon.clone() },
                Verdict::DaemonSetPod,
            ),
            ("of a DaemonSet, finished", Pod { phase: PodPhase::Finished, ..daemon }, Verdict::Evict),
            (
                "of another group's DaemonSet",
                Pod { controller: controller("apps.kruise.io/v1alpha1", "DaemonSet"), ..pod() },
                Verdict::Evict,
            ),
            ("terminating", Pod { terminating: true, ..pod() }, Verdict::Terminating),
            ("unmanaged", Pod { controller: None, ..pod() }, Verdict::Unmanaged),
            ("unmanaged and finished", Pod { controller: None, ..finished }, Verdict::Evict),
            ("with emptyDir", Pod { empty_dir: true, ..pod() }, Verdict::EmptyDir),
            ("that came back", Pod { came_back: true, ..pod() }, Verdict::CameBack),
            ("that asks to stay", Pod { asks_to_stay: true, ..pod() }, Verdict::Protected),
            ("critical", Pod { wave: Wave::Critical, ..pod() }, Verdict::WaitingForWave),
            ("the leader itself", Pod { uid: "leader".into(), ..pod() }, Verdict::Leader),
        ];
        for (name, pod, expected) in cases {
            let verdict = verdict_of(&pod, departure(EventType::Reboot), Wave::Ordinary);
            assert_eq!(verdict, expected, "{name}");
        }
    }

    #[test]
    fn what_would_be_lost_either_way_leaves() {
        let unmanaged = Pod { controller: None, ..pod() };
        let with_data = Pod { empty_dir: true, ..pod() };
        for (worst, stays) in [
            (EventType::Freeze, true),
            (EventType::Reboot, true),
            (EventType::Redeploy, false),
            (EventType::Terminate, false),
            (EventType::Preempt, false),
        ] {
            let expected = |verdict| if stays { verdict } else { Verdict::Evict };
            let verdict = |pod| verdict_of(pod, departure(worst), Wave::Ordinary);
            assert_eq!(verdict(&unmanaged), expected(Verdict::Unmanaged), "{worst:?}");
            assert_eq!(verdict(&with_data), expected(Verdict::EmptyDir), "{worst:?}");
        }
    }

    #[test]
    fn who_asks_to_stay_is_waited_for_until_the_latest_safe_start_where_the_machine_goes() {
        let protected = Pod { asks_to_stay: true, ..pod() };
        for (worst, urgent, expected) in [
            (EventType::Freeze, true, Verdict::Protected),
            (EventType::Reboot, true, Verdict::Protected),
            (EventType::Redeploy, false, Verdict::ProtectedForNow),
            (EventType::Terminate, false, Verdict::ProtectedForNow),
            (EventType::Terminate, true, Verdict::Evict),
            (EventType::Preempt, true, Verdict::Evict),
        ] {
            let verdict = verdict_of(&protected, Departure { urgent, ..departure(worst) }, Wave::Ordinary);
            assert_eq!(verdict, expected, "{worst:?} {urgent}");
        }
    }

    #[test]
    fn a_critical_pod_leaves_after_the_others_or_when_there_is_no_more_time() {
        let critical = Pod { wave: Wave::Critical, ..pod() };
        let verdict = |urgent, leaving| {
            verdict_of(&critical, Departure { urgent, ..departure(EventType::Redeploy) }, leaving)
        };
        assert_eq!(verdict(false, Wave::Ordinary), Verdict::WaitingForWave);
        assert_eq!(verdict(false, Wave::Critical), Verdict::Evict);
        assert_eq!(verdict(true, Wave::Ordinary), Verdict::Evict);
    }

    #[test]
    fn policy_decides_by_event_type_node_namespace_and_label_and_the_strictest_word_counts() {
        let policy = Policy::parse(
            "pods:
             - events: [Reboot]
               namespaces: [default]
               podSelector: {matchLabels: {app: web}}
               unmanaged: Leave
               emptyDir: Wait
             - events: [Terminate]
               unmanaged: Stay
             - events: [Redeploy]
               pools: [batch]
               zones: [westeurope-1]
               nodeSelector: {matchLabels: {team: vision}}
               unmanaged: Wait",
        )
        .unwrap();
        let verdict_on = |node: &Node, pod: &Pod, worst, urgent| {
            let departure = Departure { urgent, ..departure(worst) };
            let (leader_pod_uid, now) = (String::new(), NOON.parse().unwrap());
            let policy = policy.pods.on(node);
            let surroundings = Surroundings { leader_pod_uid, departure, policy, now };
            let verdict = classify(pod, &surroundings, Wave::Ordinary);
            (verdict, surroundings.policy.kept_by(pod, worst, verdict))
        };
        let verdict = |pod: &Pod, worst, urgent| verdict_on(&node("vm"), pod, worst, urgent).0;
        let unmanaged = Pod { controller: None, ..pod() };
        let with_data = Pod { empty_dir: true, ..unmanaged.clone() };
        let elsewhere = Pod { namespace: "shop".into(), ..unmanaged.clone() };
        let other = Pod { labels: [("app".to_owned(), "db".to_owned())].into(), ..unmanaged.clone() };
        for (name, pod, worst, urgent, expected) in [
            ("matches", &unmanaged, EventType::Reboot, false, Verdict::Evict),
            ("another namespace", &elsewhere, EventType::Reboot, false, Verdict::Unmanaged),
            ("another label", &other, EventType::Reboot, false, Verdict::Unmanaged),
            ("another event", &unmanaged, EventType::Freeze, false, Verdict::Unmanaged),
            ("waits", &with_data, EventType::Reboot, false, Verdict::ProtectedForNow),
            ("waits no longer", &with_data, EventType::Reboot, true, Verdict::Evict),
            ("stays", &elsewhere, EventType::Terminate, true, Verdict::Unmanaged),
        ] {
            assert_eq!(verdict(pod, worst, urgent), expected, "{name}");
        }
        let on = |pool: &str, zone: &str, team: &str| node_in(pool, zone, &[("team", team)]);
        for (node, expected) in [
            (on("batch", "westeurope-1", "vision"), Verdict::ProtectedForNow),
            (on("web", "westeurope-1", "vision"), Verdict::Evict),
            (on("batch", "westeurope-2", "vision"), Verdict::Evict),
            (on("batch", "westeurope-1", "speech"), Verdict::Evict),
        ] {
            assert_eq!(verdict_on(&node, &unmanaged, EventType::Redeploy, false).0, expected, "{node:?}");
        }
    }

    #[test]
    fn what_a_rule_keeps_names_its_line_and_what_is_usual_names_none() {
        let policy = Policy::parse("pods:\n- emptyDir: Stay\n- unmanaged: Wait\n  annotated: Leave").unwrap();
        let policy = policy.pods.on(&node("vm"));
        let orphan = Pod { controller: None, ..pod() };
        let line = |line, fate| Some(format!("the rule at line {line} of policy.yaml says {fate}"));
        for (pod, verdict, expected) in [
            (Pod { empty_dir: true, ..pod() }, Verdict::EmptyDir, line(2, "Stay")),
            (orphan.clone(), Verdict::ProtectedForNow, line(3, "Wait")),
            (pod(), Verdict::Evict, None),
        ] {
            let now = NOON.parse().unwrap();
            let (leader_pod_uid, departure) = (String::new(), departure(EventType::Reboot));
            let surroundings = Surroundings { leader_pod_uid, departure, policy: policy.clone(), now };
            assert_eq!(classify(&pod, &surroundings, Wave::Ordinary), verdict);
            assert_eq!(policy.kept_by(&pod, EventType::Reboot, verdict), expected);
        }
        assert_eq!(PodPolicy::default().kept_by(&orphan, EventType::Reboot, Verdict::Unmanaged), None);
    }

    #[test]
    fn a_last_call_is_for_what_a_budget_holds_when_its_own_grace_no_longer_fits() {
        let held = Pod { held_by_budget: true, ..pod() };
        let at = |text: &str| Some(LastCall::Before(text.parse().unwrap()));
        for (name, pod, last_call, expected) in [
            ("no last call", &held, None, Verdict::Evict),
            ("not held", &pod(), at("2026-11-26T12:00:10Z"), Verdict::Evict),
            ("time enough", &held, at("2026-11-26T12:00:31Z"), Verdict::Evict),
            ("no longer", &held, at("2026-11-26T12:00:30Z"), Verdict::LastCall),
            ("under way", &held, Some(LastCall::Now), Verdict::LastCall),
            (
                "on its way out",
                &Pod { terminating: true, ..held.clone() },
                Some(LastCall::Now),
                Verdict::Terminating,
            ),
        ] {
            let departure = Departure { worst: EventType::Terminate, urgent: true, last_call };
            assert_eq!(verdict_of(pod, departure, Wave::Ordinary), expected, "{name}");
        }
    }
}
