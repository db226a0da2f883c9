//! What goes wrong beside Azure: processes, metadata services, the API server and the way to it.

use super::{Drawing, Hand, Incident};

const ANSWERS: [&str; 14] = [
    "throttled",
    "error-with-json",
    "error-without-body",
    "gone",
    "empty-body",
    "broken-json",
    "html",
    "hanging",
    "hanging-body",
    "silent",
    "refused",
    "{ slow: 3s }",
    "{ slow: 8s }",
    "{ slow-first-answer: 10s }",
];

const REQUESTS: [&str; 10] = [
    "{ from: leader }",
    "{ from: follower }",
    "{ method: GET }",
    "{ method: PATCH, path: /api/v1/nodes/ }",
    "{ method: PATCH, path: /api/v1/nodes/ }",
    "{ method: POST, path: /eviction }",
    "{ method: POST, path: /eviction }",
    "{ path: /leases }",
    "{ path: /tokenreviews }",
    "{ method: POST, path: /events }",
];

const EFFECTS: [&str; 13] = [
    "hold",
    "hold-on-its-way",
    "hold-answer",
    "drop",
    "drop-after-effect",
    "{ delay: 1s }",
    "{ delay: 4s }",
    "{ answer: 403 }",
    "{ answer: 409 }",
    "{ answer: 429 }",
    "{ answer: 500 }",
    "{ answer: 503 }",
    "{ answer: 504 }",
];

/// Until a next leader leads and the probes have found it, or all watches are back.
const REST: u64 = 25;

impl Drawing {
    /// A probe or a metadata service. Whether the probe runs just then, nobody can know.
    pub(super) fn fault_of_a_machine(&mut self, at: u64) -> Option<Incident> {
        let machines = self.free(at, &[Hand::Fault], 2)?;
        let on = self.words(&machines);
        let mut incident = Incident::on(machines, &[Hand::Fault]);
        let until = at + self.dice.between(3, 45);
        match self.dice.below(6) {
            0 => incident.step(at, format!("try: {{ kill: {{ probe: {on} }} }}")),
            1 => {
                incident.step(at, format!("try: {{ stop: {{ probe: {on} }} }}"));
                incident.step(until, format!("try: {{ continue: {{ probe: {on} }} }}"));
            }
            2 => {
                incident.step(at, format!("try: {{ mute: {on} }}"));
                incident.step(until, format!("unmute: {on}"));
            }
            _ => {
                let answers = self.dice.pick(ANSWERS);
                incident.step(at, format!("imds: {{ on: {on}, answers: {answers} }}"));
                incident.step(until, format!("imds: {{ on: {on}, answers: normal }}"));
            }
        }
        Some(incident)
    }

    /// Something that all of mechanic depends on.
    pub(super) fn fault_of_all(&mut self, at: u64) -> Incident {
        let mut incident = Incident { rest: Some(REST), ..Incident::default() };
        match self.dice.below(10) {
            0 | 1 => {
                let process = self.dice.pick(["leader", "leader", "follower", "coordinators"]);
                incident.step(at, format!("try: {{ kill: {process} }}"));
            }
            2 | 3 => {
                let process = self.dice.pick(["leader", "leader", "follower"]);
                // Shorter and longer than its Lease.
                let until = at + self.dice.between(2, 60);
                incident.step(at, format!("try: {{ stop: {process} }}"));
                incident.step(until, format!("try: {{ continue: {process} }}"));
            }
            4 | 5 => {
                let outage = self.dice.pick(["freeze-api-server", "kill-api-server"]);
                let time = self.dice.between(2, 12);
                incident.step(at, format!("{outage}: {time}s"));
                incident.rest = Some(time + REST);
            }
            6 => incident.step(at, "cut-watches"),
            _ => self.fault_on_the_way(&mut incident, at),
        }
        incident
    }

    /// Between the coordinators and the API server.
    fn fault_on_the_way(&mut self, incident: &mut Incident, at: u64) {
        let name = self.name("fault");
        let requests = self.dice.pick(REQUESTS);
        let effect = self.dice.pick(EFFECTS);
        let lasts = self.dice.between(2, 12);
        let times = if self.dice.one_in(3) { ", times: 1" } else { "" };
        let fault = format!("name: {name}, requests: {requests}, effect: {effect}{times}");
        if effect.starts_with("hold") && self.dice.one_in(2) {
            // What waited goes on; else it dies.
            incident.step(at, format!("try: {{ fault: {{ {fault} }} }}"));
            incident.step(at + lasts, format!("release-fault: {name}"));
        } else {
            incident.step(at, format!("try: {{ fault: {{ {fault}, for: {lasts}s }} }}"));
            incident.rest = Some(lasts + REST);
        }
    }
}
