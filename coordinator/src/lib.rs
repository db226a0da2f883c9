//! The coordinator: watches all nodes, decides for the whole cluster, and cordons, drains and releases nodes.
//!
//! One circle. Probes report to [`intake`], the API server to [`fleet`]; [`planner`] hands the snapshot of
//! both to `mechanic_plan::plan` and its answer to [`act`], which writes Nodes through [`node_writes`] and
//! drains them through [`drain`], all past the one [`gate`]; what comes of it is observed again.

mod act;
mod arguments;
mod callers;
mod check;
mod clock;
mod drain;
mod dry_run;
mod events;
mod fleet;
mod fleet_service;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gate;
mod http_server;
mod intake;
mod kubernetes;
mod listen;
mod log;
mod metrics;
mod node_writes;
mod note;
mod outcomes;
mod planner;
mod release;
mod server;
mod story;
mod succession;
#[cfg(test)]
mod testing;
mod tls;
mod watches;

use std::sync::Arc;

use anyhow::{Result, bail};
use mechanic_leadership::{Candidate, Leadership, Timing};
use mechanic_proto::v1::fleet_service_server::FleetServiceServer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;

pub use arguments::{Arguments, CertificateFiles, Invocation, LogFormat};
pub use check::Check;
pub use log::Log;
pub use release::Release;

use crate::{
    act::{Act, Effects},
    callers::Callers,
    drain::Evictions,
    events::Events,
    fleet::{AcceptedSettings, Fleet, FleetState, watch_budgets, watch_config, watch_nodes},
    fleet_service::{FleetReader, ForwardToLeader},
    gate::Gate,
    http_server::HttpServer,
    intake::{Intake, Listeners},
    kubernetes::Clients,
    metrics::Metrics,
    node_writes::NodeWrites,
    planner::Decided,
    server::GrpcServer,
    succession::Successors,
    watches::Watches,
};

const LEASE: &str = "mechanic-coordinator";
const LEASE_WATCH: &str = "the Lease";

