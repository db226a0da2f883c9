//! The watches that a coordinator lives by, and whether they live.
//!
//! kube's watcher can't say so itself: where it resumes a watch after a failure, and nothing changes, it yields nothing,
//! however well it works. So it is looked at from below, at the answers: a watch lives while the API server is answering
//! it, and is dead where it hasn't for a while, whether it is refused, nobody is reached, or no answer comes. One whose other
//! end is gone without a word is given up by the watcher five seconds after the API server was to end it.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::Stream;
use http::Request;
use http_body_util::BodyExt as _;
use kube::{
    Api, Client, Error, Resource,
    client::Body,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Config, Event, watcher},
    },
};
use mechanic_leadership::CappedBackoff;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tower::service_fn;

/// The API server ends each watch after this many seconds, and it is resumed.
const WATCH_SECONDS: u32 = 60;
/// kube's own grows to a minute: too long to be ready again soon after an outage.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// Who takes a request and never answers, as a stalled API server does, must not keep a watch from its next try.
const ANSWER: Duration = Duration::from_secs(30);
/// An outage as short as the restart of an API server says nothing against who rides it out.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// All of them, by what they are on.
#[derive(Clone, Default)]
pub(crate) struct Watches(Arc<Mutex<BTreeMap<&'static str, Course>>>);

/// How one goes.
#[derive(Debug)]
struct Course {
    /// Answers that are flowing: more than one for moments only, when one follows another.
    open: usize,
    /// When it was begun, or an answer ended last.
    since: Instant,
}

/// A watch on all of that, for as long as it is polled.
pub(crate) fn watch<K>(api: Api<K>, config: Config) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config.timeout(WATCH_SECONDS)).backoff(CappedBackoff::new(LONGEST_BACKOFF))
}

impl Watches {
    /// A client for the watch on `what`, which is looked after from now on.
    pub(crate) fn client(&self, what: &'static str, client: &Client) -> Client {
        self.lock().insert(what, Course { open: 0, since: Instant::now() });
        let (watches, through) = (self.clone(), client.clone());
        let send = service_fn(move |request: Request<Body>| {
            let (watches, through) = (watches.clone(), through.clone());
            async move {
                let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
                let answer = tokio::time::timeout(ANSWER, through.send(request)).await;
                let answer = answer.map_err(|_| Error::Service("the API server doesn't answer".into()))??;
                let open = (is_watch && answer.status().is_success()).then(|| Open::new(watches, what));
                // It is open for as long as its answer is.
                Ok::<_, Error>(answer.map(|body| {
                    body.map_frame(move |frame| {
                        let _ = &open;
                        frame
                    })
                }))
            }
        });
        Client::new(send, client.default_namespace())
    }

    /// Nobody needs this one any more.
    pub(crate) fn forget(&self, what: &'static str) {
        self.lock().remove(what);
    }

