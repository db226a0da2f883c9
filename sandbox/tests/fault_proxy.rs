//! Each effect of the fault proxy, on a real API server: what the caller gets, and what took effect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Client, Config};
use mechanic_sandbox::cluster::{Cluster, ClusterOptions, User};
use mechanic_sandbox::fault_proxy::{Effect, Fault, FaultProxy, Requests};
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(30);

struct World {
    cluster: Cluster,
    proxy: FaultProxy,
    /// Past the proxy.
    direct: Api<ConfigMap>,
}

impl World {
    async fn start() -> Self {
        let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
        let upstream = cluster.config(User::Sandbox).await.unwrap();
        let proxy = FaultProxy::new(&upstream, cluster.network().next_address().unwrap()).unwrap();
        let direct = Api::default_namespaced(cluster.client(User::Sandbox).await.unwrap());
        Self { cluster, proxy, direct }
    }

    /// Config maps as `caller` reaches them, with the sandbox's credentials.
    async fn through(&self, caller: &str) -> Api<ConfigMap> {
        let entrance = self.proxy.entrance(caller).await.unwrap();
        Api::default_namespaced(Client::try_from(self.config(entrance).await).unwrap())
    }

    async fn config(&self, entrance: SocketAddr) -> Config {
        let mut config = self.cluster.config(User::Sandbox).await.unwrap();
        config.cluster_url = format!("http://{entrance}").parse().unwrap();
        config
    }

    async fn exists(&self, name: &str) -> bool {
        self.direct.get_opt(name).await.unwrap().is_some()
    }
}

fn map(name: &str) -> ConfigMap {
    let data = BTreeMap::from([("text".to_owned(), format!("this is {name}"))]);
    let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
    ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
}

async fn create(api: &Api<ConfigMap>, name: &str) -> kube::Result<ConfigMap> {
    api.create(&PostParams::default(), &map(name)).await
}

fn spawn_creation(api: &Api<ConfigMap>, name: &'static str) -> JoinHandle<kube::Result<ConfigMap>> {
    let api = api.clone();
    tokio::spawn(async move { create(&api, name).await })
}

fn creation_of(name: &str) -> Requests {
    Requests::any().method("POST").path_contains("/configmaps").body_contains(&format!("this is {name}"))
}

/// Long enough for a request that nothing holds to have taken effect many times over.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

