//! Situations that tell good settings from bad ones.

use mechanic_plan::Config;

use crate::world::{Announcement, Budget, Change, Impact, START, Stats, Workload, World};

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
    Scenario {
        what: "ten Spot machines of 20 taken away in 30 s",
        world: |seed, config| spot(seed, config, 10),
    },
    Scenario {
        what: "sixteen Spot machines of 20 taken away in 30 s",
        world: |seed, config| spot(seed, config, 16),
    },
    Scenario {
        what: "degraded hardware, its days cut to hours: a Redeploy 2 h ahead, and two 3 h ahead that are called off after 2 h",
        world: degraded,
    },
    Scenario { what: "three Reboots in 10 full nodes", world: |seed, config| full(seed, config, None) },
    Scenario {
        what: "the same, with an autoscaler that takes 4 min",
        world: |seed, config| full(seed, config, Some(4 * MINUTE)),
    },
    Scenario {
        what: "four Reboots in 10 nodes, every budget lets one pod go at a time, 60 s to start",
        world: tight_budgets,
    },
    Scenario {
        what: "the same, and no coordinator leads from 12 to 4 min before the machines go",
        world: without_leader,
    },
    Scenario { what: "six Reboots in 20 nodes, five of them called off after 3 to 8 min", world: cancelled },
    Scenario { what: "50 Reboots within 5 min in 1,000 nodes", world: thousand },
    Scenario {
        what: "four Reboots in 12 nodes, of which four more are NotReady for 40 min",
        world: |seed, config| not_ready(seed, config, 4),
    },
    Scenario {
        what: "the same where seven more are NotReady",
        world: |seed, config| not_ready(seed, config, 7),
    },
    Scenario { what: "eight Reboots at once in 10 nodes that are half full", world: nearly_all },
    Scenario {
        what: "three Reboots 15 min ahead in 10 full nodes; after 8 min the documents are empty for 40 s",
        world: empty_before_it_begins,
    },
    Scenario {
        what: "a Redeploy that has begun in 10 full nodes, its machine goes after 3 min; just before that the documents are empty for 8 s",
        world: empty_under_way,
    },
    Scenario {
        what: "two Redeploys in 10 full nodes, whose machines come back to empty documents for 2 min, and go once more a minute later",
        world: empty_after_boot,
    },
    Scenario {
        what: "two Terminates in 10 full nodes that vanish as they begin; the machines go 4 min later",
        world: slow_terminate,
    },
    Scenario {
        what: "two Terminates in 10 full nodes that a person calls off a minute before",
        world: |seed, config| terminate_called_off(seed, config, 2),
    },
    Scenario {
        what: "sixteen Terminates in 20 nodes that a person calls off a minute before",
        world: |seed, config| terminate_called_off(seed, config, 16),
    },
    Scenario {
        what: "five Reboots in 13 nodes, and the first machine has a pod that its budget never lets go",
        world: |seed, config| {
            behind_a_budget(seed, config, Workload::new("b", 1).with_budget(Budget::MinAvailable(1)))
        },
    },
    Scenario {
        what: "five Reboots in 13 nodes; on the first machine a budget lets one pod go at a time, and its pods take 4 min to start",
        world: |seed, config| {
            let slow = Workload { start: 4 * MINUTE, ..Workload::new("b", 6) };
            behind_a_budget(seed, config, slow.with_budget(Budget::MaxUnavailable(1)))
        },
    },
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

