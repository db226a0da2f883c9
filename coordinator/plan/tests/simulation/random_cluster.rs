//! A cluster and a bad afternoon, drawn from a seed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mechanic_plan::{Amount, Claim, ClaimOnNode, Config, EventType, Policy, Wave};

use crate::world::{
    Announcement, Budget, Change, ConditionSays, Faults, Impact, Random, START, Workload, World, rfc_1123,
};

const LIVE_MIGRATION: &str =
    "Virtual machine is being paused because of a memory-preserving Live Migration operation.";

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Afternoon {
    pub(crate) machines: usize,
    /// Events come for so many seconds.
    pub(crate) lasts: u64,
    pub(crate) events: u64,
    /// Whether probes, writes, leaders and people get in the way.
    pub(crate) troubled: bool,
}

impl Afternoon {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xAF7E_2000);
        let machines = match random.below(12) {
            0 => random.between(40, 120),
            1..4 => random.between(15, 40),
            _ => random.between(3, 14),
        };
        let lasts = random.between(1_800, 7_200);
        let events = random.between(1, machines * 2);
        let troubled = random.one_in(2);
        Self { machines: usize::try_from(machines).unwrap(), lasts, events, troubled }
    }

    /// The world, with everything that will happen on its agenda.
    pub(crate) fn world(self, seed: u64) -> World {
        let mut random = Random::new(seed ^ 0xC105_7E12);
        let config = config(&mut random, self.troubled);
        let mut world = World::new(seed, config);
        let pools: Vec<String> = (0..random.between(1, 3)).map(|pool| format!("pool{pool}")).collect();
        let capacity = random.index(8) + 4;
        for number in 0..self.machines {
            let pool = &pools[number % pools.len()];
            world.add_machine(pool, capacity);
        }
        add_workloads(&mut world, &mut random, &pools, capacity);
        if random.one_in(3) {
            world.autoscaler_takes = Some(random.between(120, 300));
        }
        for _ in 0..self.events {
            let event = random_event(&mut random, &world, self.lasts);
            let id = world.announce(event.clone());
            if random.one_in(12) && event.not_before > event.announced + 120 {
                // Some deadlines move nearer.
                let earlier = rfc_1123(event.not_before - 60);
                world.at(event.announced + random.between(1, 60), Change::NotBefore(id, earlier));
            }
        }
        for number in 0..self.machines {
            let says =
                random.pick(&[ConditionSays::Nothing, ConditionSays::Nothing, ConditionSays::TheTruth]);
            world.now(Change::ConditionSays(number, says));
        }
        add_people(&mut world, &mut random, self);
        if self.troubled {
            world.faults = Faults { slow_writes: random.one_in(2), lost_writes: random.one_in(2) };
            add_trouble(&mut world, &mut random, self);
        }
        self.add_peace(&mut world);
        world
    }

    /// When the last of it is over, and mechanic has had its time.
    pub(crate) fn ends(self) -> u64 {
        self.peace_from() + 3_600
    }

    /// From then on nothing goes wrong any more.
    fn peace_from(self) -> u64 {
        START + self.lasts + 3_600
    }

    fn add_peace(self, world: &mut World) {
        let at = self.peace_from();
        for number in 0..self.machines {
            world.at(at, Change::ProbeMute(number, false));
            world.at(at, Change::ProbeFails(number, false));
            world.at(at, Change::ProbeGarbled(number, false));
            world.at(at, Change::OptOut(number, false));
            world.at(at, Change::Ready(number));
        }
        world.at(at, Change::Settings(Box::default()));
    }
}

