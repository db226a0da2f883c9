//! What happens inside the enclosure: a control plane, two nodes with real kubelets, Azure's side, mechanic as its overlay
//! installs it, and one event.

mod addresses;
mod containers;
mod dns;
mod endings;
mod installation;
mod machine;
mod node;
mod onlooker;
mod story;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mechanic_sandbox::azure::{Azure, Vm};
use mechanic_sandbox::child::Child;
use mechanic_sandbox::cluster::{Cluster, ClusterOptions, Kubelets, User};
use mechanic_sandbox::nodes::{NodeSpec, Pool};
use mechanic_sandbox::programs::{ClusterPrograms, silent};
use mechanic_sandbox::referee::{Promises, Referee};

use node::RealNode;

use crate::{folder, say};

/// Longer than anything takes that works, on a machine where others take most of the time.
const WITHIN: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Everything in it. Ended in this order, though the end of the enclosure would do.
struct Ground {
    referee: Referee,
    azure: Azure,
    nodes: Vec<NodeSpec>,
    /// The metadata service of each.
    vms: Vec<SocketAddr>,
    cluster: Cluster,
    _kubelets: Vec<RealNode>,
    _services: Vec<Child>,
}

/// The first process of the enclosure.
pub(crate) fn run(cgroups: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let logs = folder().join("logs");
        fs::create_dir_all(&logs).with_context(|| format!("can't create {}", logs.display()))?;
        let begun = Instant::now();
        let ground = build(cgroups, &logs).await?;
        say(&format!("Two nodes with real kubelets are Ready after {:.1} s.", begun.elapsed().as_secs_f32()));
        let ended = story::play(&ground).await;
        if ended.is_err() {
            containers::keep_logs(&ground.cluster, &logs).await;
        }
        ended
    })
}

async fn build(cgroups: &str, logs: &Path) -> Result<Ground> {
    machine::prepare()?;
    addresses::prepare()?;
    let programs = tokio::task::spawn_blocking(|| ClusterPrograms::prepare_with_nodes(&silent()))
        .await
        .context("the look for the programs was cut off")??;
    let cluster = Cluster::start(ClusterOptions {
        programs: Some(programs),
        kubelets: Kubelets::Real(addresses::NODES[0]),
        ..ClusterOptions::default()
    })
    .await?;
    let referee = Referee::start(&cluster, Promises::default()).await?;
    let kubeconfig = cluster.kubeconfig(User::Admin);
    let nodes = Pool::new("userpool").nodes(2);
    let control = cluster.nodes().await?;
    control.create(&nodes).await?;
    let azure = Azure::new();
    let run: PathBuf = folder().join("run");
    let (mut kubelets, mut vms) = (Vec::new(), Vec::new());
    for (number, spec) in nodes.iter().enumerate() {
        // Before the kubelet says what machine this really is: to Azure there are two.
        let vm = azure.add_vm(Vm::of_node(&spec.node())?, addresses::NODES[number], &spec.boot_id).await?;
        addresses::lead_to_imds(number, vm)?;
        vms.push(vm);
        let place = node::Place { number, run: &run, logs, cgroups, kubeconfig: &kubeconfig };
        kubelets.push(RealNode::start(&cluster, &spec.name, &place).await?);
    }
    let services = vec![
        node::start_kube_proxy(&cluster, &nodes[0].name, &run, logs, &kubeconfig)?,
        dns::start(&cluster, &run, logs, &kubeconfig)?,
    ];
    let names: Vec<&str> = nodes.iter().map(|spec| spec.name.as_str()).collect();
    control.wait_ready(&names, WITHIN).await.map_err(|error| {
        let words: Vec<String> = kubelets.iter().map(RealNode::last_words).collect();
        error.context(words.join("\n"))
    })?;
    Ok(Ground { referee, azure, nodes, vms, cluster, _kubelets: kubelets, _services: services })
}