    /// Those that are dead, each as a clause.
    pub(crate) fn dead(&self) -> Vec<String> {
        let is_dead = |course: &Course| course.open == 0 && course.since.elapsed() >= DEAD_AFTER;
        let watches = self.lock();
        let dead = watches.iter().filter(|(_, course)| is_dead(course));
        dead.map(|(what, course)| format!("no watch on {what} for {} s", course.since.elapsed().as_secs()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Course>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is flowing, until it is dropped.
struct Open {
    watches: Watches,
    what: &'static str,
}

impl Open {
    fn new(watches: Watches, what: &'static str) -> Self {
        if let Some(course) = watches.lock().get_mut(what) {
            course.open += 1;
        }
        Self { watches, what }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(course) = self.watches.lock().get_mut(self.what) {
            course.open = course.open.saturating_sub(1);
            course.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use bytes::Bytes;
    use futures::{StreamExt as _, stream};
    use http::{Response, StatusCode};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody, combinators::UnsyncBoxBody};
    use k8s_openapi::api::core::v1::ConfigMap;
    use tokio::{sync::watch as channel, time::sleep};
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    const NAME: &str = "ConfigMap mechanic";

    #[derive(Clone, Copy, PartialEq)]
    enum ApiServer {
        /// Lists nothing, and has no news ever.
        Quiet,
        /// Refuses watches, and cuts those that are open.
        Refuses,
        /// Answers nothing any more, and cuts watches that are open.
        Stalls,
        /// Says nothing more, in what is open too.
        Gone,
    }

    type Answer = UnsyncBoxBody<Bytes, io::Error>;

    fn body(text: &'static str) -> Answer {
        Full::from(text).map_err(|never| match never {}).boxed_unsync()
    }

    async fn answer(
        mut now: channel::Receiver<ApiServer>,
        request: Request<Body>,
    ) -> Result<Response<Answer>, Error> {
        let is_watch = request.uri().query().unwrap_or_default().contains("watch=true");
        let state = *now.borrow_and_update();
        let (status, body) = match state {
            ApiServer::Stalls | ApiServer::Gone => std::future::pending().await,
            ApiServer::Refuses if is_watch => (StatusCode::SERVICE_UNAVAILABLE, body("{}")),
            ApiServer::Quiet if is_watch => {
                let cut = async move {
                    let _ = now.wait_for(|now| matches!(now, ApiServer::Refuses | ApiServer::Stalls)).await;
                    Err::<Frame<Bytes>, _>(io::Error::other("cut"))
                };
                (StatusCode::OK, StreamBody::new(stream::once(cut)).boxed_unsync())
            }
            ApiServer::Quiet | ApiServer::Refuses => {
                (StatusCode::OK, body(r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Ok(response)
    }

    /// A watch on such an API server, for as long as it is held.
    fn watched() -> (channel::Sender<ApiServer>, Watches, AbortOnDropHandle<()>) {
        let (api_server, now) = channel::channel(ApiServer::Quiet);
        let client = Client::new(service_fn(move |request| answer(now.clone(), request)), "mechanic");
        let watches = Watches::default();
        let api: Api<ConfigMap> = Api::default_namespaced(watches.client(NAME, &client));
        let polled = tokio::spawn(watch(api, Config::default()).for_each(async |_| {}));
        (api_server, watches, AbortOnDropHandle::new(polled))
    }

    async fn after(seconds: u64, watches: &Watches) -> Vec<String> {
        sleep(Duration::from_secs(seconds)).await;
        watches.dead()
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_has_nothing_to_show_lives() {
        let (_api_server, watches, _polled) = watched();
        for _ in 0..60 {
            assert!(after(10, &watches).await.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_refused_or_not_answered_is_dead_after_a_while_and_lives_again_without_any_news() {
        for failure in [ApiServer::Refuses, ApiServer::Stalls] {
            let (api_server, watches, _polled) = watched();
            assert!(after(10, &watches).await.is_empty());
            api_server.send_replace(failure);
            assert!(after(25, &watches).await.is_empty(), "an outage this short says nothing");
            let dead = after(10, &watches).await.join(", ");
            assert!(dead.starts_with(&format!("no watch on {NAME} for 3")), "{dead}");
            assert!(!after(120, &watches).await.is_empty());
            api_server.send_replace(ApiServer::Quiet);
            assert!(after(40, &watches).await.is_empty(), "nothing changes, and yet it lives");
            assert!(after(120, &watches).await.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_whose_other_end_is_gone_without_a_word_is_dead_too() {
        let (api_server, watches, _polled) = watched();
        assert!(after(10, &watches).await.is_empty());
        api_server.send_replace(ApiServer::Gone);
        assert!(!after(100, &watches).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_came_about_is_dead_and_one_that_nobody_needs_is_not() {
        let (api_server, watches, _polled) = watched();
        api_server.send_replace(ApiServer::Stalls);
        assert!(!after(40, &watches).await.is_empty());
        watches.forget(NAME);
        assert!(watches.dead().is_empty());
    }
}
