//! Whether steps make sense one after the other: what they name exists by then, and Azure keeps its word.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checked, check_amount, one_of, pool_named};
use crate::scenario::action::{
    Action, Announce, EffectScript, FaultScript, Label, Pick, Process, SetBudget, WaitFor,
};
use crate::scenario::time::Time;
use crate::scenario::which::{Nodes, Which, is_name};
use crate::scenario::{PoolScript, WorkloadScript};

/// What is known at the point that has been read so far.
pub(super) struct Steps<'s> {
    pools: &'s BTreeMap<&'s str, &'s PoolScript>,
    workloads: &'s BTreeMap<&'s str, &'s WorkloadScript>,
    now: Time,
    names: BTreeSet<&'s str>,
    /// Events that are shown, and when they may start.
    events: BTreeMap<&'s str, Time>,
    faults: BTreeSet<&'s str>,
    stopped: Vec<&'s Process>,
    muted: Vec<&'s Nodes>,
}

impl<'s> Steps<'s> {
    pub(super) fn new(
        pools: &'s BTreeMap<&'s str, &'s PoolScript>,
        workloads: &'s BTreeMap<&'s str, &'s WorkloadScript>,
    ) -> Self {
        Self {
            pools,
            workloads,
            now: Time::default(),
            names: BTreeSet::new(),
            events: BTreeMap::new(),
            faults: BTreeSet::new(),
            stopped: Vec::new(),
            muted: Vec::new(),
        }
    }

    pub(super) fn time(&mut self, at: Time) -> Checked {
        if at < self.now {
            return Err(format!(
                "this step is at {at}, and the one before it at {}: order them by time",
                self.now
            ));
        }
        self.now = at;
        Ok(())
    }

    pub(super) fn action(&mut self, action: &'s Action) -> Checked {
        match action {
            Action::Pick(pick) => self.pick(pick),
            Action::WaitFor(wait) => self.wait_for(wait),
            Action::Try(action) if matches!(**action, Action::Try(_) | Action::WaitFor(_)) => {
                Err("there is no trying to try or to wait: what is waited for is expected".into())
            }
            Action::Try(action) => self.action(action),
            Action::Announce(announce) => self.announce(announce),
            Action::Change(change) => {
                self.event(&change.event)?;
                self.events.insert(&change.event, self.now + change.notice);
                Ok(())
            }
            Action::Start(event) => {
                let may_start = self.event(event)?;
                if self.now < may_start {
                    return Err(format!("{event} may not start before {may_start}: Azure keeps its word"));
                }
                Ok(())
            }
            Action::Remove(event) => {
                self.event(event)?;
                self.events.remove(event.as_str());
                Ok(())
            }
            Action::PowerOff(nodes)
            | Action::PowerOn(nodes)
            | Action::ReplaceVm(nodes)
            | Action::DeleteNode(nodes)
            | Action::CreateNode(nodes)
            | Action::Cordon(nodes)
            | Action::Uncordon(nodes) => self.nodes(nodes),
            Action::Imds(imds) => self.nodes(&imds.on),
            Action::SetBudget(budget) => self.set_budget(budget),
            Action::Label(Label { on, labels }) => {
                if labels.is_empty() {
                    return Err("there is no label in `labels`".into());
                }
                self.nodes(on)
            }
            Action::Configure(data) if data.is_empty() => Err("there is no key to configure".into()),
            Action::Kill(process) => self.process(process),
            Action::Stop(process) => {
                self.process(process)?;
                self.stopped.push(process);
                Ok(())
            }
            Action::Continue(process) => undo(&mut self.stopped, &process)
                .ok_or_else(|| "this was never stopped under these words, so it can't continue".into()),
            Action::Mute(nodes) => {
                self.nodes(nodes)?;
                self.muted.push(nodes);
                Ok(())
            }
            Action::Unmute(nodes) => undo(&mut self.muted, &nodes)
                .ok_or_else(|| format!("{nodes} was never muted under these words")),
            Action::Fault(fault) => self.fault(fault),
            Action::ReleaseFault(name) | Action::ClearFault(name) => self.fault_named(name),
            Action::FreezeApiServer(time) | Action::KillApiServer(time) if *time == Time::default() => {
                Err("an API server that is away for no time isn't away".into())
            }
            Action::Configure(_)
            | Action::CutWatches
            | Action::FreezeApiServer(_)
            | Action::KillApiServer(_) => Ok(()),
        }
    }

