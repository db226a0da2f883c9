//! One situation each, with every invariant checked on the way.

mod cancellations;
mod events;
mod last_call;
mod limits;
mod people;
mod proof_table;
mod set_aside;
mod warnings;

use std::time::Duration;

use mechanic_plan::{Amount, Claim, ClaimOnNode, Config, Reason, ReasonCode};

use crate::{
    run::Run,
    world::{Announcement, START, Workload, World},
};

/// When most events are announced.
const SOON: u64 = START + 10;

/// The defaults, but an event is acted on half an hour ahead: most here are announced a quarter of an hour ahead. No node
/// is set aside, so that a budget can hold a drain for as long as a test needs one that runs.
fn early() -> Config {
    let never = Duration::from_hours(24);
    Config { lead_time: Duration::from_mins(30), set_aside_after: never, ..Config::default() }
}

fn one_drain_at_once() -> Config {
    Config { max_concurrent_drains: Amount::Number(1), ..early() }
}

/// Machines of one pool with four pods each and room for eight more.
fn cluster(machines: usize) -> World {
    cluster_with(machines, early())
}

fn cluster_with(machines: usize, config: Config) -> World {
    let mut world = World::new(7, config);
    for _ in 0..machines {
        world.add_machine("a", 12);
    }
    world.add_workload(Workload::new("a", machines * 4));
    world
}

/// A world in which that is announced, and nothing else.
fn run_with(mut world: World, announcements: impl IntoIterator<Item = Announcement>) -> Run {
    for announcement in announcements {
        world.announce(announcement);
    }
    Run::new(world)
}

impl Run {
    fn go_on(&mut self, seconds: u64) {
        self.until(self.world.time + seconds);
    }

    fn reason(&self, machine: usize) -> ReasonCode {
        self.plan[&self.world.machines[machine].node].reason.code()
    }

    fn warns(&self, machine: usize, code: ReasonCode) -> bool {
        let warnings = &self.plan[&self.world.machines[machine].node].warnings;
        warnings.iter().map(Reason::code).any(|warning| warning == code)
    }

    fn claim(&self, machine: usize) -> Option<&Claim> {
        match &self.world.node(machine).claim {
            ClaimOnNode::Readable(claim) => Some(claim),
            _ => None,
        }
    }

    fn pods(&self, machine: usize) -> usize {
        self.world.machines[machine].pods.len()
    }

    fn is_cordoned(&self, machine: usize) -> bool {
        self.world.node(machine).unschedulable
    }

    fn is_draining(&self, machine: usize) -> bool {
        self.claim(machine).is_some_and(|claim| claim.phase == mechanic_plan::ClaimPhase::Draining)
    }

    /// Until the node is given back; returns how long that took.
    #[track_caller]
    fn until_released(&mut self, machine: usize) -> u64 {
        let from = self.world.time;
        self.until_seen("a release", |world, _| world.node(machine).claim == ClaimOnNode::None);
        self.world.time - from
    }
}
