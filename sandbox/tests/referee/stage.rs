//! A cluster on which tests play coordinator, honestly or not, as pods of mechanic's own service accounts.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use mechanic_sandbox::azure::Event;
use mechanic_sandbox::cluster::{Cluster, ClusterOptions, User};
use mechanic_sandbox::nodes::Pool;
use mechanic_sandbox::referee::{AzureFact, Check, Fact, History, Promises, Referee, TAKES_EFFECT, Verdict};
use mechanic_sandbox::workloads::{self, Workload};
use serde_json::{Value, json};

/// Generous: the machine may be busy with other clusters.
pub(crate) const SOON: Duration = Duration::from_mins(1);
pub(crate) const EVENT: &str = "11111111-2222-4333-8444-555555555555";
const LEASE: &str = "mechanic-coordinator";

pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) referee: Referee,
    pub(crate) nodes: Vec<String>,
    sandbox: Client,
}

impl Stage {
    /// Two Ready nodes, mechanic's service accounts with every right, and a referee who watches.
    pub(crate) async fn set(promises: Promises) -> Result<Self> {
        let cluster = Cluster::start(ClusterOptions::default()).await?;
        let sandbox = cluster.client(User::Sandbox).await?;
        let specs = Pool::new("apps").nodes(2);
        cluster.nodes().await?.create_ready(&specs, SOON).await?;
        let namespace: Namespace = typed(json!({ "metadata": { "name": "mechanic" } }))?;
        Api::all(sandbox.clone()).create(&PostParams::default(), &namespace).await?;
        for account in ["mechanic-coordinator", "mechanic-probe"] {
            let account: ServiceAccount =
                typed(json!({ "metadata": { "name": account, "namespace": "mechanic" } }))?;
            workloads::create(&sandbox, &account).await?;
        }
        let binding: ClusterRoleBinding = typed(json!({
            "metadata": { "name": "rogue" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": "mechanic-coordinator", "namespace": "mechanic" }],
        }))?;
        Api::all(sandbox.clone()).create(&PostParams::default(), &binding).await?;
        let referee = Referee::start(&cluster, promises).await?;
        Ok(Self { cluster, referee, nodes: specs.into_iter().map(|spec| spec.name).collect(), sandbox })
    }

    /// Somebody with the rights of that service account and a token bound to a pod of this name.
    pub(crate) async fn player(&self, account: &str, pod: &str) -> Result<Player> {
        // No scheduler takes it, so that it is on no node.
        let object: Pod = typed(json!({
            "metadata": { "name": pod, "namespace": "mechanic",
                          "labels": { "app.kubernetes.io/part-of": "mechanic" } },
            "spec": { "schedulerName": "nobody", "serviceAccountName": account,
                      "containers": [{ "name": "app", "image": "app:1" }] },
        }))?;
        let made = workloads::create(&self.sandbox, &object).await?;
        let request: TokenRequest = typed(json!({ "spec": { "audiences": [],
            "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": made.uid() } } }))?;
        let accounts = Api::<ServiceAccount>::namespaced(self.sandbox.clone(), "mechanic");
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
        let token = answer.status.context("a TokenRequest without an answer")?.token;
        let mut config = self.cluster.config(User::Sandbox).await?;
        config.auth_info = kube::config::AuthInfo { token: Some(token.into()), ..Default::default() };
        Ok(Player { pod: pod.into(), client: Client::try_from(config)? })
    }

    /// Takes all rights from mechanic's service accounts.
    pub(crate) async fn take_rights(&self) -> Result<()> {
        let bindings = Api::<ClusterRoleBinding>::all(self.sandbox.clone());
        bindings.delete("rogue", &DeleteParams::default()).await?;
        Ok(())
    }

    /// A coordinator that holds the Lease.
    pub(crate) async fn leader(&self) -> Result<Player> {
        let leader = self.player("mechanic-coordinator", "mechanic-coordinator-a").await?;
        leader.take_lease().await?;
        Ok(leader)
    }

    pub(crate) async fn person(&self) -> Result<Client> {
        self.cluster.client(User::Person).await
    }

    /// Ready pods of a new Deployment.
    pub(crate) async fn deploy(&self, workload: &Workload) -> Result<Vec<Pod>> {
        workloads::create(&self.sandbox, &workload.deployment()?).await?;
        workload.ready(&self.sandbox, workload.replicas as usize, SOON).await
    }

    /// Ready pods of a new Deployment under a budget that counts them all.
    pub(crate) async fn deploy_with_budget(
        &self,
        workload: &Workload,
        min_available: u32,
    ) -> Result<Vec<Pod>> {
        workloads::create(&self.sandbox, &workload.min_available(min_available)?).await?;
        let pods = self.deploy(workload).await?;
        let all = i32::try_from(workload.replicas)?;
        self.referee.see("the budget count its pods", SOON, |history| {
            let counted = |fact: &Fact| matches!(fact, Fact::Budget(seen) if seen.healthy == all && seen.desired > 0);
            history.records.iter().any(|record| counted(&record.fact)).then_some(())
        }).await?;
        Ok(pods)
    }

