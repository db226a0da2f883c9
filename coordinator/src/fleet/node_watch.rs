//! Keeps the map of Nodes current by one watch.

use std::{collections::HashSet, pin::pin, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};

use super::{Fleet, NodeView};
use crate::{clock, watches::watch};

/// Small pages keep the peak low.
const PAGE: u32 = 100;

/// Watches all Nodes until the process ends. Lists are paged and read consistently: a streaming list would
/// take a third of the memory, but may be as old as the API server's cache, and a new leader decides on it.
pub(crate) async fn watch_nodes(client: Client, fleet: Arc<Fleet>) {
    loop {
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = pin!(watch(Api::<Node>::all(client.clone()), config));
        let mut listed = HashSet::new();
        loop {
            tokio::select! {
                () = fleet.relist_requested() => break,
                Some(event) = events.next() => take_in(&fleet, &mut listed, event),
            }
        }
    }
}

/// `listed` are the names that the present list has shown so far.
fn take_in(fleet: &Fleet, listed: &mut HashSet<String>, event: watcher::Result<Event<Node>>) {
    match event {
        Ok(Event::Init) => listed.clear(),
        Ok(Event::InitApply(node)) => {
            listed.extend(node.metadata.name.clone());
            apply(fleet, &node);
        }
        Ok(Event::InitDone) => {
            tracing::debug!(nodes = listed.len(), "nodes listed");
            fleet.change(|state| state.retain_listed(listed));
        }
        Ok(Event::Apply(node)) => apply(fleet, &node),
        Ok(Event::Delete(node)) => {
            if let (Some(name), Some(uid)) = (&node.metadata.name, &node.metadata.uid) {
                fleet.change(|state| state.delete_node(name, uid));
            }
        }
        Err(error) => tracing::warn!(%error, "the watch on nodes failed; it is tried again"),
    }
}

fn apply(fleet: &Fleet, node: &Node) {
    let Some(view) = NodeView::of(node) else { return };
    fleet.note_claim(&view);
    fleet.change(|state| state.apply_node(view, clock::monotonic()));
}
