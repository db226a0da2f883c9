//! A small world in virtual time that the real plan is run against: machines that are rebooted, probes that
//! see it, pods that take their time to go, leaders that are replaced, writes that get lost.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use mechanic_plan::{
    Claim, ClaimOnNode, ClaimPhase, Config, Decision, Document, DrainOrder, DrainProgress, Evidence, Fleet,
    Monotonic, Node, NodeWrite, Now, PodReport, Probe, ProbeVm, ScheduledEvent, Verdict, VmReference, plan,
};

/// A small generator of our own choice, so that a seed replays.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    pub(crate) fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

/// What really happens to a machine.
#[derive(Clone, Debug)]
pub(crate) struct Reboot {
    pub(crate) event_id: String,
    pub(crate) announced: u64,
    pub(crate) not_before: u64,
    /// When it is gone from the documents; before `not_before` it was cancelled.
    pub(crate) ends: u64,
}

impl Reboot {
    fn is_cancelled(&self) -> bool {
        self.ends <= self.not_before
    }

    fn is_down(&self, time: u64) -> bool {
        !self.is_cancelled() && (self.not_before + 5..self.not_before + 65).contains(&time)
    }

    fn event(&self, time: u64, vm: &str) -> Option<ScheduledEvent> {
        let started = time >= self.not_before;
        (self.announced..self.ends).contains(&time).then(|| ScheduledEvent {
            event_id: self.event_id.clone(),
            event_type: "Reboot".into(),
            status: if started { "Started" } else { "Scheduled" }.into(),
            not_before: if started { String::new() } else { wall(self.not_before).to_string() },
            description: String::new(),
            resources: vec![vm.to_owned()],
        })
    }
}

pub(crate) fn wall(time: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + i64::try_from(time).unwrap())
}

/// One machine, its Node and its pods.
pub(crate) struct Machine {
    pub(crate) node: Node,
    vm: String,
    boot: u64,
    probe_since: u64,
    unchanged_since: u64,
    imds_fails_until: u64,
    pub(crate) reboots: Vec<Reboot>,
    /// Pods that still run.
    pub(crate) running: usize,
    /// When each evicted pod will be gone.
    pub(crate) terminating: Vec<u64>,
    evicting: bool,
    /// Somebody else's cordon, label or garbage: never to be written on.
    pub(crate) foreign: bool,
    pub(crate) evictions: usize,
}

pub(crate) struct World {
    pub(crate) time: u64,
    pub(crate) config: Config,
    epoch: u64,
    leading_since: u64,
    pub(crate) machines: BTreeMap<String, Machine>,
    random: Random,
    /// Writes on their way: when they land, on which Node, against which version.
    on_their_way: Vec<(u64, String, String, NodeWrite)>,
    pub(crate) faults: bool,
}

/// What the world saw in one second.
pub(crate) struct Step {
    pub(crate) fleet: Fleet,
    pub(crate) decisions: BTreeMap<String, Decision>,
    pub(crate) written: Vec<(String, NodeWrite)>,
}

impl World {
    pub(crate) fn new(seed: u64, machines: usize, config: Config) -> Self {
        let machines = (0..machines).map(|index| {
            let vm = format!("vm{index}");
            let id =
                format!("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{vm}");
            let node = Node {
                uid: format!("uid-{index}"),
                resource_version: "1".into(),
                vm: VmReference::parse(&id),
                covered: true,
                unschedulable: false,
                not_ready_since: None,
                claim: ClaimOnNode::None,
                probe: None,
                drain: None,
                drain_pending: false,
            };
            let machine = Machine {
                node,
                vm,
                boot: 0,
                probe_since: 0,
                unchanged_since: 0,
                imds_fails_until: 0,
                reboots: Vec::new(),
                running: 4,
                terminating: Vec::new(),
                evicting: false,
                foreign: false,
                evictions: 0,
            };
            (format!("node-{index:03}"), machine)
        });
        Self {
            // Probes have been running for long.
            time: 1_000,
            config,
            epoch: 1,
            leading_since: 1_000,
            machines: machines.collect(),
            random: Random::new(seed),
            on_their_way: Vec::new(),
            faults: false,
        }
    }

    /// A new leader: it remembers nothing.
    pub(crate) fn change_leader(&mut self) {
        self.epoch += 1;
        self.leading_since = self.time;
        for machine in self.machines.values_mut() {
            machine.node.probe = None;
            machine.node.drain = None;
            machine.node.drain_pending = false;
            machine.evicting = false;
        }
    }

    pub(crate) fn break_imds(&mut self, name: &str, seconds: u64) {
        let until = self.time + seconds;
        self.machines.get_mut(name).unwrap().imds_fails_until = until;
    }

