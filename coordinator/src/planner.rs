//! Observe, plan, act: the loop of the coordinator that leads.

use std::{sync::Arc, time::Duration};

use mechanic_leadership::Leadership;
use mechanic_plan::{Fleet as Snapshot, Monotonic, Plan, plan};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{act::Act, clock, fleet::FleetState, gate::Gate};

/// The first change is planned at once, further ones together after this long.
const COALESCE: Duration = Duration::from_millis(50);
/// Time passes without any change: deadlines come nearer, probes go mute.
const TICK: Duration = Duration::from_secs(1);

/// What was decided last, on which snapshot.
#[derive(Clone)]
pub(crate) struct Decided {
    pub(crate) fleet: Arc<Snapshot>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) at: Monotonic,
}

/// Plans and acts for as long as this process leads and isn't told to stop. Nothing runs any more when it
/// returns.
pub(crate) async fn run(
    epoch: u64,
    mut act: Act,
    gate: &Gate,
    mut leadership: watch::Receiver<Leadership>,
    decided: &watch::Sender<Option<Decided>>,
    shutdown: &CancellationToken,
) {
    let leading_since = clock::monotonic();
    let (fleet, metrics) = (act.fleet(), act.metrics());
    let mut tick = tokio::time::interval(TICK);
    fleet.relist();
    loop {
        act.settle_ended();
        if fleet.read(FleetState::is_known) {
            let leader = act.leader_pod_uid();
            let snapshot = Arc::new(fleet.read(|state| state.snapshot(epoch, leading_since, leader)));
            let now = clock::now();
            let plan = Arc::new(plan(&snapshot, now));
            metrics.show(&snapshot, &plan);
            act.steer(&snapshot, &plan);
            // A new leader looks for a while before it acts, and one whose Permit has run out waits.
            if gate.is_open() {
                act.start(&snapshot, &plan);
            }
            decided.send_replace(Some(Decided { fleet: snapshot, plan, at: now.monotonic }));
        }
        let not_before = Instant::now() + COALESCE;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                // In order: what was sent has its answer before anybody else may lead.
                gate.close().await;
                break;
            }
            _ = leadership.wait_for(|now| !matches!(now, Leadership::Leading { .. })) => break,
            () = fleet.changed() => {}
            () = act.next_end() => {}
            _ = tick.tick() => {}
        }
        tokio::time::sleep_until(not_before).await;
    }
    act.end().await;
    metrics.show_nothing();
}
