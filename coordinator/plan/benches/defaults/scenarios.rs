//! Situations that tell good settings from bad ones.

use mechanic_plan::Config;

use crate::world::{Announcement, Budget, START, Stats, Workload, World};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const SOON: u64 = START + 10;

pub(crate) struct Scenario {
    pub(crate) what: &'static str,
    /// The world, and when it is over.
    pub(crate) world: fn(u64, Config) -> (World, u64),
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { what: "one Reboot among 10 nodes", world: single_reboot },
    Scenario {
        what: "host maintenance through a pool of 20, five fault domains of four, each announced 15 min ahead when the one before is done",
        world: rolling_maintenance,
    },
    Scenario {
        what: "eight Reboots at once in 20 nodes",
        world: |seed, config| eight(seed, config, "Reboot"),
    },
    Scenario {
        what: "eight Terminates with 5 min of notice at once in 20 nodes",
        world: |seed, config| eight(seed, config, "Terminate"),
    },
    Scenario { what: "ten Spot machines of 20 taken away in 30 s", world: spot },
    Scenario {
        what: "degraded hardware, its days cut to hours: a Redeploy 2 h ahead, and two 3 h ahead that are called off after 2 h",
        world: degraded,
    },
    Scenario { what: "three Reboots in 10 full nodes", world: |seed, config| full(seed, config, None) },
    Scenario {
        what: "the same with an autoscaler that takes 4 min",
        world: |seed, config| full(seed, config, Some(4 * MINUTE)),
    },
    Scenario {
        what: "four Reboots in 10 nodes, every budget lets one pod go at a time, 60 s to start",
        world: tight_budgets,
    },
    Scenario { what: "six Reboots in 20 nodes, five of them called off after 3 to 8 min", world: cancelled },
    Scenario { what: "50 Reboots within 5 min in 1,000 nodes", world: thousand },
    Scenario { what: "four Reboots in 12 nodes, of which four more are NotReady", world: half_gone },
];

/// Machines of one pool with `pods` pods each and room for ten.
fn cluster(seed: u64, config: Config, machines: usize, pods: usize) -> World {
    let mut world = World::new(seed, config);
    for _ in 0..machines {
        world.add_machine("a", 10);
    }
    for part in 0..pods {
        let grace = [30, 30, 60, 10][part % 4];
        world.add_workload(Workload { grace, start: 20, ..Workload::new("a", machines) });
    }
    world
}

fn single_reboot(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 10, 6);
    world.announce(Announcement::new("Reboot", &[0], SOON, 15 * MINUTE));
    (world, SOON + HOUR)
}

fn rolling_maintenance(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 20, 6);
    for domain in 0..5_u64 {
        let first = usize::try_from(domain).unwrap() * 4;
        let machines: Vec<usize> = (first..first + 4).collect();
        world.announce(Announcement::new("Reboot", &machines, SOON + domain * 20 * MINUTE, 15 * MINUTE));
    }
    (world, SOON + 3 * HOUR)
}

fn eight(seed: u64, config: Config, event_type: &str) -> (World, u64) {
    let mut world = cluster(seed, config, 20, 5);
    let notice = if event_type == "Terminate" { 5 } else { 15 };
    for machine in 0..8 {
        world.announce(Announcement::new(event_type, &[machine], SOON, notice * MINUTE));
    }
    (world, SOON + HOUR)
}

fn spot(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 20, 4);
    for machine in 0..10 {
        world.announce(Announcement::new("Preempt", &[machine], SOON, 30));
    }
    (world, SOON + HOUR / 2)
}

fn degraded(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 10, 6);
    world.announce(Announcement::new("Redeploy", &[0], SOON, 2 * HOUR));
    for machine in [1, 2] {
        world.announce(Announcement::new("Redeploy", &[machine], SOON, 3 * HOUR).cancelled(SOON + 2 * HOUR));
    }
    (world, SOON + 3 * HOUR)
}

fn full(seed: u64, config: Config, autoscaler_takes: Option<u64>) -> (World, u64) {
    let mut world = cluster(seed, config, 10, 10);
    world.autoscaler_takes = autoscaler_takes;
    for machine in 0..3 {
        world.announce(Announcement::new("Reboot", &[machine], SOON, 15 * MINUTE));
    }
    (world, SOON + HOUR)
}

fn tight_budgets(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 10, 0);
    for _ in 0..3 {
        let workload = Workload { start: 60, ..Workload::new("a", 20) };
        world.add_workload(workload.with_budget(Budget::MaxUnavailable(1)));
    }
    for machine in 0..4 {
        world.announce(Announcement::new("Reboot", &[machine], SOON, 15 * MINUTE));
    }
    (world, SOON + HOUR)
}

fn cancelled(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 20, 6);
    for machine in 0..6 {
        let event = Announcement::new("Reboot", &[machine], SOON, 15 * MINUTE);
        let called_off = SOON + (3 + machine as u64) * MINUTE;
        world.announce(if machine == 5 { event } else { event.cancelled(called_off) });
    }
    (world, SOON + HOUR)
}

fn thousand(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 1_000, 5);
    for number in 0..50_u64 {
        let machine = usize::try_from(number).unwrap() * 20;
        world.announce(Announcement::new("Reboot", &[machine], SOON + number * 6, 15 * MINUTE));
    }
    (world, SOON + 21 * MINUTE)
}

fn half_gone(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 12, 3);
    for machine in 8..12 {
        world.now(crate::world::Change::Down(machine));
        world.now(crate::world::Change::NotReady(machine));
        world.at(SOON + 40 * MINUTE, crate::world::Change::Up { machine, another: false });
    }
    // Those pods are none of mechanic's.
    world.stats = Stats::default();
    for machine in 0..4 {
        world.announce(Announcement::new("Reboot", &[machine], SOON + 5 * MINUTE, 15 * MINUTE));
    }
    (world, SOON + HOUR)
}
