//! Signals to mechanic's processes.

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::Actor;
use crate::install::PodProcess;
use crate::scenario::action::{Coordinator, Process};
use crate::scenario::which::Nodes;

/// What stands still, under the words that it was stopped by.
pub(super) type Stopped = Vec<(Process, Vec<PodProcess>)>;

impl Actor<'_> {
    pub(super) async fn kill(&mut self, process: &Process) -> Result<()> {
        for pod in self.processes(process).await? {
            self.note(format!("kills {}, which is {}", pod.pod, in_words(process)));
            signal(&pod, Signal::KILL)?;
        }
        Ok(())
    }

    pub(super) async fn stop(&mut self, process: &Process) -> Result<()> {
        let pods = self.processes(process).await?;
        // Before anything can fail, or what stands still by then would never go on.
        self.stopped.push((process.clone(), pods.clone()));
        for pod in &pods {
            self.note(format!("stops {}, which is {}", pod.pod, in_words(process)));
            signal(pod, Signal::STOP)?;
        }
        Ok(())
    }

    pub(super) fn go_on(&mut self, process: &Process) -> Result<()> {
        let stopped = self.stopped.iter().rposition(|(words, _)| words == process);
        let (_, pods) = self.stopped.remove(stopped.context("nothing was stopped under these words")?);
        for pod in &pods {
            self.note(format!("lets {} go on", pod.pod));
            // It may have been taken away in the meantime.
            let _ = signal(pod, Signal::CONT);
        }
        Ok(())
    }

    /// The probes end, and nobody starts them again.
    pub(super) async fn mute(&mut self, nodes: &Nodes) -> Result<()> {
        for pod in self.probes(nodes).await? {
            self.note(format!("mutes the probe on {}", pod.node));
            self.world.installation.hold_start(&pod.pod);
            signal(&pod, Signal::KILL)?;
        }
        Ok(())
    }

    pub(super) async fn unmute(&mut self, nodes: &Nodes) -> Result<()> {
        for node in self.nodes(nodes).await? {
            let pod = self.world.installation.probe_on(&node.name)?;
            self.note(format!("lets the probe on {} start again", pod.node));
            self.world.installation.allow_start(&pod.pod);
        }
        Ok(())
    }

    pub(super) async fn coordinator(&self, which: Coordinator) -> Result<PodProcess> {
        let leader = self.world.leader().await?;
        match which {
            Coordinator::Leader => Ok(leader),
            Coordinator::Follower => {
                let mut others = self.running_coordinators();
                others.retain(|pod| pod.uid != leader.uid);
                others.into_iter().next().context("there is no follower")
            }
        }
    }

    async fn processes(&mut self, process: &Process) -> Result<Vec<PodProcess>> {
        match process {
            Process::Leader => Ok(vec![self.coordinator(Coordinator::Leader).await?]),
            Process::Follower => Ok(vec![self.coordinator(Coordinator::Follower).await?]),
            Process::Coordinators => Ok(self.running_coordinators()),
            Process::Probe(nodes) => self.probes(nodes).await,
        }
    }

    fn running_coordinators(&self) -> Vec<PodProcess> {
        let pods = self.world.installation.coordinators();
        pods.into_iter().filter(|pod| pod.pid.is_some()).collect()
    }

    async fn probes(&mut self, nodes: &Nodes) -> Result<Vec<PodProcess>> {
        let nodes = self.nodes(nodes).await?;
        nodes.iter().map(|node| self.world.installation.probe_on(&node.name)).collect()
    }
}

fn in_words(process: &Process) -> &'static str {
    match process {
        Process::Leader => "the leader",
        Process::Follower => "a follower",
        Process::Coordinators => "a coordinator",
        Process::Probe(_) => "a probe",
    }
}

fn signal(pod: &PodProcess, signal: Signal) -> Result<()> {
    let pid = pod.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("{} has no process just now", pod.pod))?;
    kill_process(pid, signal).with_context(|| format!("the process of {} can't be signalled", pod.pod))
}
