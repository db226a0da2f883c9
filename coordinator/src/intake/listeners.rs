//! Lets people listen to what probes say, as it comes. Costs nothing while nobody does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use mechanic_proto::v1::{
    WatchObservationsResponse, report_request::Message as Request,
    watch_observations_response::Message as Heard,
};
use tokio::sync::broadcast;
use tokio_stream::{
    Stream, StreamExt, wrappers::BroadcastStream, wrappers::errors::BroadcastStreamRecvError,
};

/// Messages that a listener may be behind.
const BACKLOG: usize = 64;

/// Everybody who listens, by node.
#[derive(Clone, Default)]
pub(crate) struct Listeners {
    nodes: Arc<Mutex<HashMap<String, broadcast::Sender<Request>>>>,
}

impl Listeners {
    /// Hands on what the probe on `node` says.
    pub(super) fn hear(&self, node: &str, message: &Request) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        // An error says that whoever listened has gone.
        if nodes.get(node).is_some_and(|listeners| listeners.send(message.clone()).is_err()) {
            nodes.remove(node);
        }
    }

    /// What the probe on `node` says from now on.
    pub(crate) fn listen(&self, node: String) -> impl Stream<Item = WatchObservationsResponse> + use<> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let listeners = nodes.entry(node).or_insert_with(|| broadcast::Sender::new(BACKLOG));
        BroadcastStream::new(listeners.subscribe()).map(|heard| {
            let message = match heard {
                Ok(Request::Hello(hello)) => Heard::Hello(hello),
                Ok(Request::Observation(observation)) => Heard::Observation(observation),
                Ok(Request::Heartbeat(heartbeat)) => Heard::Heartbeat(heartbeat),
                Err(BroadcastStreamRecvError::Lagged(missed)) => Heard::Missed(missed),
            };
            WatchObservationsResponse { message: Some(message) }
        })
    }
}

#[cfg(test)]
mod tests {
    use mechanic_proto::v1::{Heartbeat, Hello};

    use super::*;

    #[tokio::test]
    async fn a_listener_hears_one_node_and_what_it_missed() {
        let listeners = Listeners::default();
        let hello = |boot: &str| Request::Hello(Hello { boot_id: boot.into(), ..Hello::default() });
        listeners.hear("a", &hello("before"));
        let mut heard = listeners.listen("a".into());
        listeners.hear("b", &hello("other"));
        listeners.hear("a", &hello("own"));
        let first = heard.next().await.unwrap().message;
        assert!(matches!(first, Some(Heard::Hello(hello)) if hello.boot_id == "own"));
        for _ in 0..=BACKLOG {
            listeners.hear("a", &Request::Heartbeat(Heartbeat::default()));
        }
        assert_eq!(heard.next().await.unwrap().message, Some(Heard::Missed(1)));
        assert!(matches!(heard.next().await.unwrap().message, Some(Heard::Heartbeat(_))));
    }
}
