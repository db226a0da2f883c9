//! mechanic's overlay, installed on a real control plane with small programs in the place of mechanic's own.
//!
//! The "image" is this test binary itself, started again: [`small_program`] is what runs in the pods.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, Config};
use mechanic_sandbox::azure::Azure;
use mechanic_sandbox::cluster::{Cluster, ClusterOptions, User};
use mechanic_sandbox::fault_proxy::{Effect, Fault, FaultProxy, Requests};
use mechanic_sandbox::install::{InstallOptions, Installation, PodProcess, azure_of};
use mechanic_sandbox::nodes::{NodeSpec, Pool};
use mechanic_sandbox::programs::workspace;
use tokio::io::AsyncWriteExt;

const LONG: Duration = Duration::from_mins(1);

struct World {
    cluster: Cluster,
    azure: Azure,
    nodes: Vec<NodeSpec>,
}

impl World {
    async fn with_nodes(count: u32) -> Self {
        let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
        let nodes = Pool::new("userpool").nodes(count);
        cluster.nodes().await.unwrap().create_ready(&nodes, LONG).await.unwrap();
        let azure = azure_of(&cluster).await.unwrap();
        Self { cluster, azure, nodes }
    }

    async fn install(&self, change: impl FnOnce(&mut InstallOptions)) -> Installation {
        let program = small_program_in(self.cluster.run_folder());
        let images = ["mechanic-probe", "mechanic-coordinator"];
        let mut options = InstallOptions::with_programs(images.map(|image| (image, program.clone())));
        options.restart_backoff = Duration::from_secs(1);
        change(&mut options);
        let overlay = workspace().join("deploy/overlays/default");
        let installation = Installation::apply(&self.cluster, &self.azure, &overlay, options).await.unwrap();
        installation.wait_ready(LONG).await.unwrap();
        installation
    }

    async fn api_pod(&self, pod: &PodProcess) -> Option<Pod> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client(User::Person).await.unwrap(), &pod.namespace);
        api.get_opt(&pod.pod).await.unwrap().filter(|found| found.metadata.uid.as_ref() == Some(&pod.uid))
    }
}

/// A program that a container can start: a script, since the pods' arguments aren't those of a test binary.
fn small_program_in(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let script = folder.join("small-program");
    let tests = std::env::current_exe().unwrap();
    let line = format!(
        "#!/bin/sh\nSMALL_PROGRAM_ARGS=\"$*\" exec '{}' --ignored --exact small_program --nocapture\n",
        tests.display()
    );
    std::fs::write(&script, line).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// What runs in the pods: serves gRPC health where `--listen` says, is ready where `--listen-http` says, and ends on
/// SIGTERM.
#[tokio::test]
#[ignore = "not a test: the program that the pods of the other tests run"]
async fn small_program() {
    let Ok(args) = std::env::var("SMALL_PROGRAM_ARGS") else { return };
    println!("started with {args:?}");
    let mut asked_to_end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    let address = |flag: &str| -> Option<SocketAddr> {
        args.split(' ').find_map(|arg| arg.strip_prefix(flag)).map(|address| address.parse().unwrap())
    };
    if let Some(address) = address("--listen-http=") {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await;
            }
        });
    }
    if let Some(address) = address("--listen=") {
        let (_reporter, health) = tonic_health::server::health_reporter();
        let server = tonic::transport::Server::builder().add_service(health);
        tokio::spawn(server.serve(address));
    }
    asked_to_end.recv().await;
    println!("ended in order");
}

fn environment_of(pid: u32) -> BTreeMap<String, String> {
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.split('\0').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
}

