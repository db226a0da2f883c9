//! The candidates for one Lease, and what is done to them.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use mechanic_leadership::clock::{Boottime, Clock};
use mechanic_sandbox::cluster::{Cluster, User};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    candidate::{Line, Orders, client_config, read_log},
    judge::{Tally, Witness, intervals, judge},
};

pub(crate) const NAMESPACE: &str = "default";
/// Lease, renewal, Permit, settling. No settling: the margin between two leaders must come from the Lease alone.
pub(crate) const SHORT_MS: [u64; 4] = [6000, 1000, 4000, 0];
pub(crate) const LEASE: Duration = Duration::from_secs(6);
/// The next leader must be there so soon after the last one is gone.
pub(crate) const NEXT_LEADER: Duration = Duration::from_secs(6 + 4);

struct Member {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Drop for Member {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) struct Group {
    case: String,
    dir: PathBuf,
    kubeconfig: PathBuf,
    timing_ms: [u64; 4],
    members: Vec<Member>,
    witness: Witness,
    leases: Api<Lease>,
}

/// Who leads, and since when it has had a Permit.
#[derive(Clone, Debug)]
pub(crate) struct Led {
    pub(crate) by: String,
    pub(crate) from: Boottime,
    pub(crate) epoch: u64,
}

pub(crate) fn now() -> Boottime {
    Clock::system().now().boot
}

impl Group {
    pub(crate) async fn new(cluster: &Cluster, case: &str, timing_ms: [u64; 4]) -> Result<Self> {
        let kubeconfig = cluster.kubeconfig(User::Admin);
        let client = Client::try_from(client_config(&kubeconfig).await?)?;
        let ledgers: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
        let ledger = ConfigMap {
            metadata: ObjectMeta { name: Some(case.into()), ..ObjectMeta::default() },
            ..ConfigMap::default()
        };
        let ledger = ledgers.create(&PostParams::default(), &ledger).await?;
        Ok(Self {
            case: case.into(),
            dir: cluster.folder("candidates")?,
            kubeconfig,
            timing_ms,
            members: Vec::new(),
            witness: Witness::of(ledgers, &ledger),
            leases: Api::namespaced(client, NAMESPACE),
        })
    }

    /// Starts one more candidate, whose wall clock is wrong by so much.
    pub(crate) fn spawn(&mut self, wall_offset_ms: i64) -> Result<String> {
        let name = format!("{}-{}", self.case, self.members.len());
        let log = self.dir.join(format!("{name}.log"));
        let orders = Orders {
            kubeconfig: self.kubeconfig.clone(),
            namespace: NAMESPACE.into(),
            lease: self.case.clone(),
            name: name.clone(),
            log: log.clone(),
            wall_offset_ms,
            timing_ms: self.timing_ms,
            writes: self.timing_ms == SHORT_MS,
        };
        let (variable, value) = orders.to_env();
        // This very binary, also right after it was built anew.
        let child = Command::new("/proc/self/exe")
            .env(variable, value)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("can't start candidate {name}"))?;
        self.members.push(Member { name: name.clone(), log, child });
        Ok(name)
    }

    pub(crate) fn signal(&mut self, name: &str, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.member(name)?.child), signal)?)
    }

    /// The first Permit given to anybody but `not` after `after`.
    pub(crate) async fn next_leader(
        &self,
        after: Boottime,
        not: Option<&str>,
        within: Duration,
    ) -> Result<Led> {
        let deadline = Instant::now() + within + Duration::from_secs(5);
        loop {
            let first = self
                .logs()
                .iter()
                .filter(|(who, _)| Some(who.as_str()) != not)
                .flat_map(|(who, log)| intervals(who, log))
                .filter(|interval| interval.to > after)
                .min_by_key(|interval| interval.from);
            if let Some(first) = first {
                let from = first.from.max(after);
                ensure!(
                    from.since(after) <= within,
                    "{}: the next leader came after {:?}",
                    self.case,
                    from.since(after)
                );
                return Ok(Led { by: first.who, from, epoch: first.epoch });
            }
            ensure!(Instant::now() < deadline, "{}: nobody leads {within:?} later", self.case);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Who has a Permit now.
    pub(crate) async fn leader(&self) -> Result<Led> {
        self.next_leader(now(), None, NEXT_LEADER + LEASE).await
    }

    /// Waits until a process has ended; how, in its own words.
    pub(crate) async fn end_of(&mut self, name: &str, within: Duration) -> Result<String> {
        let deadline = Instant::now() + within;
        while self.member(name)?.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "{name} has not ended after {within:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match self.log(name)?.pop() {
            Some(Line::Ended { how, .. }) => Ok(how),
            other => bail!("{name} ended without a word; its last line: {other:?}"),
        }
    }

    /// How many of the tasks that asked to renew before they act got a Permit, the last time that they asked.
    pub(crate) async fn renewals_granted(&self, name: &str, within: Duration) -> Result<usize> {
        let deadline = Instant::now() + within;
        loop {
            let answer = self.log(name)?.into_iter().rev().find_map(|line| match line {
                Line::Renewed { granted } => Some(granted),
                _ => None,
            });
            if let Some(granted) = answer {
                return Ok(granted);
            }
            ensure!(Instant::now() < deadline, "{name} asked to renew and has no answer after {within:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn is_alive(&mut self, name: &str) -> Result<bool> {
        Ok(self.member(name)?.child.try_wait()?.is_none())
    }

    pub(crate) fn log(&self, name: &str) -> Result<Vec<Line>> {
        let member = self.members.iter().find(|member| member.name == name).context("a candidate")?;
        Ok(read_log(&member.log))
    }

    pub(crate) fn holder_id(&self, name: &str) -> Result<String> {
        self.log(name)?
            .into_iter()
            .find_map(|line| if let Line::Named { holder } = line { Some(holder) } else { None })
            .context("each candidate says its name first")
    }

    /// What a person does with `kubectl patch`: unconditional.
    pub(crate) async fn edit_lease(&self, patch: Value) -> Result<Lease> {
        Ok(self.leases.patch(&self.case, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    pub(crate) async fn lease(&self) -> Result<Lease> {
        Ok(self.leases.get(&self.case).await?)
    }

    pub(crate) async fn delete_lease(&self) -> Result<()> {
        self.leases.delete(&self.case, &kube::api::DeleteParams::default()).await?;
        Ok(())
    }

    /// Ends all candidates and judges the whole run.
    pub(crate) async fn verdict(mut self) -> Result<Tally> {
        // What was under way lands, and the witness sees it.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let logs = self.logs();
        for member in self.members.drain(..) {
            drop(member);
        }
        judge(&logs, &self.witness).with_context(|| format!("in the case {}", self.case))
    }

    fn logs(&self) -> Vec<(String, Vec<Line>)> {
        self.members.iter().map(|member| (member.name.clone(), read_log(&member.log))).collect()
    }

    fn member(&mut self, name: &str) -> Result<&mut Member> {
        self.members.iter_mut().find(|member| member.name == name).context("a candidate")
    }
}