fn config(random: &mut Random, troubled: bool) -> Config {
    let mut config = Config::default();
    if random.one_in(2) {
        config.max_concurrent_drains = Amount::Number(random.index(4) + 1);
    }
    if random.one_in(3) {
        config.max_cordoned = random.pick(&[Amount::Number(1), Amount::Percent(25), Amount::Percent(100)]);
    }
    if random.one_in(3) {
        config.max_unavailable_nodes = random.pick(&[Amount::Number(1), Amount::Percent(20)]);
    }
    if random.one_in(3) {
        config.lead_time = Duration::from_secs(random.between(60, 3_600));
    }
    config.set_aside_after = Duration::from_secs(random.pick(&[30, 300, 300, 3_600]));
    if troubled && random.one_in(4) {
        config.emergency_concurrent_drains = Amount::Percent(100);
    }
    if random.one_in(3) {
        config.last_call = [EventType::Preempt, EventType::Terminate].into();
    }
    if random.one_in(3) {
        let (drains, cordons) = (random.index(2) + 1, random.pick(&["1", "34%", "100%"]));
        let word = random.pick(&["Show", "Cordon"]);
        let policy = format!(
            "{{events: [{{neighboursWord: {word}}}], budgets: \
             [{{name: each-pool, each: Pool, maxConcurrentDrains: {drains}, maxCordoned: {cordons}}}]}}"
        );
        config.policy = Policy::parse(&policy).unwrap().into();
    }
    config
}

fn add_workloads(world: &mut World, random: &mut Random, pools: &[String], capacity: usize) {
    // From half empty to full.
    let pods = world.machines.len() * capacity * (random.index(6) + 5) / 10;
    let mut placed = 0;
    while placed < pods {
        let replicas = random.index(9) + 1;
        let pool = random.pick(pools);
        let budget = match random.below(6) {
            0 => Some(Budget::MaxUnavailable(1)),
            1 => Some(Budget::MaxUnavailable(replicas.div_ceil(4))),
            2 => Some(Budget::MinAvailable(replicas.saturating_sub(1))),
            // One that never lets anybody go.
            3 if random.one_in(4) => Some(Budget::MinAvailable(replicas)),
            _ => None,
        };
        let kind = random.below(12);
        world.add_workload(Workload {
            budget,
            grace: random.pick(&[5, 30, 30, 30, 60, 300]),
            stubborn: random.one_in(6),
            start: random.between(2, 40),
            replaces_at_once: kind > 2,
            is_managed: kind != 0,
            empty_dir: kind == 3,
            asks_to_stay: kind == 4,
            wave: if kind == 5 { Wave::Critical } else { Wave::Ordinary },
            ..Workload::new(&pool, replicas)
        });
        placed += replicas;
    }
}

fn random_event(random: &mut Random, world: &World, lasts: u64) -> Announcement {
    let announced = START + random.between(5, lasts);
    let first = random.index(world.machines.len());
    let group = world.machines[first].group;
    let mut machines = vec![first];
    if random.one_in(5) {
        let same = |number: &usize| world.machines[*number].group == group && *number != first;
        let others: Vec<usize> = (0..world.machines.len()).filter(same).collect();
        machines.extend(others.into_iter().filter(|_| random.one_in(3)));
    }
    let on = machines.as_slice();
    let new = |event_type, notice| Announcement::new(event_type, on, announced, notice);
    let event = match random.below(16) {
        0 | 1 => new("Freeze", 900).lasting(Some(9), "Host server is undergoing maintenance."),
        2 | 3 => new("Freeze", 900).lasting(Some(5), LIVE_MIGRATION),
        4 => new("Freeze", 900).lasting(None, ""),
        5 => new("Redeploy", 600),
        6 => new("Preempt", random.between(10, 40)),
        7 => new("Terminate", random.between(300, 900)),
        8 => {
            let spared = new("Terminate", 600);
            Announcement { impact: Impact::None, ..spared }
        }
        9 => new("Reboot", 900).approved_after(random.between(2, 60)),
        10 => new(random.pick(&["Reboot", "Redeploy", "Freeze"]), 900).started_at_first_sight(),
        11 => new(random.pick(&["Rehydrate", "SpotRebalanceRecommendation"]), 900),
        12 => {
            let mut event = new("Reboot", 900);
            random
                .pick(&["", "soon", "Sun, 31 Nov 2026 14:45:10 GMT"])
                .clone_into(&mut event.event.not_before);
            event
        }
        13 => Announcement { impact: Impact::Replace(200), ..new("Redeploy", 600) },
        _ => new("Reboot", 900),
    };
    if random.one_in(5) && event.begins.is_some_and(|begins| begins > announced) {
        let at = random.between(announced + 1, event.not_before);
        return event.cancelled(at);
    }
    if random.one_in(40) {
        let mut odd = event;
        odd.event.status = "Postponed".into();
        let at = odd.not_before;
        return odd.cancelled(at);
    }
    event
}