fn is_alive(pid: u32) -> bool {
    // A zombie has a folder, too.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn kill_dead(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < LONG, "{what} didn't come about");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn review(client: Client, token: String) -> TokenReviewStatus {
    let api: Api<TokenReview> = Api::all(client);
    let spec = TokenReviewSpec { token: Some(token), audiences: Some(vec!["mechanic-coordinator".into()]) };
    let review = TokenReview { spec, ..TokenReview::default() };
    api.create(&PostParams::default(), &review).await.unwrap().status.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_sets_pod_is_a_process_with_a_token_of_its_own_from_start_to_end() {
    let world = World::with_nodes(2).await;
    let installation = world.install(|_| {}).await;
    let node = &world.nodes[0];
    let probe = installation.probe_on(&node.name).unwrap();
    let pid = probe.pid.unwrap();

    // The environment that stands in for a real node.
    let env = environment_of(pid);
    assert_eq!(env["NODE_NAME"], node.name);
    assert!(!env.contains_key("HOME"), "nothing of the tests' own environment: {env:?}");
    assert!(!env.contains_key("KUBECONFIG"), "a probe has no business with the API server");
    let imds = world.azure.imds_address(&node.vm_name()).unwrap();
    assert_eq!(env["MECHANIC_IMDS_ADDRESS"], imds.to_string());
    let boot_id = std::fs::read_to_string(&env["MECHANIC_BOOT_ID_FILE"]).unwrap();
    assert_eq!(boot_id.trim(), node.boot_id);

    // The token is bound to this pod, and so to its node.
    let token = std::fs::read_to_string(&env["MECHANIC_TOKEN_FILE"]).unwrap();
    let status = review(world.cluster.client(User::Admin).await.unwrap(), token).await;
    assert_eq!(status.authenticated, Some(true), "{status:?}");
    let extra = status.user.unwrap().extra.unwrap();
    assert_eq!(extra["authentication.kubernetes.io/node-name"], [node.name.as_str()]);
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], [probe.pod.as_str()]);

    // A crash shows, and is made good.
    kill_dead(pid);
    let again = installation.wait_for("a restart", LONG, |pods| {
        pods.iter().find(|pod| pod.uid == probe.uid && pod.restarts == 1 && pod.ready).cloned()
    });
    let again = again.await.unwrap();
    assert_ne!(again.pid.unwrap(), pid);
    until("the restart in the status", async || {
        let status = world.api_pod(&probe).await.unwrap().status.unwrap();
        let container = &status.container_statuses.unwrap()[0];
        container.restart_count == 1 && container.ready
    })
    .await;

    // A deletion ends it in order, and the controller makes another one.
    world.cluster.kubectl(["-n", "mechanic", "delete", "pod", &probe.pod, "--wait=false"]).await.unwrap();
    let next = installation.wait_for("a new pod", LONG, |pods| {
        pods.iter()
            .find(|pod| {
                pod.node == node.name && pod.is("mechanic-probe") && pod.uid != probe.uid && pod.ready
            })
            .cloned()
    });
    let next = next.await.unwrap();
    assert!(world.api_pod(&probe).await.is_none());
    assert!(!is_alive(again.pid.unwrap()) && is_alive(next.pid.unwrap()));
    let log = std::fs::read_to_string(installation.log(&probe.pod)).unwrap();
    assert_eq!(log.matches("started with").count(), 2, "{log}");
    assert!(log.contains("ended in order"), "{log}");

    installation.stop().await;
    assert!(!is_alive(next.pid.unwrap()));
    world.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinators_are_found_through_the_service_and_call_through_the_proxy() {
    let world = World::with_nodes(2).await;
    let upstream = world.cluster.config(User::Sandbox).await.unwrap();
    let proxy = FaultProxy::new(&upstream, world.cluster.network().next_address().unwrap()).unwrap();
    let proxy = std::sync::Arc::new(proxy);
    let through = std::sync::Arc::clone(&proxy);
    let installation = world.install(move |options| options.fault_proxy = Some(through)).await;
    let coordinators = installation.coordinators();
    assert_eq!(coordinators.len(), 2);

    // Each calls as itself: its credentials and its entrance of the fault proxy are its own.
    for coordinator in &coordinators {
        let env = environment_of(coordinator.pid.unwrap());
        assert_eq!(env["POD_IP"], coordinator.ip.to_string());
        assert_eq!(env["POD_UID"], coordinator.uid);
        let client = client_of(Path::new(&env["KUBECONFIG"])).await;
        let refused = Fault::once(Requests::any().from(&coordinator.pod), Effect::refuse(503, "Drill"));
        let fault = proxy.inject(refused);
        let nodes: Api<Node> = Api::all(client);
        let error = nodes.list(&kube::api::ListParams::default()).await.unwrap_err();
        assert!(error.to_string().contains("Drill"), "{error}");
        assert_eq!(fault.hits(), 1);
        assert_eq!(nodes.list(&kube::api::ListParams::default()).await.unwrap().items.len(), 2);
        let error = nodes.delete("nobody", &DeleteParams::default()).await.unwrap_err();
        assert!(error.to_string().contains("system:serviceaccount:mechanic:mechanic-coordinator"), "{error}");
    }

    // The Service leads to both, and past one that is gone.
    let service = installation.coordinator_address().unwrap();
    let probe = installation.probe_on(&world.nodes[0].name).unwrap();
    assert_eq!(environment_of(probe.pid.unwrap())["MECHANIC_COORDINATOR_ADDRESS"], service.to_string());
    assert!(serves(service).await);
    installation.hold_start(&coordinators[0].pod);
    let pid = coordinators[0].pid.unwrap();
    kill_dead(pid);
    // Until then it may still take a connection that it then breaks, as anywhere.
    until("the end of the killed process", async || !is_alive(pid)).await;
    for _ in 0..4 {
        assert!(serves(service).await);
    }
    installation
        .wait_for("the crash", LONG, |pods| {
            pods.iter().find(|pod| pod.uid == coordinators[0].uid && pod.pid.is_none()).map(drop)
        })
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(installation.pod(&coordinators[0].pod).unwrap().pid, None, "its start is held");
    installation.allow_start(&coordinators[0].pod);
    installation.wait_ready(LONG).await.unwrap();
    assert_eq!(installation.pod(&coordinators[0].pod).unwrap().restarts, 1);
    world.cluster.stop().await.unwrap();
}

