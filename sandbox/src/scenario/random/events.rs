//! Azure's events, and what becomes of the machines that they hit.

use super::{ALL_HANDS, Drawing, Hand, Incident};

/// What an event does to its machines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// They are there all the time.
    Live,
    Reboot,
    Replace,
    /// They are deleted, and later there are others of the same names.
    Delete,
}

/// What an event is called, and what it does.
type Kind = (&'static str, Fate);

const MIGRATION: &str = "type: Freeze, duration: 5s, description: \"Virtual machine is being paused because of a \
                         memory-preserving Live Migration operation.\"";

/// Whatever happens to machines that are there afterwards.
const SURVIVED: [Kind; 14] = [
    ("type: Freeze, duration: 9s", Fate::Live),
    ("type: Freeze, duration: 45s", Fate::Live),
    ("type: Freeze, duration: unknown", Fate::Live),
    (MIGRATION, Fate::Live),
    ("type: Reboot", Fate::Reboot),
    ("type: Reboot", Fate::Reboot),
    ("type: Reboot, source: Platform", Fate::Reboot),
    ("type: Reboot, not-before: soon", Fate::Reboot),
    ("type: Redeploy, not-before: \"\"", Fate::Reboot),
    ("type: Redeploy", Fate::Reboot),
    ("type: Redeploy", Fate::Replace),
    // It vanishes, and the machine lives.
    ("type: Terminate", Fate::Live),
    ("unknown-type: Hibernate", Fate::Live),
    ("unknown-type: Rehydrate, not-before: \"\"", Fate::Reboot),
];

impl Drawing {
    /// An event from its announcement to its end, and sometimes a second one on the same machines.
    pub(super) fn event(&mut self, at: u64) -> Option<Incident> {
        let most = if self.dice.one_in(4) { self.dice.between(2, 4) } else { 1 };
        let deletes = self.dice.one_in(4);
        let hands: &[Hand] = if deletes { &ALL_HANDS } else { &[Hand::Azure] };
        let machines = self.free(at, hands, most)?;
        let on = self.words(&machines);
        let is_spot = self.machines[machines[0]].pool == "spot";
        let mut incident = Incident::on(machines, hands);
        let notice = if is_spot && deletes { self.dice.between(10, 30) } else { self.dice.between(5, 60) };
        let kind = match (deletes, is_spot) {
            (true, true) => ("type: Preempt", Fate::Delete),
            (true, false) => ("type: Terminate", Fate::Delete),
            (false, _) => self.dice.pick(SURVIVED),
        };
        let end = self.course(&mut incident, kind, &on, at, at + notice);
        if !deletes && self.dice.one_in(5) {
            // Announced while the first is there, and under way when that is over.
            let second = self.dice.pick(SURVIVED);
            let announced = self.dice.between(at + 1, end);
            let begins = (announced + self.dice.between(5, 40)).max(end + 1);
            self.course(&mut incident, second, &on, announced, begins);
        }
        Some(incident)
    }

    /// Returns when the event is shown no longer, and its machines are there.
    fn course(&mut self, incident: &mut Incident, kind: Kind, on: &str, at: u64, begins: u64) -> u64 {
        let (words, fate) = kind;
        let name = self.name("event");
        let from_the_start = fate != Fate::Delete && !words.contains("not-before") && self.dice.one_in(8);
        if from_the_start && incident.steps.is_empty() {
            incident.step(at, format!("announce: {{ event: {name}, {words}, on: {on}, started: true }}"));
            return self.fate(incident, &name, fate, on, at);
        }
        let notice = begins - at;
        incident.step(at, format!("announce: {{ event: {name}, {words}, on: {on}, notice: {notice}s }}"));
        if self.dice.one_in(6) {
            let cancelled = self.dice.between(at + 1, begins);
            incident.step(cancelled, format!("remove: {name}"));
            return cancelled;
        }
        let mut begins = begins;
        if self.dice.one_in(6) {
            let moved = self.dice.between(at + 1, begins);
            let notice = self.dice.between(1, 40);
            // A second one never comes before the first is over.
            let notice = if incident.steps.len() == 1 { notice } else { notice.max(begins - moved) };
            incident.step(moved, format!("change: {{ event: {name}, notice: {notice}s }}"));
            begins = moved + notice;
        }
        // Spot VMs often go before their time.
        if fate == Fate::Delete && self.dice.one_in(4) {
            begins = self.dice.between(incident.end() + 1, begins);
        } else {
            begins += self.dice.below(3);
            incident.step(begins, format!("start: {name}"));
        }
        self.fate(incident, &name, fate, on, begins)
    }

    fn fate(&mut self, incident: &mut Incident, event: &str, fate: Fate, on: &str, begun: u64) -> u64 {
        let hit = begun + self.dice.below(4);
        let back = hit + self.dice.between(3, 15);
        let removed = match fate {
            Fate::Live => hit + self.dice.between(1, 10),
            Fate::Reboot => {
                incident.step(hit, format!("power-off: {on}"));
                incident.step(back, format!("power-on: {on}"));
                // Rarely before the machine is back.
                if self.dice.one_in(5) { back - 1 } else { back + self.dice.below(6) }
            }
            Fate::Replace => {
                incident.step(hit, format!("replace-vm: {on}"));
                hit + self.dice.between(1, 8)
            }
            Fate::Delete => {
                incident.step(hit, format!("delete-node: {on}"));
                incident.step(back + 2, format!("create-node: {on}"));
                hit + self.dice.between(1, 3)
            }
        };
        incident.step(removed, format!("remove: {event}"));
        removed.max(incident.end())
    }
}