    pub(super) fn workload(&self, name: &str) -> Result<&'s WorkloadScript, String> {
        let found = self.workloads.get(name).copied();
        found.ok_or_else(|| one_of("workload", name, self.workloads.keys().copied()))
    }

    /// These nodes are known without looking at what runs where.
    pub(super) fn nodes_named(&self, nodes: &Nodes) -> Checked {
        let depends = |which: &&Which| {
            matches!(which, Which::WithoutCoordinator(_) | Which::OfTheLeader | Which::OfAFollower)
        };
        match nodes.0.iter().find(depends) {
            Some(which) => {
                Err(format!("`{which}` would be another node by then; `pick` it before and use its name"))
            }
            None => self.all_known(nodes),
        }
    }

    fn nodes(&self, nodes: &Nodes) -> Checked {
        if nodes.0.is_empty() {
            return Err("there is no node in this list".into());
        }
        self.all_known(nodes)
    }

    fn all_known(&self, nodes: &Nodes) -> Checked {
        nodes.0.iter().try_for_each(|which| match which {
            Which::OfTheLeader | Which::OfAFollower | Which::WithoutCoordinator(None) => Ok(()),
            Which::WithoutCoordinator(Some(pool)) | Which::All(pool) => {
                pool_named(self.pools, pool).map(drop)
            }
            Which::Instances { pool, last, .. } => {
                let nodes = pool_named(self.pools, pool)?.nodes;
                if *last >= nodes {
                    return Err(format!(
                        "{which} is out of range: pool {pool} has {nodes} nodes, {pool}/0 to {pool}/{}",
                        nodes - 1
                    ));
                }
                Ok(())
            }
            Which::Named(name) if self.names.contains(name.as_str()) => Ok(()),
            Which::Named(name) => Err(one_of("event or picked node", name, self.names.iter().copied())),
        })
    }

    fn name(&mut self, name: &'s str) -> Checked {
        if !is_name(name) {
            return Err(format!(
                "`{name}` is no name: small letters, digits and dashes, and no word with a meaning"
            ));
        }
        if self.names.insert(name) { Ok(()) } else { Err(format!("the name {name} is taken already")) }
    }

    fn event(&self, name: &str) -> Result<Time, String> {
        let shown = self.events.get(name).copied();
        shown.ok_or_else(|| one_of("event", name, self.events.keys().copied()))
    }

    fn pick(&mut self, pick: &'s Pick) -> Checked {
        self.nodes(&pick.node)?;
        self.name(&pick.r#as)
    }

    fn wait_for(&self, wait: &WaitFor) -> Checked {
        let sights = [&wait.held, &wait.evicting, &wait.refused, &wait.given_back];
        let nodes: Vec<&Nodes> = sights.into_iter().flatten().collect();
        match (nodes.as_slice(), &wait.fault) {
            ([nodes], None) => self.nodes(nodes),
            ([], Some(fault)) if self.faults.contains(fault.as_str()) => Ok(()),
            ([], Some(fault)) => Err(one_of("fault", fault, self.faults.iter().copied())),
            _ => Err("wait-for takes one of held, evicting, refused, given-back, fault".into()),
        }
    }

    fn announce(&mut self, announce: &'s Announce) -> Checked {
        match (&announce.r#type, &announce.unknown_type) {
            (Some(_), None) | (None, Some(_)) => {}
            _ => {
                return Err("an event has a `type` (Freeze, Reboot, Redeploy, Preempt, Terminate) or an \
                            `unknown-type`"
                    .into());
            }
        }
        if announce.started && (announce.notice != Time::default() || announce.not_before.is_some()) {
            return Err("an event that has `started` when it is first shown has no notice".into());
        }
        self.nodes(&announce.on)?;
        let pools: BTreeSet<&str> = announce
            .on
            .0
            .iter()
            .filter_map(|which| match which {
                Which::Instances { pool, .. } | Which::All(pool) => Some(pool.as_str()),
                _ => None,
            })
            .collect();
        if pools.len() > 1 {
            return Err("an event hits VMs of one pool: make it one event for each".into());
        }
        self.name(&announce.event)?;
        self.events.insert(&announce.event, self.now + announce.notice);
        Ok(())
    }

    fn set_budget(&self, budget: &SetBudget) -> Checked {
        let workload = self.workload(&budget.workload)?;
        if workload.max_unavailable.is_none() && workload.min_available.is_none() {
            return Err(format!("{} has no budget to begin with", budget.workload));
        }
        match (&budget.max_unavailable, &budget.min_available) {
            (Some(amount), None) | (None, Some(amount)) => check_amount(amount),
            _ => Err("set-budget takes one of max-unavailable, min-available".into()),
        }
    }

    fn process(&self, process: &Process) -> Checked {
        match process {
            Process::Leader | Process::Follower | Process::Coordinators => Ok(()),
            Process::Probe(nodes) => self.nodes(nodes),
        }
    }

    fn fault(&mut self, fault: &'s FaultScript) -> Checked {
        if let EffectScript::Answer(status) = fault.effect
            && !(400..=599).contains(&status)
        {
            return Err(format!("{status} is no refusal; a status from 400 to 599 is"));
        }
        if fault.times == Some(0) {
            return Err(format!("{} is for no request at all", fault.name));
        }
        if let Some(method) = &fault.requests.method
            && !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str())
        {
            return Err(format!("`{method}` is no method: GET, POST, PUT, PATCH or DELETE"));
        }
        if !is_name(&fault.name) || !self.faults.insert(&fault.name) {
            return Err(format!("`{}` is no name for a fault, or is taken already", fault.name));
        }
        Ok(())
    }

    fn fault_named(&self, name: &str) -> Checked {
        if self.faults.contains(name) {
            return Ok(());
        }
        Err(one_of("fault", name, self.faults.iter().copied()))
    }
}

/// Takes the last one out that is equal.
fn undo<T: PartialEq>(done: &mut Vec<T>, undone: &T) -> Option<()> {
    let index = done.iter().rposition(|one| one == undone)?;
    done.remove(index);
    Some(())
}