/// Runs a coordinator until `shutdown`, or until it has lost the Lease.
///
/// # Errors
/// Where it can't start, and where it has lost the Lease: the process must end then, and start anew as a
/// follower.
pub async fn run(arguments: Arguments, log: Log, shutdown: CancellationToken) -> Result<()> {
    let Arguments { listen, listen_http, pod_name, pod_uid, node_name, pod_namespace: namespace, .. } =
        arguments;
    let clients = Clients::new().await?;
    let metrics = Metrics::new();
    let watches = Watches::default();
    let http = HttpServer::bind(listen_http, metrics.clone(), watches.clone()).await?;
    let ready = http.ready();
    let fleet = Arc::new(Fleet::new(&node_name));

    // Observe.
    let observing = CancellationToken::new();
    let _stop_observing = observing.clone().drop_guard();
    until(&observing, http.serve());
    let watching = |what| watches.client(what, &clients.watching);
    until(&observing, watch_nodes(watching("Nodes"), Arc::clone(&fleet)));
    until(&observing, watch_budgets(watching("PodDisruptionBudgets"), fleet.budgets()));
    let accepted_settings = AcceptedSettings::new(clients.acting.clone(), &namespace);
    let config = watch_config(
        watching("the ConfigMap"),
        namespace.clone(),
        accepted_settings.clone(),
        Arc::clone(&fleet),
        metrics.clone(),
        log,
    );
    until(&observing, config);

    // Who this is to callers; then lead, or follow, not before the claims are known, which the next epoch must be above.
    let identity = tls::establish(
        clients.acting.clone(),
        &namespace,
        arguments.certificate_files,
        arguments.authority_overlap,
    );
    let (identity, keep_identity) = tokio::select! {
        established = identity => established?,
        () = shutdown.cancelled() => return Ok(()),
    };
    until(&observing, keep_identity);
    tokio::select! {
        () = known(&fleet) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    let candidate = Candidate::new(&pod_name, &listen.to_string(), &namespace, LEASE);
    let stand_down = CancellationToken::new();
    let (permits, leadership, elector) = mechanic_leadership::start(
        clients.electing,
        watching(LEASE_WATCH),
        &candidate,
        Timing::default(),
        fleet.circumstances(),
        stand_down.clone(),
    )?;

    // Serve.
    let (decide, decided) = watch::channel(None);
    let callers = Callers::new(clients.reading.clone(), &namespace, metrics.clone());
    let listeners = Listeners::default();
    let intake = Intake::new(
        Arc::clone(&fleet),
        callers.clone(),
        leadership.clone(),
        listeners.clone(),
        metrics.clone(),
    );
    let fleet_service =
        FleetServiceServer::new(FleetReader { decided, fleet: Arc::clone(&fleet), listeners });
    let fleet_service =
        ForwardToLeader::new(fleet_service, callers, leadership.clone(), identity.clone(), metrics.clone());
    let server = GrpcServer::bind(listen, identity, metrics.clone(), intake, fleet_service).await?;
    // A follower is ready too, since it redirects probes.
    server.health().set_service_status("", ServingStatus::Serving).await;
    ready.cancel();
    let serving = CancellationToken::new();
    let mut server = tokio::spawn(server.serve(serving.clone()));

    // Plan and act.
    let gate = Gate::new(permits, Arc::clone(&fleet));
    let successors = Successors::new(clients.reading.clone(), &namespace, &node_name, &pod_uid);
    let effects = Effects {
        fleet,
        leader_pod_uid: pod_uid,
        reading: clients.reading,
        gate: gate.clone(),
        node_writes: NodeWrites::new(clients.acting.clone(), gate.clone()),
        evictions: Evictions::new(clients.acting.clone(), gate.clone()),
        events: Events::new(clients.acting, gate.clone(), &pod_name),
        accepted_settings,
        metrics: metrics.fleet.clone(),
        namespace,
    };
    let effects = Arc::new(effects);
    let outcome = tokio::select! {
        outcome = lead(effects, gate, leadership, decide, &successors, &watches, &shutdown) => outcome,
        // A coordinator that nobody can report to must not lead.
        ended = &mut server => return ended?.and_then(|()| bail!("the gRPC server has ended")),
    };

    // No work is under way any more; only now somebody else may lead.
    stand_down.cancel();
    elector.await?;
    serving.cancel();
    server.await??;
    outcome
}

/// Plans and acts whenever this process leads; returns once it is told to stop, has led and doesn't any more, or hands over
/// since its own node is about to be hit.
async fn lead(
    effects: Arc<Effects>,
    gate: Gate,
    mut leadership: watch::Receiver<Leadership>,
    decide: watch::Sender<Option<Decided>>,
    successors: &Successors,
    watches: &Watches,
    shutdown: &CancellationToken,
) -> Result<()> {
    let shutdown = &shutdown.child_token();
    loop {
        let now = leadership.borrow_and_update().clone();
        match now {
            Leadership::Leading { epoch } => {
                tracing::info!(epoch, "leading");
                // It is renewed from now on, and no longer watched.
                watches.forget(LEASE_WATCH);
                let act = Act::new(Arc::clone(&effects));
                let hand_over = async {
                    let why = successors.wanted(decide.subscribe()).await;
                    tracing::info!(epoch, "no longer leading: {why}");
                    shutdown.cancel();
                };
                let plan = planner::run(epoch, act, &gate, leadership.clone(), &decide, shutdown);
                tokio::pin!(plan);
                tokio::select! {
                    () = &mut plan => {}
                    () = hand_over => plan.await,
                }
                decide.send_replace(None);
                // What ended it is not seen yet, or it was the order to stop.
                if !shutdown.is_cancelled() {
                    continue;
                }
            }
            Leadership::Lost { why } => bail!("the Lease is lost, so this process ends: {why}"),
            Leadership::Following { leader: Some(leader) } => {
                tracing::info!(leader = leader.holder, epoch = leader.epoch, "following");
            }
            Leadership::Following { leader: None } | Leadership::Unknown => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            changed = leadership.changed() => {
                if changed.is_err() {
                    bail!("the elector has ended, so this process ends");
                }
            }
        }
    }
}

async fn known(fleet: &Fleet) {
    while !fleet.read(FleetState::is_known) {
        fleet.changed().await;
    }
}

/// Runs a task until the token is cancelled.
fn until(stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = task => {}
        }
    });
}
