//! What the bench stands on: a few nodes as the sandbox has them, and thousands that are Nodes only.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Node, Pod, PodSpec, ServiceAccount},
};
use kube::{
    Api, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};
use mechanic_sandbox::{
    install::NAMESPACE,
    nodes::{BARE_LABEL, NodeSpec, Pool},
    programs::Profile,
    referee::CORDONED_LABEL,
    world::{World, WorldOptions},
};

use crate::support;

/// Of the DaemonSet and of its pods' account.
const PROBE: &str = "mechanic-probe";
const AT_ONCE: usize = 32;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longer than anything takes that works, on a slow machine.
const LONG: Duration = Duration::from_mins(4);
/// Kept free of what starts late, so that all nodes are known before the first probe comes.
const KNOWN: Duration = Duration::from_secs(5);

pub(crate) struct Ground {
    pub(crate) world: World,
    /// Nodes without kubelets, a pod and its token on each.
    pub(crate) bare: Vec<NodeSpec>,
    /// Where the tokens are, by node.
    pub(crate) tokens: PathBuf,
    /// The coordinators' authority.
    pub(crate) authorities: PathBuf,
}

impl Ground {
    pub(crate) async fn prepare(profile: Profile, count: u32) -> Result<Self> {
        let programs = support::programs(profile).await?;
        // Holds so short that a node soon comes back for the next event; and the Nodes without kubelets count as down.
        let mut config = BTreeMap::from([("max-unavailable-nodes".into(), "100%".into())]);
        for key in ["release-hold", "release-hold-never-started", "release-hold-after-boot"] {
            config.insert(key.into(), "2s".into());
        }
        let options = WorldOptions { config, ..WorldOptions::new(programs, Pool::new("apps").nodes(4)) };
        let world = World::build(options, &|line| println!("{line}")).await?;
        let folder = world.cluster.run_folder();
        let ground = Self {
            bare: Pool::new("bare").nodes(count),
            tokens: folder.join("tokens"),
            authorities: folder.join("authorities.pem"),
            world,
        };
        std::fs::create_dir_all(&ground.tokens)?;
        std::fs::write(&ground.authorities, ground.world.installation.authorities().await?)?;
        let probes = Api::<DaemonSet>::namespaced(ground.world.client.clone(), NAMESPACE);
        let probe = probes.get(PROBE).await?.spec.and_then(|spec| spec.template.spec).unwrap_or_default();
        let begun = Instant::now();
        stream::iter(&ground.bare)
            .map(|spec| ground.settle(spec, &probe))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        println!("{count} Nodes, pods and tokens made in {:.0} s", begun.elapsed().as_secs_f64());
        tokio::time::sleep(KNOWN).await;
        Ok(ground)
    }

    /// A Node, a pod on it, and a token as the kubelet would get it for the pod.
    async fn settle(&self, spec: &NodeSpec, probe: &PodSpec) -> Result<()> {
        let client = self.world.client.clone();
        let mut node = spec.node();
        let labels = node.labels_mut();
        // The DaemonSet's pods would be processes.
        labels.remove("kubernetes.io/os");
        labels.insert(BARE_LABEL.to_owned(), "true".to_owned());
        let made = PostParams::default();
        Api::<Node>::all(client.clone()).create(&made, &node).await.context("a Node can't be made")?;
        let pod = Pod {
            metadata: ObjectMeta { name: Some(format!("probe-{}", spec.name)), ..ObjectMeta::default() },
            spec: Some(PodSpec { node_name: Some(spec.name.clone()), ..probe.clone() }),
            ..Pod::default()
        };
        let pod = Api::<Pod>::namespaced(client.clone(), NAMESPACE)
            .create(&made, &pod)
            .await
            .context("a pod can't be made")?;
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec!["mechanic-coordinator".to_owned()],
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name,
                    uid: pod.metadata.uid,
                }),
                expiration_seconds: Some(3_600),
            },
            ..TokenRequest::default()
        };
        let granted = Api::<ServiceAccount>::namespaced(client, NAMESPACE)
            .create_token_request(PROBE, &made, &request)
            .await
            .context("a token can't be made")?;
        let token = granted.status.context("a TokenRequest has no answer")?.token;
        tokio::fs::write(self.tokens.join(&spec.name), token).await?;
        Ok(())
    }

    /// Waits until one coordinator has so many streams.
    pub(crate) async fn wait_attached(&self, count: u32) -> Result<()> {
        let attached = async {
            loop {
                for pod in self.world.installation.coordinators() {
                    // Nobody answers while it starts.
                    let Ok(metrics) = self.world.installation.metrics(&pod).await else { continue };
                    if metrics.sample("mechanic_probe_streams")? >= f64::from(count) {
                        return Ok(());
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(LONG, attached).await.with_context(|| format!("nobody has {count} streams"))?
    }

    /// Waits until mechanic holds a node, or doesn't any more.
    pub(crate) async fn wait_held(&self, node: &NodeSpec, held: bool) -> Result<()> {
        let nodes = Api::<Node>::all(self.world.client.clone());
        let seen = async {
            while nodes.get_metadata(&node.name).await?.labels().contains_key(CORDONED_LABEL) != held {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(LONG, seen)
            .await
            .with_context(|| format!("{} is held: not {held}", node.name))?
    }
}
