//! The streams that are open: how many there may be, and which of a node's is the newest.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    callers::Refusal,
    fleet::SessionId,
    metrics::{Metrics, Open},
};

/// Twice the largest cluster; each takes some 50 kB.
const MOST: usize = 10_000;

/// All of them.
pub(super) struct Streams {
    sessions: AtomicU64,
    newest: Mutex<HashMap<String, (SessionId, CancellationToken)>>,
    room: Arc<Semaphore>,
    metrics: Metrics,
}

/// One that is open until it is dropped.
pub(super) struct OpenStream {
    pub(super) id: SessionId,
    /// Cancelled when a newer stream speaks for its node.
    pub(super) replaced: CancellationToken,
    pub(super) node: String,
    streams: Arc<Streams>,
    _permit: OwnedSemaphorePermit,
    _counted: Open,
}

impl Streams {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            sessions: AtomicU64::default(),
            newest: Mutex::default(),
            room: Arc::new(Semaphore::new(MOST)),
            metrics,
        }
    }

    /// Opens one for a node; the older one ends.
    pub(super) fn open(self: &Arc<Self>, node: &str) -> Result<OpenStream, Refusal> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Refusal::TooManyStreams)?;
        let id = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        let replaced = CancellationToken::new();
        let older = self.newest().insert(node.to_owned(), (id, replaced.clone()));
        if let Some((_, older)) = older {
            older.cancel();
        }
        Ok(OpenStream {
            id,
            replaced,
            node: node.to_owned(),
            streams: Arc::clone(self),
            _permit: permit,
            _counted: self.metrics.stream(),
        })
    }

    fn newest(&self) -> std::sync::MutexGuard<'_, HashMap<String, (SessionId, CancellationToken)>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut newest = self.streams.newest();
        if newest.get(&self.node).is_some_and(|(id, _)| *id == self.id) {
            newest.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stream_of_a_node_ends_the_older_one_and_no_other() {
        let streams = Arc::new(Streams::new(Metrics::new()));
        let [first, other, second] = ["a", "b", "a"].map(|node| streams.open(node).unwrap());
        assert!(first.replaced.is_cancelled());
        assert!(!other.replaced.is_cancelled() && !second.replaced.is_cancelled());
        drop(first);
        let third = streams.open("a").unwrap();
        assert!(second.replaced.is_cancelled(), "the end of an older one hides the newer");
        drop((other, second, third));
        assert!(streams.newest().is_empty());
        assert_eq!(streams.room.available_permits(), MOST);
    }

    #[test]
    fn there_is_room_for_so_many() {
        let streams = Arc::new(Streams::new(Metrics::new()));
        let open: Vec<_> = (0..MOST).map(|number| streams.open(&number.to_string()).unwrap()).collect();
        assert_eq!(streams.open("one more").err(), Some(Refusal::TooManyStreams));
        drop(open);
        assert!(streams.open("one more").is_ok());
    }
}
