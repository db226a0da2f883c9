//! What people do, and take back.

use super::{Drawing, Hand, Incident};

/// A change of the settings may be seen this late, and nothing else is to be the matter meanwhile.
const ARRIVES_WITHIN: u64 = 8;

const TRIED: [(&str, &str); 22] = [
    ("max-concurrent-drains", "\"1\""),
    ("max-concurrent-drains", "\"5\""),
    ("max-concurrent-drains", "40%"),
    ("max-cordoned", "\"1\""),
    ("max-cordoned", "30%"),
    ("max-cordoned", "null"),
    ("emergency-concurrent-drains", "\"1\""),
    ("emergency-concurrent-drains", "100%"),
    ("max-unavailable-nodes", "\"3\""),
    ("max-unavailable-nodes", "90%"),
    ("lead-time", "10s"),
    ("lead-time", "1h"),
    ("release-hold", "1s"),
    ("release-hold-after-boot", "12s"),
    ("paused", "\"true\""),
    ("paused", "\"true\""),
    ("dry-run", "\"true\""),
    // Slips of the pen.
    ("max-concurrent-drains", "many"),
    ("max-cordoned", "\"0\""),
    ("release-hold", "soon"),
    ("paused", "\"yes\""),
    ("max-drains", "\"3\""),
];

impl Drawing {
    /// Something about one node or one workload.
    pub(super) fn person(&mut self, at: u64) -> Option<Incident> {
        if self.dice.one_in(4) {
            let workload = *self.dice.pick_of(&self.budgeted)?;
            let limit = self.dice.pick(["max-unavailable: 1", "max-unavailable: 50%", "min-available: 1"]);
            let mut incident = Incident::default();
            incident.step(at, format!("set-budget: {{ workload: {workload}, {limit} }}"));
            return Some(incident);
        }
        let machines = self.free(at, &[Hand::Person], 1)?;
        let on = self.words(&machines);
        let mut incident = Incident::on(machines, &[Hand::Person]);
        let until = at + self.dice.between(5, 60);
        if self.dice.one_in(3) {
            incident.step(at, format!("uncordon: {on}"));
        } else {
            incident.step(at, format!("cordon: {on}"));
            incident.step(until, format!("uncordon: {on}"));
        }
        Some(incident)
    }

    /// What is allowed changes, for a node or for all, and changes back.
    pub(super) fn settings(&mut self, at: u64) -> Option<Incident> {
        let mut until = at + self.dice.between(10, 35);
        let mut incident;
        if self.dice.one_in(4) {
            let machines = self.free(at, &[Hand::Person], 2)?;
            let on = self.words(&machines);
            incident = Incident::on(machines, &[Hand::Person]);
            let label = |value| format!("label: {{ on: {on}, labels: {{ mechanic/opt-out: {value} }} }}");
            incident.step(at, label("\"true\""));
            incident.step(until, label("null"));
        } else {
            incident = Incident::default();
            let (key, value) = self.dice.pick(TRIED);
            incident.step(at, format!("configure: {{ {key}: {value} }}"));
            if self.dice.one_in(4) {
                // The next leader finds it so, and has its time until it changes back.
                let process = self.dice.pick(["leader", "coordinators"]);
                incident.step(at + ARRIVES_WITHIN, format!("try: {{ kill: {process} }}"));
                until = at + ARRIVES_WITHIN + self.dice.between(20, 35);
            }
            let restored = self.config.get(key).map_or("null".into(), |value| format!("\"{value}\""));
            incident.step(until, format!("configure: {{ {key}: {restored} }}"));
        }
        incident.rest = Some(ARRIVES_WITHIN);
        Some(incident)
    }
}