    /// One second.
    pub(crate) fn step(&mut self) -> Step {
        self.time += 1;
        let time = self.time;
        for machine in self.machines.values_mut() {
            machine.live(time, self.faults && self.random.one_in(10));
        }
        let nodes =
            self.machines.iter().map(|(name, machine)| (name.clone(), Arc::new(machine.node.clone())));
        let fleet = Fleet {
            config: self.config.clone(),
            epoch: self.epoch,
            leading_since: Monotonic(Duration::from_secs(self.leading_since)),
            nodes: nodes.collect(),
        };
        let now = Now { wall: wall(time), monotonic: Monotonic(Duration::from_secs(time)) };
        let decisions = plan(&fleet, now);
        for (name, decision) in &decisions {
            let under_way = self.on_their_way.iter().any(|(_, of, ..)| of == name);
            let Some(write) = decision.write.clone().filter(|_| !under_way) else { continue };
            let machine = self.machines.get_mut(name).unwrap();
            let begins_drain =
                matches!(&write, NodeWrite::Hold { claim, .. } if claim.phase == ClaimPhase::Draining);
            machine.node.drain_pending = begins_drain;
            let lands = time + if self.faults { self.random.below(4) } else { 0 };
            self.on_their_way.push((lands, name.clone(), machine.node.resource_version.clone(), write));
        }
        let mut written = Vec::new();
        let landing = self.on_their_way.extract_if(.., |(lands, ..)| *lands <= time).collect::<Vec<_>>();
        for (_, name, version, write) in landing {
            let lost = self.faults && self.random.one_in(5);
            let machine = self.machines.get_mut(&name).unwrap();
            machine.node.drain_pending = false;
            if !lost && machine.node.resource_version == version {
                machine.apply(&write);
                written.push((name, write));
            }
        }
        for (name, decision) in &decisions {
            let machine = self.machines.get_mut(name).unwrap();
            let (slow, grace) = (self.faults && self.random.one_in(3), self.random.below(30));
            machine.drain(decision.drain, slow, time + 1 + grace);
        }
        Step { fleet, decisions, written }
    }
}

impl Machine {
    pub(crate) fn announced(&self, time: u64) -> impl Iterator<Item = &Reboot> {
        self.reboots.iter().filter(move |reboot| (reboot.announced..reboot.ends).contains(&time))
    }

    /// Whether evictions or evicted pods are there now: what the limit is about.
    pub(crate) fn is_draining(&self) -> bool {
        !self.terminating.is_empty()
    }

    fn live(&mut self, time: u64, message_lost: bool) {
        let down = self.reboots.iter().any(|reboot| reboot.is_down(time));
        if down {
            // A reboot ends every process; the pods come back with the machine.
            self.terminating.clear();
            self.boot += u64::from(self.node.is_ready());
            let since = Monotonic(Duration::from_secs(time));
            self.node.not_ready_since = self.node.not_ready_since.or(Some(since));
            self.probe_since = time + 1;
            self.unchanged_since = time + 1;
            return;
        }
        self.node.not_ready_since = None;
        self.terminating.retain(|gone| *gone > time);
        let events: Vec<_> = self.reboots.iter().filter_map(|reboot| reboot.event(time, &self.vm)).collect();
        let before: Vec<_> =
            self.reboots.iter().filter_map(|reboot| reboot.event(time - 1, &self.vm)).collect();
        let failing = time < self.imds_fails_until;
        if events != before || failing {
            self.unchanged_since = time + u64::from(failing);
        }
        if message_lost {
            return;
        }
        let evidence = (!failing).then(|| Evidence {
            consecutive_polls: u32::try_from(time - self.unchanged_since + 1).unwrap(),
            span: Duration::from_secs(time - self.unchanged_since),
            continuous_for: Duration::from_secs(time.saturating_sub(self.probe_since)),
        });
        let boot_id = format!("boot-{}", self.boot);
        let known = self.node.probe.take().filter(|probe| probe.boot_id == boot_id);
        let document = match known.and_then(|probe| probe.document) {
            document if failing => document,
            _ => Some(Arc::new(Document { own_events: events, complete: true })),
        };
        let vm = ProbeVm { vm_id: format!("id-{}", self.vm), reference: self.node.vm.clone() };
        let last_heard = Monotonic(Duration::from_secs(time));
        self.node.probe = Some(Probe { last_heard, boot_id, vm: Some(vm), document, evidence });
    }

    fn apply(&mut self, write: &NodeWrite) {
        let version: u64 = self.node.resource_version.parse().unwrap();
        self.node.resource_version = (version + 1).to_string();
        match write {
            NodeWrite::Hold { claim, cordon } => {
                // It must survive its own encoding.
                let claim = Claim::parse(&claim.to_annotation().unwrap()).unwrap();
                if claim.phase != ClaimPhase::Draining
                    && self.node.drain.as_ref().is_some_and(|drain| drain.ended)
                {
                    self.node.drain = None;
                }
                self.node.claim = ClaimOnNode::Readable(claim);
                self.node.unschedulable |= cordon;
            }
            NodeWrite::Release { uncordon } => {
                self.node.claim = ClaimOnNode::None;
                self.node.unschedulable &= !uncordon;
                self.node.drain = None;
                self.running = 4;
            }
        }
    }

    fn drain(&mut self, order: DrainOrder, slow: bool, gone_at: u64) {
        if order == DrainOrder::Run {
            self.evicting = true;
            if !slow && self.running > 0 {
                self.running -= 1;
                self.evictions += 1;
                self.terminating.push(gone_at);
            }
        } else if order == DrainOrder::Settle {
            self.evicting = false;
        }
        if order == DrainOrder::Stop && !self.evicting && self.node.drain.is_none() {
            return;
        }
        if order == DrainOrder::Stop {
            self.evicting = false;
        }
        let left = self.running + self.terminating.len();
        let clean = order == DrainOrder::Run && left == 0;
        let report = |index: usize| PodReport {
            namespace: "default".into(),
            name: format!("pod-{index}"),
            verdict: Verdict::Evict,
            detail: String::new(),
        };
        self.node.drain = Some(DrainProgress {
            pods: (0..left).map(report).collect(),
            evicted_terminating: self.terminating.len(),
            clean,
            ended: clean || (!self.evicting && self.terminating.is_empty()),
        });
    }
}
