//! Runs a world with every invariant checked after each second.

use mechanic_plan::Plan;

use crate::{
    invariants::Invariants,
    world::{START, World},
};

pub(crate) struct Run {
    pub(crate) world: World,
    invariants: Invariants,
    /// What was decided last.
    pub(crate) plan: Plan,
    /// Prints what changes, for whoever replays a seed.
    pub(crate) tells: bool,
}

impl Run {
    pub(crate) fn new(world: World) -> Self {
        Self { world, invariants: Invariants::default(), plan: Plan::new(), tells: false }
    }

    /// Nothing is promised of time where things go wrong on the way.
    pub(crate) fn without_deadlines(world: World) -> Self {
        let mut run = Self::new(world);
        run.invariants.ignore_deadlines();
        run
    }

    /// One second, or a jump over many in which nothing can happen.
    pub(crate) fn step(&mut self, until: u64) {
        self.world.advance(until);
        self.invariants.check_deadlines(&self.world);
        let Some(plan) = self.world.decide() else { return };
        if self.tells {
            self.tell(&plan);
        }
        self.invariants.check_decisions(&self.world, &plan);
        let deeds = self.world.act(&plan);
        Invariants::check_deeds(&self.world, &deeds);
        self.plan = plan;
    }

    fn tell(&self, plan: &Plan) {
        for (name, decision) in plan {
            let before = self.plan.get(name);
            let code = decision.reason.code();
            if before.map(|before| (before.reason.code(), before.drain)) != Some((code, decision.drain)) {
                eprintln!(
                    "{} {name}: {code} ({}), {:?}",
                    self.world.time - START,
                    decision.reason,
                    decision.drain
                );
            }
            if let Some(write) = &decision.write {
                eprintln!("{} {name}: {write:?}", self.world.time - START);
            }
        }
    }

    /// Goes on until that time.
    pub(crate) fn until(&mut self, time: u64) {
        while self.world.time < time {
            self.step(time);
        }
    }

    /// Goes on until `seen` says so; panics if it never does.
    #[track_caller]
    pub(crate) fn until_seen(&mut self, what: &str, mut seen: impl FnMut(&World, &Plan) -> bool) {
        let end = self.world.time + 24 * 3_600;
        while !seen(&self.world, &self.plan) {
            assert!(self.world.time < end, "{what} was never seen");
            self.step(end);
        }
    }
}