    pub(crate) fn announce(&self, node: &str) {
        self.announce_event(node, Event::scheduled("Reboot", ["vm"], Duration::ZERO));
    }

    pub(crate) fn announce_event(&self, node: &str, event: Event) {
        let event = Box::new(Event { event_id: EVENT.into(), ..event });
        self.referee.witness(AzureFact::Announced { event, nodes: vec![node.into()], avoidable: true });
    }

    /// Makes mechanic's ConfigMap, and waits until everybody must have seen it.
    pub(crate) async fn configure(&self, data: Value) -> Result<()> {
        let map: ConfigMap =
            typed(json!({ "metadata": { "name": "mechanic", "namespace": "mechanic" }, "data": data }))?;
        workloads::create(&self.sandbox, &map).await?;
        self.taken_effect(|fact| matches!(fact, Fact::Settings(seen) if !seen.data.is_empty())).await
    }

    /// Waits until the referee has seen such a fact, and for as long as mechanic may take to act by it.
    pub(crate) async fn taken_effect(&self, fact: impl Fn(&Fact) -> bool) -> Result<()> {
        let seen = |history: &History| history.records.iter().any(|record| fact(&record.fact)).then_some(());
        self.referee.see("what a person did", SOON, seen).await?;
        tokio::time::sleep(TAKES_EFFECT.unsigned_abs() + Duration::from_secs(1)).await;
        Ok(())
    }

    /// Waits until the referee has seen this pod go.
    pub(crate) async fn see_gone(&self, pod: &Pod) -> Result<()> {
        let uid = pod.uid().unwrap_or_default();
        let gone = |fact: &Fact| matches!(fact, Fact::PodGone(gone) if *gone == uid);
        self.referee
            .see("the end of a pod", SOON, |history| {
                history.records.iter().any(|record| gone(&record.fact)).then_some(())
            })
            .await
    }

    /// Ends the run; fails unless exactly these promises are broken.
    pub(crate) async fn ends_with(self, broken: &[Check]) -> Result<Verdict> {
        let verdict = self.referee.verdict().await;
        assert_eq!(verdict.broken(), broken, "{verdict}");
        self.cluster.stop().await?;
        Ok(verdict)
    }
}

/// One of mechanic's pods, played by a test.
pub(crate) struct Player {
    pod: String,
    pub(crate) client: Client,
}

impl Player {
    pub(crate) async fn take_lease(&self) -> Result<()> {
        let leases = Api::<Lease>::namespaced(self.client.clone(), "mechanic");
        let spec = json!({ "holderIdentity": format!("{}_0badcafe", self.pod), "leaseDurationSeconds": 600 });
        let name = json!({ "name": LEASE, "namespace": "mechanic" });
        if leases.get_opt(LEASE).await?.is_some() {
            leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(json!({ "spec": spec }))).await?;
        } else {
            let lease: Lease = typed(json!({ "metadata": name, "spec": spec }))?;
            leases.create(&PostParams::default(), &lease).await?;
        }
        Ok(())
    }

    pub(crate) async fn claim(&self, node: &str) -> Result<()> {
        let claim = json!({ "v": 1, "phase": "draining", "events": { EVENT: {} } }).to_string();
        self.patch_node(
            node,
            json!({ "metadata": { "labels": { "mechanic.cordoned": "true" },
                                  "annotations": { "mechanic/claim": claim } },
                    "spec": { "unschedulable": true } }),
        )
        .await
    }

    pub(crate) async fn release(&self, node: &str) -> Result<()> {
        self.patch_node(
            node,
            json!({ "metadata": { "labels": { "mechanic.cordoned": null },
                                  "annotations": { "mechanic/claim": null } },
                    "spec": { "unschedulable": null } }),
        )
        .await
    }

    pub(crate) async fn patch_node(&self, node: &str, patch: Value) -> Result<()> {
        let nodes = Api::<Node>::all(self.client.clone());
        nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Evicts as mechanic does: bound to the pod's UID.
    pub(crate) async fn evict(&self, pod: &Pod) -> kube::Result<()> {
        self.evict_with(pod, json!({ "preconditions": { "uid": pod.uid() } })).await
    }

    pub(crate) async fn evict_with(&self, pod: &Pod, options: Value) -> kube::Result<()> {
        let eviction: Eviction = serde_json::from_value(json!({
            "metadata": { "name": pod.name_any(), "namespace": pod.namespace() },
            "deleteOptions": options,
        }))
        .map_err(kube::Error::SerdeError)?;
        let pods = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let sent: kube::Result<Status> =
            pods.create_subresource("eviction", &pod.name_any(), &PostParams::default(), &eviction).await;
        sent.map(drop)
    }

    pub(crate) async fn delete(&self, pod: &Pod) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        pods.delete(&pod.name_any(), &kube::api::DeleteParams::default()).await?;
        Ok(())
    }
}

pub(crate) fn typed<T: serde::de::DeserializeOwned>(object: Value) -> Result<T> {
    serde_json::from_value(object).context("an object doesn't fit its type")
}
