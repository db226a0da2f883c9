//! Keeps the map of Nodes current by one streaming watch.

use std::{collections::HashSet, pin::pin, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use mechanic_plan::ClaimOnNode;

use super::{Fleet, NodeView};

/// A half-open connection is noticed after this many seconds.
const WATCH_TIMEOUT: u32 = 60;

/// Watches all Nodes until the process ends.
pub(crate) async fn watch_nodes(client: Client, fleet: Arc<Fleet>) {
    loop {
        let config = watcher::Config::default().streaming_lists().timeout(WATCH_TIMEOUT);
        let mut events = pin!(watcher(Api::<Node>::all(client.clone()), config).default_backoff());
        let mut list = Listing::default();
        loop {
            tokio::select! {
                () = fleet.relist_requested() => break,
                Some(event) = events.next() => list.take_in(&fleet, event),
            }
        }
    }
}

/// The Nodes that the present list has shown. A streaming list has no event at its start, so a new one is
/// begun by what can only come at a start or after one that broke.
#[derive(Default)]
struct Listing {
    seen: HashSet<String>,
    done: bool,
}

impl Listing {
    fn take_in(&mut self, fleet: &Fleet, event: watcher::Result<Event<Node>>) {
        match event {
            Ok(Event::Init) => *self = Self::default(),
            Ok(Event::InitApply(node)) => {
                if std::mem::take(&mut self.done) {
                    self.seen.clear();
                }
                self.seen.extend(node.metadata.name.clone());
                apply(fleet, &node);
            }
            Ok(Event::InitDone) => {
                self.done = true;
                tracing::debug!(nodes = self.seen.len(), "nodes listed");
                fleet.change(|state| state.retain_listed(&self.seen));
            }
            Ok(Event::Apply(node)) => apply(fleet, &node),
            Ok(Event::Delete(node)) => {
                if let (Some(name), Some(uid)) = (&node.metadata.name, &node.metadata.uid) {
                    fleet.change(|state| state.delete_node(name, uid));
                }
            }
            Err(error) => {
                if !self.done {
                    self.seen.clear();
                }
                tracing::warn!(%error, "the watch on nodes failed; it is tried again");
            }
        }
    }
}

fn apply(fleet: &Fleet, node: &Node) {
    let Some(view) = NodeView::of(node) else { return };
    if let ClaimOnNode::Readable(claim) = &view.claim {
        fleet.note_epoch(claim.epoch);
    }
    fleet.change(|state| state.apply_node(view));
}