async fn client_of(kubeconfig: &Path) -> Client {
    let file = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config =
        Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

async fn serves(address: SocketAddr) -> bool {
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await;
    let Ok(channel) = channel else { return false };
    let request = tonic_health::pb::HealthCheckRequest::default();
    tonic_health::pb::health_client::HealthClient::new(channel).check(request).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_goes_takes_its_processes_along_and_brings_them_back() {
    let world = World::with_nodes(1).await;
    let installation = world.install(|_| {}).await;
    let node = &world.nodes[0].name;
    let before = installation.probe_on(node).unwrap();
    let nodes = world.cluster.nodes().await.unwrap();

    installation.power_off(node).await.unwrap();
    nodes.wait_off(node, LONG).await.unwrap();
    installation
        .wait_for("the end of the processes", LONG, |pods| {
            pods.iter().all(|pod| pod.pid.is_none()).then_some(())
        })
        .await
        .unwrap();
    assert!(!is_alive(before.pid.unwrap()));

    let boot_id = installation.power_on(node).await.unwrap();
    nodes.wait_ready(&[node], LONG).await.unwrap();
    installation.wait_ready(LONG).await.unwrap();
    let after = installation.probe_on(node).unwrap();
    assert_eq!((after.uid, after.restarts), (before.uid, 1));
    let env = environment_of(after.pid.unwrap());
    assert_eq!(std::fs::read_to_string(&env["MECHANIC_BOOT_ID_FILE"]).unwrap().trim(), boot_id);
    world.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test: the parent that another test kills"]
async fn a_parent_with_an_installation() {
    if std::env::var_os("PARENT_TO_KILL").is_none() {
        return;
    }
    let world = World::with_nodes(1).await;
    let installation = world.install(|_| {}).await;
    let own = installation.pods().into_iter().filter_map(|pod| pod.pid);
    for pid in own.chain(world.cluster.children().map(|child| child.pid())) {
        println!("process {pid}");
    }
    println!("all told");
    std::future::pending::<()>().await;
}

#[test]
fn two_at_once_and_nothing_is_left_when_their_parent_is_killed() {
    let parents: Vec<_> = (0..2)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "a_parent_with_an_installation", "--nocapture"])
                .env("PARENT_TO_KILL", "yes")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut parent in parents {
        let lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
        let lines: Vec<String> = lines.take_while(|line| !line.contains("all told")).collect();
        let pids: Vec<u32> =
            lines.iter().filter_map(|line| line.split_once("process ")?.1.trim().parse().ok()).collect();
        parent.kill().unwrap();
        parent.wait().unwrap();
        // etcd, API server, controller manager, scheduler, kwok, two coordinators, one probe.
        assert_eq!(pids.len(), 8, "{lines:?}");
        let begun = Instant::now();
        while pids.iter().any(|pid| is_alive(*pid)) {
            assert!(begun.elapsed() < Duration::from_secs(10), "some of {pids:?} outlived their parent");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
