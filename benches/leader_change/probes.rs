//! Probes of this process: each is the uplink of the real one, with readings as an idle metadata service gives them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use mechanic_probe::{
    document::Document,
    evidence::Polled,
    identity::Identity,
    reading::{Reading, Readings},
    uplink::{Coordinators, Reporter, Uplink},
};
use mechanic_proto::v1::VirtualMachine;
use mechanic_sandbox::nodes::NodeSpec;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::ground::Ground;

/// What the real one does when nobody says otherwise.
const POLL_EVERY: Duration = Duration::from_secs(1);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// They end when this is dropped.
pub(crate) struct Probes {
    _tasks: JoinSet<()>,
}

impl Probes {
    /// All at once, as after a rollout of everything.
    pub(crate) fn start(ground: &Ground, count: u32) -> Result<Self> {
        let address = ground.world.installation.coordinator_address()?.to_string();
        let document = Bytes::from_static(br#"{"DocumentIncarnation":1,"Events":[]}"#);
        let document = Document::judge(200, document).ok().context("an empty document can't be read")?;
        let mut tasks = JoinSet::new();
        for node in ground.bare.iter().take(count as usize) {
            let readings: Readings = Arc::new(watch::Sender::new(Reading::default()));
            readings.send_modify(|reading| reading.identity = identity(node));
            let uplink = Uplink {
                coordinators: Coordinators {
                    address: address.clone(),
                    authorities_file: ground.authorities.clone(),
                    token_file: ground.tokens.join(&node.name),
                },
                reporter: Reporter {
                    instance: node.name.clone(),
                    started: Instant::now(),
                    node_name: node.name.clone(),
                },
                heartbeat_every: HEARTBEAT_EVERY,
            };
            tasks.spawn(poll(Arc::clone(&readings), document.clone()));
            tasks.spawn(async move { uplink.report(&readings).await });
        }
        Ok(Self { _tasks: tasks })
    }
}

/// Each in its own phase.
async fn poll(readings: Readings, document: Document) {
    sleep(POLL_EVERY.mul_f64(rand::random())).await;
    loop {
        let polled = Polled { asked: Instant::now(), answered: Instant::now() };
        readings.send_modify(|reading| drop(reading.valid(document.clone(), polled)));
        sleep(POLL_EVERY).await;
    }
}

fn identity(node: &NodeSpec) -> Identity {
    Identity {
        boot_id: node.boot_id.clone(),
        virtual_machine: Some(VirtualMachine {
            vm_id: node.vm_id.clone(),
            resource_id: node.provider_id.trim_start_matches("azure://").to_owned(),
            name: node.vm_name(),
            placement_group_id: String::new(),
        }),
    }
}
