//! The scenario that `cargo run -p mechanic-sandbox` plays.

use std::collections::BTreeMap;

use super::{Action, Expectations, PoolScript, Scenario, Step, Which, WorkloadKind, WorkloadScript};

/// One reboot, with its VM really gone for a while.
#[must_use]
pub fn one_reboot() -> Scenario {
    let event = || "reboot".to_owned();
    let cart = WorkloadScript {
        kind: WorkloadKind::Deployment,
        name: "cart".into(),
        replicas: 12,
        max_unavailable: Some(1),
        start_after: 5,
        stop_after: 2,
    };
    let search = WorkloadScript { name: "search".into(), replicas: 6, max_unavailable: None, ..cart.clone() };
    let logs =
        WorkloadScript { kind: WorkloadKind::DaemonSet, name: "logs".into(), replicas: 0, ..search.clone() };
    Scenario {
        title: "One reboot: 6 nodes, a Deployment behind a PodDisruptionBudget, one without, a DaemonSet"
            .into(),
        pools: vec![PoolScript { name: "apps".into(), nodes: 6 }],
        workloads: vec![cart, search, logs],
        // Documented keys: the defaults are made for Azure's pace, not for an audience's.
        config: BTreeMap::from([
            ("max-concurrent-drains".into(), "1".into()),
            ("release-hold".into(), "4s".into()),
            ("release-hold-after-boot".into(), "6s".into()),
        ]),
        steps: vec![
            Step {
                at: 0,
                action: Action::Announce {
                    event: event(),
                    event_type: "Reboot".into(),
                    vm: Which::WithoutCoordinator,
                    notice: 30,
                    avoidable: true,
                },
            },
            Step { at: 31, action: Action::Start { event: event() } },
            Step { at: 32, action: Action::PowerOff { event: event() } },
            Step { at: 37, action: Action::PowerOn { event: event() } },
            Step { at: 40, action: Action::Remove { event: event() } },
        ],
        expect: Expectations { budget_says_no_then_yes: true, given_back_within: 60 },
    }
}
