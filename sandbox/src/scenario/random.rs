//! An afternoon that nobody wrote: a script drawn from a seed, in the format that everybody else writes.
//!
//! It is made of incidents that may overlap: an event and what becomes of its machines, something that a person does and
//! takes back, a fault that ends. Each ends in peace, so that all of it does. Nothing is expected but that: the referee's
//! promises are what an hour of this is judged by.

mod dice;
mod events;
mod faults;
mod people;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::time::Time;

use dice::Dice;

/// The script in full. The same seed and length give the same one.
pub(super) fn script(seed: u64, length: Time) -> String {
    let mut drawing = Drawing::new(seed, length.as_written().as_secs());
    let world = drawing.world();
    drawing.incidents();
    let Drawing { machines, steps, .. } = drawing;
    let mut script = format!(
        "title: \"Drawn from seed {seed}: {} nodes, and {length} of events and faults\"\n{world}steps:\n",
        machines.len()
    );
    for (at, actions) in steps {
        let _ = writeln!(script, "  - at: {at}s\n    do:");
        for action in actions {
            let _ = writeln!(script, "      - {action}");
        }
    }
    // Enough for the longest hold after the last leader has died.
    script + "expect:\n  given-back-within: 2m\n"
}

/// What is drawn so far.
struct Drawing {
    dice: Dice,
    length: u64,
    machines: Vec<Machine>,
    /// Workloads that have a budget.
    budgeted: Vec<&'static str>,
    /// What people restore after they tried something else.
    config: BTreeMap<&'static str, String>,
    /// Until when something is the matter with what all depends on, or somebody may be changing what is allowed.
    control_until: u64,
    steps: BTreeMap<u64, Vec<String>>,
    names: u32,
}

/// A VM and its node.
struct Machine {
    pool: &'static str,
    number: u64,
    /// Until when each hand is on it.
    until: [u64; HANDS],
}

/// Who does something to a machine. What different hands do may overlap; what one does must end first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hand {
    Azure,
    Person,
    Fault,
}

const HANDS: usize = 3;
/// Nobody else's hand may be on a machine that goes for good.
const ALL_HANDS: [Hand; HANDS] = [Hand::Azure, Hand::Person, Hand::Fault];

/// Things that belong together: drawn in full, or not at all.
#[derive(Default)]
struct Incident {
    steps: Vec<(u64, String)>,
    machines: Vec<usize>,
    hands: Vec<Hand>,
    /// How long after its end nothing else may be the matter with what all depends on; `None` where it isn't that.
    rest: Option<u64>,
}

impl Incident {
    fn on(machines: Vec<usize>, hands: &[Hand]) -> Self {
        Self { machines, hands: hands.to_vec(), ..Self::default() }
    }

    fn step(&mut self, at: u64, action: impl Into<String>) {
        self.steps.push((at, action.into()));
    }

    fn end(&self) -> u64 {
        self.steps.iter().map(|(at, _)| *at).max().unwrap_or_default()
    }
}

impl Drawing {
    fn new(seed: u64, length: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            length,
            machines: Vec::new(),
            budgeted: Vec::new(),
            config: BTreeMap::new(),
            control_until: 0,
            steps: BTreeMap::new(),
            names: 0,
        }
    }

    fn incidents(&mut self) {
        let mut at = 2;
        while at < self.length {
            let incident = match self.dice.below(10) {
                0..5 => self.event(at),
                5 => self.person(at),
                6 | 7 => self.fault_of_a_machine(at),
                _ if self.control_until > at => self.event(at),
                8 => self.settings(at),
                _ => Some(self.fault_of_all(at)),
            };
            if let Some(incident) = incident.filter(|incident| incident.end() <= self.length) {
                self.add(incident);
            }
            at += self.dice.between(2, 8);
        }
    }

    fn add(&mut self, incident: Incident) {
        let end = incident.end();
        for machine in incident.machines {
            for hand in &incident.hands {
                self.machines[machine].until[*hand as usize] = end;
            }
        }
        if let Some(rest) = incident.rest {
            self.control_until = end + rest;
        }
        for (at, action) in incident.steps {
            self.steps.entry(at).or_default().push(action);
        }
    }

    /// So many machines at most, of one pool, that none of these hands is on.
    fn free(&mut self, at: u64, hands: &[Hand], most: u64) -> Option<Vec<usize>> {
        let is_free = |machine: &Machine| hands.iter().all(|hand| machine.until[*hand as usize] < at);
        let all: Vec<usize> =
            (0..self.machines.len()).filter(|index| is_free(&self.machines[*index])).collect();
        let first = *self.dice.pick_of(&all)?;
        let mut free: Vec<usize> =
            all.into_iter().filter(|index| self.machines[*index].pool == self.machines[first].pool).collect();
        let mut chosen = Vec::new();
        while (chosen.len() as u64) < most && !free.is_empty() {
            chosen.push(free.swap_remove(self.dice.index(free.len())));
        }
        Some(chosen)
    }

    /// As a script writes them.
    fn words(&self, machines: &[usize]) -> String {
        let words: Vec<String> = machines
            .iter()
            .map(|index| format!("{}/{}", self.machines[*index].pool, self.machines[*index].number))
            .collect();
        format!("[{}]", words.join(", "))
    }

    fn name(&mut self, of: &str) -> String {
        self.names += 1;
        format!("{of}-{}", self.names)
    }
}