async fn until_it_exists(world: &World, name: &str) {
    let begun = Instant::now();
    while !world.exists(name).await {
        assert!(begun.elapsed() < LONG, "{name} never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn each_effect_does_what_it_says() {
    let world = World::start().await;
    let caller = world.through("caller").await;
    untouched(&world, &caller).await;
    hold(&world, &caller).await;
    hold_dies_with_its_caller(&world, &caller).await;
    hold_on_its_way(&world, &caller).await;
    hold_answer(&world, &caller).await;
    drops(&world, &caller).await;
    delay_and_answer(&world, &caller).await;
    only_what_was_meant(&world, &caller).await;
    watches(&world, &caller).await;
    world.cluster.stop().await.unwrap();
}

async fn untouched(world: &World, caller: &Api<ConfigMap>) {
    create(caller, "untouched").await.unwrap();
    assert!(world.exists("untouched").await);
    let conflict = create(caller, "untouched").await.unwrap_err();
    assert!(matches!(conflict, kube::Error::Api(status) if status.code == 409));
}

async fn hold(world: &World, caller: &Api<ConfigMap>) {
    let fault = world.proxy.inject(Fault::once(creation_of("held"), Effect::Hold));
    let request = spawn_creation(caller, "held");
    let seen = fault.hit(LONG).await.unwrap();
    assert_eq!((seen.caller.as_str(), seen.method.as_str()), ("caller", "POST"));
    assert!(seen.user_agent.contains("mechanic-sandbox"), "{}", seen.user_agent);
    a_while().await;
    assert!(!world.exists("held").await && !request.is_finished());
    fault.release();
    request.await.unwrap().unwrap();
    assert!(world.exists("held").await);

    let cleared = world.proxy.inject(Fault::once(creation_of("cleared"), Effect::Hold));
    let request = spawn_creation(caller, "cleared");
    cleared.hit(LONG).await.unwrap();
    cleared.clear();
    assert!(request.await.unwrap().is_err());
    assert!(!world.exists("cleared").await);
}

async fn hold_dies_with_its_caller(world: &World, caller: &Api<ConfigMap>) {
    let fault = world.proxy.inject(Fault::once(creation_of("orphan"), Effect::Hold));
    let request = spawn_creation(caller, "orphan");
    fault.hit(LONG).await.unwrap();
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    a_while().await;
    fault.release();
    a_while().await;
    assert!(!world.exists("orphan").await, "it was never sent on, so it died with its caller");
}

async fn hold_on_its_way(world: &World, caller: &Api<ConfigMap>) {
    let fault = world.proxy.inject(Fault::once(creation_of("late"), Effect::HoldOnItsWay));
    let request = spawn_creation(caller, "late");
    fault.hit(LONG).await.unwrap();
    request.abort();
    a_while().await;
    assert!(!world.exists("late").await);
    fault.release();
    until_it_exists(world, "late").await;
}

async fn hold_answer(world: &World, caller: &Api<ConfigMap>) {
    let fault = world.proxy.inject(Fault::once(creation_of("unanswered"), Effect::HoldAnswer));
    let request = spawn_creation(caller, "unanswered");
    until_it_exists(world, "unanswered").await;
    assert!(!request.is_finished());
    fault.release();
    request.await.unwrap().unwrap();
}

async fn drops(world: &World, caller: &Api<ConfigMap>) {
    let before = world.proxy.inject(Fault::once(creation_of("dropped"), Effect::DropBefore));
    let error = create(caller, "dropped").await.unwrap_err();
    assert!(!matches!(error, kube::Error::Api(_)), "{error}");
    assert!(!world.exists("dropped").await);
    create(caller, "dropped").await.unwrap();
    assert_eq!(before.hits(), 1);

    let after = world.proxy.inject(Fault::once(creation_of("done"), Effect::DropAfterTakingEffect));
    let error = create(caller, "done").await.unwrap_err();
    assert!(!matches!(error, kube::Error::Api(_)), "{error}");
    assert!(world.exists("done").await);
    assert_eq!(after.hits(), 1);
}

async fn delay_and_answer(world: &World, caller: &Api<ConfigMap>) {
    let time = Duration::from_millis(700);
    let slow = world.proxy.inject(Fault::once(creation_of("slow"), Effect::Delay(time)));
    let begun = Instant::now();
    create(caller, "slow").await.unwrap();
    assert!(begun.elapsed() >= time, "{:?}", begun.elapsed());
    assert_eq!(slow.hits(), 1);

    let refusal = Effect::refuse(429, "TooManyRequests");
    let refused = world.proxy.inject(Fault::always(creation_of("refused"), refusal));
    for _ in 0..2 {
        let error = create(caller, "refused").await.unwrap_err();
        assert!(matches!(&error, kube::Error::Api(status) if status.code == 429), "{error}");
    }
    assert_eq!(refused.hits(), 2);
    drop(refused);
    create(caller, "refused").await.unwrap();
}

async fn only_what_was_meant(world: &World, caller: &Api<ConfigMap>) {
    let other = world.through("other").await;
    let fault = world.proxy.inject(Fault::always(Requests::any().from("other"), Effect::DropBefore));
    create(caller, "mine").await.unwrap();
    assert_eq!(fault.hits(), 0);
    let error = fault.hit(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().contains("from other"), "a fault that met nothing says so: {error}");
    assert!(create(&other, "theirs").await.is_err());
    assert!(other.get("mine").await.is_err());
    assert_eq!(fault.hits(), 2);
}

async fn next_change(
    watch: &mut BoxStream<'_, kube::Result<WatchEvent<ConfigMap>>>,
) -> WatchEvent<ConfigMap> {
    loop {
        let event = tokio::time::timeout(LONG, watch.try_next()).await.unwrap().unwrap().unwrap();
        if !matches!(event, WatchEvent::Bookmark(_)) {
            return event;
        }
    }
}

async fn watches(world: &World, caller: &Api<ConfigMap>) {
    let quiet = world.through("quiet").await;
    let params = WatchParams::default().fields("metadata.name=watched");
    let mut watch = caller.watch(&params, "0").await.unwrap().boxed();
    let mut quiet_watch = quiet.watch(&params, "0").await.unwrap().boxed();
    create(&world.direct, "watched").await.unwrap();
    for stream in [&mut watch, &mut quiet_watch] {
        assert!(
            matches!(next_change(stream).await, WatchEvent::Added(_)),
            "it comes while the watch is open"
        );
    }
    world.proxy.cut_watches(Some("caller"));
    let end = tokio::time::timeout(LONG, async {
        while let Some(Ok(WatchEvent::Bookmark(_))) = watch.next().await {}
    });
    assert!(end.await.is_ok(), "it was cut");
    world.direct.delete("watched", &kube::api::DeleteParams::default()).await.unwrap();
    let event = next_change(&mut quiet_watch).await;
    assert!(matches!(event, WatchEvent::Deleted(_)), "another caller's watch goes on");
    let again = caller.watch(&params, "0").await;
    assert!(again.is_ok(), "new watches are let through");
}
