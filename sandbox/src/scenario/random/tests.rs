//! Thousands of drawn scripts: each is valid, the same again, and ends in peace.

use std::collections::{BTreeMap, BTreeSet};

use crate::azure::Behaviour;
use crate::scenario::action::{Action, Process};
use crate::scenario::which::Nodes;
use crate::scenario::{Scenario, Time};

const SEEDS: u64 = 2000;

fn drawn(seed: u64, length: Time) -> Scenario {
    let script = Scenario::drawn(seed, length);
    Scenario::read(&format!("seed {seed}"), &script).unwrap_or_else(|error| panic!("{error:#}\n{script}"))
}

#[test]
fn the_same_seed_draws_the_same_script_and_another_one_another() {
    let five = Time::seconds(300);
    assert_eq!(Scenario::drawn(7, five), Scenario::drawn(7, five));
    assert_ne!(Scenario::drawn(7, five), Scenario::drawn(8, five));
}

#[test]
fn every_script_is_valid_and_ends_in_peace() {
    for seed in 0..SEEDS {
        let length = Time::seconds(40 + seed % 100);
        let scenario = drawn(seed, length);
        let nodes: u32 = scenario.pools.iter().map(|pool| pool.value.nodes).sum();
        assert!((8..=16).contains(&nodes), "seed {seed}: {nodes} nodes");
        let mut unrest = Unrest::default();
        for (at, action) in scenario.actions() {
            assert!(at <= length, "seed {seed}: something at {at}");
            unrest.add(action.value.tried());
        }
        for (key, value) in &scenario.config {
            // What was never changed is as it was.
            unrest.config.remove(&(key.clone(), Some(value.clone())));
        }
        let keys: Vec<_> = unrest.config.iter().filter(|(_, value)| value.is_some()).collect();
        assert!(keys.is_empty(), "seed {seed}: {keys:?} at the end");
        assert!(unrest.open.is_empty(), "seed {seed}: {:?} at the end", unrest.open);
    }
}

#[test]
fn an_hour_is_drawn_and_everything_occurs_in_it() {
    let scenario = drawn(1, Time::seconds(3600));
    let kinds: BTreeSet<String> = scenario
        .actions()
        .map(|(_, action)| format!("{:?}", action.value.tried()))
        .map(|shown| shown.split(['(', ' ']).next().unwrap_or_default().to_owned())
        .collect();
    let never = ["Pick", "WaitFor", "Try", "ClearFault"];
    assert_eq!(kinds.len(), 29 - never.len(), "{kinds:?}");
    assert!(scenario.steps.len() > 500);
}

/// What has begun and hasn't ended.
#[derive(Default)]
struct Unrest {
    open: BTreeSet<String>,
    config: BTreeSet<(String, Option<String>)>,
    now: BTreeMap<String, Option<String>>,
}

impl Unrest {
    fn begin(&mut self, what: &str, on: &impl ToString) {
        let what = format!("{what} {}", on.to_string());
        assert!(self.open.insert(what.clone()), "{what} twice");
    }

    fn end(&mut self, what: &str, on: &impl ToString) {
        self.open.remove(&format!("{what} {}", on.to_string()));
    }

    fn each(&mut self, nodes: &Nodes, mut act: impl FnMut(&mut Self, &str)) {
        for node in &nodes.0 {
            act(self, &node.to_string());
        }
    }

    fn add(&mut self, action: &Action) {
        match action {
            Action::Announce(announce) => self.begin("event", &announce.event),
            Action::Remove(event) => self.end("event", event),
            Action::PowerOff(nodes) => self.each(nodes, |open, node| open.begin("off", &node)),
            Action::DeleteNode(nodes) => self.each(nodes, |open, node| open.begin("deleted", &node)),
            Action::PowerOn(nodes) => self.each(nodes, |open, node| open.end("off", &node)),
            Action::CreateNode(nodes) => self.each(nodes, |open, node| open.end("deleted", &node)),
            Action::ReplaceVm(nodes) => self.each(nodes, |open, node| open.needs_no("off", node)),
            Action::Cordon(nodes) => self.each(nodes, |open, node| open.begin("cordoned", &node)),
            Action::Uncordon(nodes) => self.each(nodes, |open, node| open.end("cordoned", &node)),
            Action::Label(label) => self.each(&label.on, |open, node| {
                if label.labels.values().all(Option::is_some) {
                    open.begin("labelled", &node);
                } else {
                    open.end("labelled", &node);
                }
            }),
            Action::Mute(nodes) => self.each(nodes, |open, node| open.begin("mute", &node)),
            Action::Unmute(nodes) => self.each(nodes, |open, node| open.end("mute", &node)),
            Action::Imds(imds) => self.each(&imds.on, |open, node| {
                if imds.answers == Behaviour::Normal {
                    open.end("garbled", &node);
                } else {
                    open.begin("garbled", &node);
                }
            }),
            Action::Stop(process) => self.begin("stopped", &process),
            Action::Continue(process) => self.end("stopped", &process),
            Action::Kill(Process::Probe(nodes)) => {
                self.each(nodes, |open, node| open.needs_no("deleted", node));
            }
            Action::Fault(fault) if fault.r#for.is_none() => self.begin("fault", &fault.name),
            Action::ReleaseFault(name) => self.end("fault", name),
            Action::Configure(data) => {
                for (key, value) in data {
                    let before = self.now.insert(key.clone(), value.clone());
                    self.config.remove(&(key.clone(), before.flatten()));
                    self.config.insert((key.clone(), value.clone()));
                }
            }
            _ => {}
        }
    }

    fn needs_no(&mut self, what: &str, on: &str) {
        assert!(!self.open.contains(&format!("{what} {on}")), "{on} is {what}");
    }
}