/// One drain at a time, and the first machine in turn is one with pods that a budget holds.
fn behind_a_budget(seed: u64, config: Config, held: Workload) -> (World, u64) {
    let mut world = cluster(seed, config, 10, 6);
    let first = world.add_machine("b", 10);
    world.add_workload(held);
    for _ in 0..2 {
        world.add_machine("b", 10);
    }
    world.announce(Announcement::new("Reboot", &[first], SOON, 14 * MINUTE));
    world.announce(Announcement::new("Reboot", &[0, 1, 2, 3], SOON, 15 * MINUTE));
    (world, SOON + 2 * HOUR)
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

fn spot(seed: u64, config: Config, machines: usize) -> (World, u64) {
    let mut world = cluster(seed, config, 20, 4);
    for machine in 0..machines {
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

/// Machines that are cut off from the control plane, and four others that reboot.
fn not_ready(seed: u64, config: Config, machines: usize) -> (World, u64) {
    let mut world = cluster(seed, config, 12, 3);
    for machine in 12 - machines..12 {
        world.now(Change::Down(machine));
        world.now(Change::NotReady(machine));
        world.at(SOON + 40 * MINUTE, Change::Up { machine, another: false });
    }
    // Those pods are none of mechanic's.
    world.stats = Stats::default();
    for machine in 0..4 {
        world.announce(Announcement::new("Reboot", &[machine], SOON + 5 * MINUTE, 15 * MINUTE));
    }
    (world, SOON + HOUR)
}

fn nearly_all(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 10, 5);
    for machine in 0..8 {
        world.announce(Announcement::new("Reboot", &[machine], SOON, 15 * MINUTE));
    }
    (world, SOON + HOUR)
}

fn without_leader(seed: u64, config: Config) -> (World, u64) {
    let (mut world, ends) = tight_budgets(seed, config);
    world.at(SOON + 3 * MINUTE, Change::LeaderDies);
    world.at(SOON + 11 * MINUTE, Change::LeaderBegins);
    (world, ends)
}

fn is_empty(world: &mut World, machines: usize, from: u64, seconds: u64) {
    for machine in 0..machines {
        world.at(from, Change::DocumentEmpty(machine, true));
        world.at(from + seconds, Change::DocumentEmpty(machine, false));
    }
}

fn empty_before_it_begins(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 10, 10);
    for machine in 0..3 {
        world.announce(Announcement::new("Reboot", &[machine], SOON, 15 * MINUTE));
    }
    is_empty(&mut world, 3, SOON + 8 * MINUTE, 40);
    (world, SOON + HOUR)
}

/// A Redeploy that has begun; what it does to the machine is for the caller to say.
fn begun(machine: usize) -> Announcement {
    let event = Announcement::new("Redeploy", &[machine], SOON, 0).started_at_first_sight();
    Announcement { impact: Impact::None, ends: SOON + 15 * MINUTE, ..event }
}

fn goes_and_comes(world: &mut World, machine: usize, down: u64, up: u64) {
    world.at(SOON + down, Change::Down(machine));
    world.at(SOON + up, Change::Up { machine, another: false });
}

fn empty_under_way(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 10, 10);
    world.announce(begun(0));
    goes_and_comes(&mut world, 0, 180, 420);
    is_empty(&mut world, 1, SOON + 168, 8);
    (world, SOON + HOUR)
}

fn empty_after_boot(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 10, 10);
    for machine in 0..2 {
        world.announce(begun(machine));
        goes_and_comes(&mut world, machine, 60, 240);
        goes_and_comes(&mut world, machine, 420, 480);
    }
    is_empty(&mut world, 2, SOON + 230, 130);
    (world, SOON + HOUR)
}

fn slow_terminate(seed: u64, config: Config) -> (World, u64) {
    let mut world = cluster(seed, config, 10, 10);
    for machine in 0..2 {
        let event = Announcement::new("Terminate", &[machine], SOON, 5 * MINUTE);
        let begins = event.not_before;
        world.announce(Announcement { impact: Impact::None, ends: begins + 2, ..event });
        world.at(begins + 4 * MINUTE, Change::Down(machine));
        world.at(begins + 5 * MINUTE, Change::NodeDeleted(machine));
    }
    (world, SOON + HOUR)
}

fn terminate_called_off(seed: u64, config: Config, machines: usize) -> (World, u64) {
    let (all, pods) = if machines > 10 { (20, 5) } else { (10, 10) };
    let mut world = cluster(seed, config, all, pods);
    for machine in 0..machines {
        let event = Announcement::new("Terminate", &[machine], SOON, 5 * MINUTE);
        world.announce(event.cancelled(SOON + 4 * MINUTE));
    }
    (world, SOON + HOUR)
}
