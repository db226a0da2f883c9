//! The referee: watches a run from outside mechanic and says which promises were kept.
//!
//! It knows nothing of mechanic's code and believes none of its metrics. What it sees are Nodes, pods and
//! PodDisruptionBudgets as a watch shows them, the API server's audit log, and what whoever plays Azure tells it.

mod audit;
mod audit_tail;
mod history;
mod judge;
mod memory;
mod object_watch;
mod objects;
mod promises;
mod settings;
mod timeline;
mod verdict;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use kube::api::{Api, ListParams};
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::{Cluster, User};

pub use history::{
    AzureFact, BudgetSeen, CLAIM_ANNOTATION, CORDONED_LABEL, Fact, History, NodeSeen, OPT_OUT_LABEL, PodSeen,
    Record, Request, SettingsSeen,
};
pub use judge::judge;
pub use promises::{IN_FLIGHT, Promises, TAKES_EFFECT};
pub use settings::{Amount, Settings};
pub use verdict::{Check, Drain, Facts, Verdict, Violation};

use memory::Memory;

/// Longer than it takes the API server to write its log, even on a busy machine.
const AUDIT_WITHIN: Duration = Duration::from_secs(20);

/// Watches one cluster from its start to its verdict. Dropping it ends the watching.
pub struct Referee {
    client: Client,
    promises: Promises,
    memory: Arc<Memory>,
    watches: Vec<(&'static str, Arc<AtomicBool>)>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Referee {
    /// Begins to watch. Start it before mechanic is installed: what it hasn't seen, it can't judge.
    pub async fn start(cluster: &Cluster, promises: Promises) -> Result<Self> {
        let client = cluster.client(User::Sandbox).await?;
        let memory = Arc::new(Memory::new());
        object_watch::read_all::<Node>(&client, &memory).await.context("the referee can't read the Nodes")?;
        object_watch::read_all::<Pod>(&client, &memory).await.context("the referee can't read the pods")?;
        let mut referee = Self {
            client: client.clone(),
            promises: promises.clone(),
            memory: Arc::clone(&memory),
            watches: Vec::new(),
            tasks: Vec::new(),
        };
        referee.watch::<Node>("Nodes");
        referee.watch::<Pod>("pods");
        referee.watch::<PodDisruptionBudget>("PodDisruptionBudgets");
        referee.watch::<ConfigMap>("ConfigMaps");
        referee.spawn(audit_tail::follow(cluster.audit_log().to_owned(), promises, memory));
        Ok(referee)
    }

    /// Tells it what happened on Azure's side just now.
    pub fn witness(&self, fact: AzureFact) {
        self.memory.add(Timestamp::now(), Fact::Azure(fact));
    }

    /// Remembers what a script did just now, for whoever tells the story.
    pub fn note(&self, what: String) {
        self.memory.add(Timestamp::now(), Fact::Script(what));
    }

    /// Looks at what has been seen so far.
    pub fn look<R>(&self, look: impl FnOnce(&History) -> R) -> R {
        self.memory.look(look)
    }

    /// What was seen after the first `seen` records; waits until there is something.
    pub async fn news(&self, seen: usize) -> Vec<Record> {
        let mut grown = self.memory.grown();
        // The sender lives as long as we do.
        let _ = grown.wait_for(|length| *length > seen).await;
        self.memory.look(|history| history.records.iter().skip(seen).cloned().collect())
    }

    /// Waits until `look` finds what it looks for, at most `within`. `what` completes "the referee has not seen …".
    pub async fn see<R>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&History) -> Option<R>,
    ) -> Result<R> {
        let mut grown = self.memory.grown();
        let seen = async {
            loop {
                grown.mark_unchanged();
                if let Some(found) = self.memory.look(&mut look) {
                    return found;
                }
                let _ = grown.changed().await;
            }
        };
        let result = tokio::time::timeout(within, seen).await;
        result.with_context(|| format!("the referee has not seen {what} within {} s", within.as_secs()))
    }

    /// Judges everything up to now. What it may not have seen goes into the verdict too.
    pub async fn verdict(&self) -> Verdict {
        self.verdict_under(&self.promises).await
    }

    /// What mechanic is held to, for whoever has to let something pass.
    #[must_use]
    pub fn promises(&self) -> Promises {
        self.promises.clone()
    }

    /// Judges by other promises than those of the start.
    pub async fn verdict_under(&self, promises: &Promises) -> Verdict {
        if let Err(error) = self.catch_up().await {
            self.memory.blind(format!("{error:#}"));
        }
        judge(&self.memory.history(), promises)
    }

    /// Returns when everything that has happened before the call has been seen.
    async fn catch_up(&self) -> Result<()> {
        for (what, blind) in &self.watches {
            if blind.load(Ordering::Relaxed) {
                bail!("the watch of the {what} is broken");
            }
        }
        // A request of our own, known by its selector: what the log shows before it is all there was before it.
        let marker = format!("referee-{:016x}", rand::random::<u64>());
        self.memory.expect_marker(&marker);
        let config_maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.promises.namespace);
        config_maps.list(&ListParams::default().labels(&marker)).await.context("can't ask the API server")?;
        let shown = async {
            while !self.memory.has_passed(&marker) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(AUDIT_WITHIN, shown).await.context("the audit log lags behind")?;
        object_watch::read_all::<Node>(&self.client, &self.memory).await.context("can't read the Nodes")?;
        object_watch::read_all::<Pod>(&self.client, &self.memory).await.context("can't read the pods")?;
        object_watch::read_all::<PodDisruptionBudget>(&self.client, &self.memory)
            .await
            .context("can't read the PodDisruptionBudgets")
    }

    fn watch<K: object_watch::Watched>(&mut self, what: &'static str) {
        let blind = Arc::new(AtomicBool::new(false));
        let (client, memory) = (self.client.clone(), Arc::clone(&self.memory));
        self.spawn(object_watch::follow::<K>(client, memory, Arc::clone(&blind)));
        self.watches.push((what, blind));
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(AbortOnDropHandle::new(tokio::spawn(task)));
    }
}
