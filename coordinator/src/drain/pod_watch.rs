//! What the API server shows of a node's pods: a watch, and whole lists where the watch isn't enough.

use std::time::Duration;

use futures::Stream;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::{
    Api,
    api::ListParams,
    runtime::watcher::{self, Event},
};

use super::task::{Drain, DrainTarget, Shared, lock};
use crate::watches::watch;

/// Of a list; and as much of what the watch shows is taken in at once, since each turn goes through all pods.
pub(super) const PAGE: u32 = 500;
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

impl Drain {
    pub(super) fn watch(&self) -> impl Stream<Item = watcher::Result<Event<ApiPod>>> + use<> {
        let config = watcher::Config::default().fields(&self.selector()).page_size(PAGE);
        watch(Api::<ApiPod>::all(self.client.clone()), config)
    }

    /// A list that is read consistently, whole.
    pub(super) async fn list(&self) -> Result<Vec<ApiPod>, String> {
        let api = Api::<ApiPod>::all(self.client.clone());
        let mut parameters = ListParams::default().fields(&self.selector()).limit(PAGE);
        let mut pods = Vec::new();
        let pages = async {
            loop {
                let page = api.list(&parameters).await.map_err(|error| error.to_string())?;
                pods.extend(page.items);
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => parameters = parameters.clone().continue_token(&token),
                    None => return Ok(pods),
                }
            }
        };
        let listed = tokio::time::timeout(LIST_TIMEOUT, pages).await;
        let listed = listed.unwrap_or_else(|_| Err("it took too long".to_owned()));
        if let Err(error) = &listed {
            let DrainTarget { node_name: node, epoch, .. } = &self.target;
            let event = self.event();
            tracing::warn!(
                node,
                event,
                epoch,
                error,
                "the node's pods could not be listed; it is tried again"
            );
        }
        listed
    }

    fn selector(&self) -> String {
        format!("spec.nodeName={}", self.target.node_name)
    }
}

/// What came of the watch's news.
#[derive(Default)]
pub(super) struct News {
    /// A whole list has been shown.
    pub(super) listed: bool,
    /// The watch works, or has failed, as of the last of them.
    pub(super) failed: Option<bool>,
}

pub(super) fn take_in(node: &str, pods: &Shared, events: Vec<watcher::Result<Event<ApiPod>>>) -> News {
    let mut news = News::default();
    for event in events {
        news.failed = Some(event.is_err());
        match event {
            Ok(Event::Init) => lock(pods).begin_list(),
            Ok(Event::InitApply(pod)) => lock(pods).apply_listed(&pod),
            Ok(Event::InitDone) => {
                lock(pods).end_list();
                news.listed = true;
            }
            Ok(Event::Apply(pod)) => lock(pods).apply(&pod),
            Ok(Event::Delete(pod)) => lock(pods).delete(&pod),
            Err(error) => {
                tracing::warn!(node, %error, "the watch on the node's pods failed; it is tried again");
            }
        }
    }
    news
}