fn add_people(world: &mut World, random: &mut Random, Afternoon { machines, lasts, .. }: Afternoon) {
    for number in 0..machines {
        let at = START + random.between(5, lasts);
        match random.below(20) {
            0 => world.now(Change::Cordon(number)),
            1 if random.one_in(2) => world.at(at, Change::CordonApplied(number)),
            1 => world.at(at, Change::Cordon(number)),
            2 => world.now(Change::Foreign(number, ClaimOnNode::LabelOnly)),
            3 => {
                let error = Claim::parse("{}").unwrap_err();
                world.now(Change::Foreign(number, ClaimOnNode::Unreadable(Arc::new(error))));
            }
            4 => {
                world.at(at, Change::OptOut(number, true));
                if random.one_in(2) {
                    world.at(at + random.between(1, 900), Change::OptOut(number, false));
                }
            }
            5 | 6 => {
                world.at(at, Change::Uncordon(number));
                if random.one_in(3) {
                    world.at(at + random.between(1, 600), Change::Cordon(number));
                }
            }
            _ => {}
        }
    }
    for _ in 0..random.below(3) {
        let at = START + random.between(5, lasts);
        let mut changed = config(random, false);
        changed.paused = random.one_in(3);
        let before = world.fleet.config.clone();
        world.at(at, Change::Settings(Box::new(changed)));
        world.at(at + random.between(1, 900), Change::Settings(Box::new(before)));
    }
}

fn add_trouble(world: &mut World, random: &mut Random, Afternoon { machines, lasts, .. }: Afternoon) {
    for _ in 0..random.below(4) {
        let at = START + random.between(5, lasts + 1_200);
        world.at(at, Change::LeaderDies);
        world.at(at + random.between(3, 25), Change::LeaderBegins);
    }
    let mut blinking = BTreeSet::new();
    for _ in 0..random.between(1, machines as u64 * 2) {
        let at = START + random.between(5, lasts);
        let number = random.index(machines);
        let until = at + random.between(2, 2_400);
        match random.below(10) {
            0 | 1 => {
                world.at(at, Change::ProbeMute(number, true));
                world.at(until, Change::ProbeMute(number, false));
            }
            2 => {
                world.at(at, Change::ProbeFails(number, true));
                world.at(until, Change::ProbeFails(number, false));
            }
            3 => {
                world.at(at, Change::ProbeGarbled(number, true));
                world.at(until, Change::ProbeGarbled(number, false));
            }
            4 => world.at(at, Change::ProbeRestarts(number)),
            5 => {
                world.at(at, Change::NotReady(number));
                world.at(until, Change::Ready(number));
            }
            6 => {
                world.at(at, Change::ShutDown(number, true));
                world.at(until, Change::ShutDown(number, false));
            }
            7 => world.at(at, Change::NodeRecreated(number)),
            // Shorter than every hold; two in a row might be longer.
            8 if blinking.insert(number) => {
                world.at(at, Change::DocumentEmpty(number, true));
                world.at(at + random.between(1, 8), Change::DocumentEmpty(number, false));
            }
            _ => world.at(at, Change::ConditionSays(number, ConditionSays::TheOpposite)),
        }
    }
}
