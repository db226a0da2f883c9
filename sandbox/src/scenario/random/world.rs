//! The cluster that a drawn script plays in.

use std::fmt::Write as _;

use super::{Drawing, HANDS, Machine};

impl Drawing {
    /// Pools, workloads and settings, as text.
    pub(super) fn world(&mut self) -> String {
        let mut text = String::from("pools:\n");
        let spot = self.dice.one_in(2);
        let single = !spot || self.dice.one_in(2);
        let (from, to) = if spot && single { (4, 8) } else { (6, 10) };
        self.pool(&mut text, "apps", from, to, "");
        if single {
            self.pool(&mut text, "single", 2, 4, ", kind: virtual-machines");
        }
        if spot {
            self.pool(&mut text, "spot", 2, 4, ", spot: true");
        }
        text.push_str("workloads:\n");
        for name in ["cart", "checkout", "payments", "search"] {
            self.workload(&mut text, "deployment", name, "");
        }
        for name in ["orders", "ledger"] {
            self.workload(&mut text, "stateful-set", name, "");
        }
        if spot {
            self.workload(&mut text, "deployment", "batch", ", pool: spot");
        }
        if self.dice.one_in(2) {
            self.workload(&mut text, "deployment", "cache", ", empty-dir: true");
        }
        text.push_str("  - { kind: daemon-set, name: logs }\n  - { kind: pod, name: migration }\n");
        text.push_str("  - { kind: pod, name: import, min-available: 1, stop-after: 2s }\n");
        text.push_str("config:\n");
        self.settings_to_begin_with();
        for (key, value) in &self.config {
            let _ = writeln!(text, "  {key}: \"{value}\"");
        }
        text
    }

    fn pool(&mut self, text: &mut String, name: &'static str, from: u64, to: u64, more: &str) {
        let nodes = self.dice.between(from, to);
        let zones = self.dice.pick([0, 1, 3, 3]);
        let _ = writeln!(text, "  - {{ name: {name}, nodes: {nodes}, zones: {zones}{more} }}");
        let machine = |number| Machine { pool: name, number, until: [0; HANDS] };
        self.machines.extend((0..nodes).map(machine));
    }

    fn workload(&mut self, text: &mut String, kind: &str, name: &'static str, more: &str) {
        let replicas = self.dice.between(3, 14);
        let budget = match self.dice.below(8) {
            0..2 => String::new(),
            2 => ", max-unavailable: 1".into(),
            3 => ", max-unavailable: 25%".into(),
            4 => ", max-unavailable: 50%".into(),
            5 => ", min-available: 60%".into(),
            6 => format!(", min-available: {}", replicas - 1),
            // One that lets nobody go.
            _ => ", max-unavailable: 0".into(),
        };
        if !budget.is_empty() {
            self.budgeted.push(name);
        }
        let (start, stop) = (self.dice.between(1, 5), self.dice.below(6));
        let grace = if self.dice.one_in(4) { ", grace: 8s" } else { "" };
        let _ = writeln!(
            text,
            "  - {{ kind: {kind}, name: {name}, replicas: {replicas}{budget}, start-after: {start}s, \
             stop-after: {stop}s{grace}{more} }}"
        );
    }

    /// Holds and lead time at an audience's pace, limits of all sorts.
    fn settings_to_begin_with(&mut self) {
        let drawn = [
            ("max-concurrent-drains", self.dice.pick(["1", "2", "3", "25%"])),
            ("emergency-concurrent-drains", self.dice.pick(["2", "4", "50%"])),
            ("max-cordoned", self.dice.pick(["2", "40%", "60%", "100%"])),
            ("max-unavailable-nodes", self.dice.pick(["50%", "80%"])),
            ("lead-time", self.dice.pick(["25s", "2m", "10m"])),
            ("release-hold", "3s"),
            ("release-hold-never-started", "5s"),
            ("release-hold-after-boot", "6s"),
            ("release-hold-after-terminate", "12s"),
            ("paused", "false"),
            ("dry-run", "false"),
        ];
        self.config = drawn.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
    }
}
