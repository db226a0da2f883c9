//! `mechanic-coordinator release --all`: gives back what mechanic holds, before it is uninstalled.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Parser;
use mechanic_leadership::{Candidate, Leadership, Timing};
use mechanic_plan::{ClaimOnNode, Node, NodeWrite};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    LEASE, clock,
    fleet::{Fleet, FleetState, Settings, watch_nodes},
    gate::Gate,
    known,
    kubernetes::Clients,
    node_writes::NodeWrites,
};

/// The Lease of a leader that was killed runs out in 15 s; one that is still held then is renewed.
const LEADS_WITHIN: Duration = Duration::from_secs(30);
const KNOWN_WITHIN: Duration = Duration::from_mins(1);
/// Nobody is at home there: probes that still ask are refused at once.
const ADDRESS: &str = "127.0.0.1:1";
/// How often a node is tried that others write to.
const ATTEMPTS: u32 = 20;
const AGAIN: Duration = Duration::from_millis(500);

/// Gives every node back that mechanic holds, whatever is announced, and touches nothing else.
///
/// It leads meanwhile, so no coordinator may: scale the Deployment to 0 first.
#[derive(Debug, Parser)]
#[command(name = "release")]
pub struct Release {
    /// All nodes; there is no other choice, and without it nothing is done.
    #[arg(long, required = true)]
    all: bool,
    /// Namespace of the Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "mechanic")]
    namespace: String,
    /// How the Lease names this process.
    #[arg(long, env = "POD_NAME", default_value = "mechanic-release")]
    pod_name: String,
}

impl Release {
    /// Prints what becomes of each node. The process ends with 1 where one is left as it is.
    ///
    /// # Errors
    /// Where a coordinator leads, or the API server can't be asked.
    pub async fn run(&self) -> Result<ExitCode> {
        let clients = Clients::new().await?;
        let fleet = Arc::new(Fleet::new(""));
        fleet.change(|state| state.set_settings(Settings::default()));
        let _watch = AbortOnDropHandle::new(tokio::spawn(watch_nodes(clients.reading, Arc::clone(&fleet))));
        let listed = async || {
            let listed = tokio::time::timeout(KNOWN_WITHIN, known(&fleet)).await;
            listed.context("the Nodes can't be listed; see the log")
        };
        listed().await?;

        let candidate = Candidate::new(&self.pod_name, ADDRESS, &self.namespace, LEASE);
        let end = CancellationToken::new();
        let (permits, leadership, elector) = mechanic_leadership::start(
            clients.electing,
            clients.watching,
            &candidate,
            Timing::default(),
            fleet.circumstances(),
            end.clone(),
        )?;
        let epoch = self.lead(leadership).await?;
        let gate = Gate::new(permits, Arc::clone(&fleet));
        // As a new leader does: what its predecessor had sent has landed by then, and is listed afresh.
        while !gate.is_open() {
            tokio::time::sleep(AGAIN).await;
        }
        fleet.relist();
        listed().await?;
        let all_released = give_back(&fleet, &NodeWrites::new(clients.acting, gate), epoch).await;
        end.cancel();
        elector.await?;
        Ok(if all_released { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn lead(&self, mut leadership: watch::Receiver<Leadership>) -> Result<u64> {
        let leads = leadership.wait_for(|now| matches!(now, Leadership::Leading { .. }));
        if let Ok(leads) = tokio::time::timeout(LEADS_WITHIN, leads).await {
            return match &*leads? {
                Leadership::Leading { epoch } => Ok(*epoch),
                _ => bail!("the election has ended"),
            };
        }
        let namespace = &self.namespace;
        let who = match &*leadership.borrow() {
            Leadership::Following { leader: Some(leader) } => leader.holder.clone(),
            _ => "somebody".to_owned(),
        };
        bail!(
            "{who} leads, so nothing was done; first: kubectl -n {namespace} scale deployment mechanic-coordinator --replicas 0"
        )
    }
}

/// Gives back one after the other. False if anything of mechanic's is left.
// People read it.
#[allow(clippy::print_stdout)]
async fn give_back(fleet: &Fleet, writes: &NodeWrites, epoch: u64) -> bool {
    let nodes = fleet.read(|state| state.snapshot(epoch, clock::monotonic(), "")).nodes;
    let (mut released, mut left) = (0, 0);
    for (name, node) in nodes {
        match release(fleet, writes, &name, node).await {
            Ok(None) => {}
            Ok(Some(what)) => {
                released += 1;
                println!("{name}: {what}");
            }
            Err(why) => {
                left += 1;
                println!("{name}: left as it is, since {why}");
            }
        }
    }
    println!("{released} nodes are given back, {left} are left as they are");
    left == 0
}

/// Gives one node back, if mechanic holds it.
async fn release(
    fleet: &Fleet,
    writes: &NodeWrites,
    name: &str,
    mut node: Arc<Node>,
) -> Result<Option<&'static str>, String> {
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        let claim = match &node.claim {
            ClaimOnNode::None | ClaimOnNode::LabelOnly => return Ok(None),
            ClaimOnNode::Unreadable(error) => return Err(error.to_string()),
            ClaimOnNode::Readable(claim) if claim.node_uid != node.uid => {
                return Err("its claim is about another Node of that name".to_owned());
            }
            ClaimOnNode::Readable(claim) => claim,
        };
        let write = NodeWrite::release(&node, claim);
        match writes.write(name, &node, &write).await {
            Ok(_) if matches!(write, NodeWrite::Release { uncordon: true }) => {
                return Ok(Some("given back; it takes pods again"));
            }
            Ok(_) => return Ok(Some("given back; it is as schedulable as somebody else wants it")),
            Err(error) => why = error.to_string(),
        }
        tokio::time::sleep(AGAIN).await;
        match writes.read(name).await {
            Ok(read) => fleet.take_in(name, &node.uid, read.as_ref()),
            Err(error) => why = error,
        }
        let Some(now) = fleet.read(|state: &FleetState| state.node(name)) else { return Ok(None) };
        node = now;
    }
    Err(why)
}
