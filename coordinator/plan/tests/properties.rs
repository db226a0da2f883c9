//! What must hold whatever happens, on the real plan with the default holds, in virtual time. A failing seed
//! is printed and replays.

#![allow(clippy::unwrap_used, clippy::panic)]

mod simulation;

use mechanic_plan::{Amount, ClaimOnNode, ClaimPhase, Config, DrainOrder, NodeWrite, Phase};
use proptest::prelude::*;
use simulation::{Reboot, Step, World};

/// Nobody else's Node is written on, and no slot, no early release, no silent wait.
fn check(world: &World, step: &Step) {
    let limit = world.config.max_concurrent_drains.of(world.machines.len());
    let draining: Vec<_> =
        world.machines.iter().filter(|(_, machine)| machine.is_draining()).map(|(name, _)| name).collect();
    assert!(draining.len() <= limit, "{draining:?} are drained at once, the limit is {limit}");
    for (name, write) in &step.written {
        let machine = &world.machines[name];
        assert!(!machine.foreign, "{name} is somebody else's: {write:?}");
        if let NodeWrite::Release { uncordon } = write {
            assert_eq!(machine.announced(world.time).count(), 0, "{name} is released under an event");
            assert!(step.fleet.nodes[name].is_ready(), "{name} is released while it is not Ready");
            let ClaimOnNode::Readable(claim) = &step.fleet.nodes[name].claim else {
                panic!("{name} is released without a claim")
            };
            assert!(!uncordon || !claim.was_unschedulable, "{name} was cordoned before us");
            let last_end =
                machine.reboots.iter().filter(|reboot| reboot.ends <= world.time).map(|reboot| reboot.ends);
            let held = world.time - last_end.max().unwrap();
            assert!(
                held >= world.config.release_hold.as_secs(),
                "{name} is released {held} s after the event"
            );
        }
    }
    for (name, decision) in &step.decisions {
        let machine = &world.machines[name];
        if machine.announced(world.time).count() > 0 && step.fleet.nodes[name].probe.is_some() {
            let known = step.fleet.nodes[name].probe.as_ref().unwrap();
            let shown = known.document.as_ref().is_some_and(|document| !document.own_events.is_empty());
            assert!(
                !shown || decision.phase != Phase::Idle,
                "{name} has an event and no reason: {decision:?}"
            );
        }
        assert!(!decision.reason.to_string().is_empty());
        if decision.drain == DrainOrder::Run {
            let ClaimOnNode::Readable(claim) = &step.fleet.nodes[name].claim else {
                panic!("{name} is drained without a claim")
            };
            assert_eq!(claim.phase, ClaimPhase::Draining);
            assert!(
                machine.reboots.iter().any(|reboot| reboot.announced <= world.time),
                "{name}: no event ever"
            );
        }
    }
}

fn number_of_drains(limit: usize) -> Config {
    Config { max_concurrent_drains: Amount::Number(limit), ..Config::default() }
}

fn reboot(id: &str, announced: u64, not_before: u64, ends: u64) -> Reboot {
    Reboot { event_id: id.to_owned(), announced, not_before, ends }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_promises_hold_through_random_reboots_and_faults(
        seed in any::<u64>(),
        machines in 3_usize..14,
        limit in 1_usize..5,
        faults in any::<bool>(),
    ) {
        let mut world = World::new(seed, machines, number_of_drains(limit));
        world.faults = faults;
        let mut random = simulation::Random::new(seed ^ 0x5EED);
        let names: Vec<_> = world.machines.keys().cloned().collect();
        for name in &names {
            let machine = world.machines.get_mut(name).unwrap();
            match random.below(8) {
                0 => {
                    machine.foreign = true;
                    machine.node.claim = ClaimOnNode::LabelOnly;
                    machine.node.unschedulable = true;
                }
                1 => machine.node.unschedulable = true,
                _ => {}
            }
            for count in 0..random.below(3) {
                let announced = 1_010 + random.below(1_500) + count * 3_000;
                let not_before = announced + 300 + random.below(900);
                let cancelled = random.one_in(4);
                let ends = if cancelled { announced + 1 + random.below(250) } else { not_before + 60 + random.below(300) };
                machine.reboots.push(reboot(&format!("{name}-{count}"), announced, not_before, ends));
            }
        }
        let cordoned_before: Vec<_> =
            names.iter().filter(|name| world.machines[*name].node.unschedulable).cloned().collect();
        for _ in 0..8_000 {
            if faults && random.one_in(700) {
                world.change_leader();
            }
            if faults && random.one_in(400) {
                let name = &names[usize::try_from(random.below(names.len() as u64)).unwrap()];
                world.break_imds(name, random.below(120));
            }
            let step = world.step();
            check(&world, &step);
        }
        for name in &names {
            let machine = &world.machines[name];
            prop_assert!(machine.foreign || machine.node.claim == ClaimOnNode::None, "{name} is still held");
            prop_assert_eq!(machine.node.unschedulable, cordoned_before.contains(name), "{} is left wrong", name);
        }
    }
}

#[test]
fn a_reboot_that_can_be_drained_in_time_is() {
    let mut world = World::new(7, 6, number_of_drains(1));
    world.machines.get_mut("node-000").unwrap().reboots.push(reboot("E", 1_010, 1_910, 2_100));
    while world.time < 1_909 {
        let step = world.step();
        check(&world, &step);
    }
    assert_eq!(world.machines["node-000"].running, 0, "pods are left at NotBefore");
    assert!(
        world
            .machines
            .iter()
            .filter(|(name, _)| *name != "node-000")
            .all(|(_, machine)| machine.evictions == 0)
    );
}

#[test]
fn earlier_deadlines_are_drained_first() {
    let mut world = World::new(7, 6, number_of_drains(1));
    for (name, not_before) in [("node-000", 2_600), ("node-001", 1_900), ("node-002", 2_200)] {
        let machine = world.machines.get_mut(name).unwrap();
        machine.reboots.push(reboot(name, 1_010, not_before, not_before + 100));
    }
    let mut order = Vec::new();
    while world.time < 1_880 {
        let step = world.step();
        check(&world, &step);
        for (name, decision) in &step.decisions {
            if decision.drain == DrainOrder::Run && !order.contains(name) {
                order.push(name.clone());
            }
        }
    }
    assert_eq!(order, ["node-001", "node-002", "node-000"]);
}

#[test]
fn failing_polls_release_nothing_however_long_they_last() {
    let mut world = World::new(7, 4, number_of_drains(1));
    world.machines.get_mut("node-000").unwrap().reboots.push(reboot("E", 1_010, 1_910, 1_950));
    while world.time < 1_900 {
        world.step();
    }
    world.break_imds("node-000", 10_000);
    for _ in 0..9_000 {
        let step = world.step();
        assert_eq!(step.written.iter().find(|(_, write)| matches!(write, NodeWrite::Release { .. })), None);
    }
}

#[test]
fn a_cordon_of_somebody_elses_is_drained_and_never_taken_off() {
    let mut world = World::new(7, 4, number_of_drains(1));
    let machine = world.machines.get_mut("node-000").unwrap();
    machine.node.unschedulable = true;
    machine.reboots.push(reboot("E", 1_010, 1_500, 1_700));
    while world.time < 4_000 {
        let step = world.step();
        check(&world, &step);
    }
    let machine = &world.machines["node-000"];
    assert!(machine.evictions > 0 && machine.node.unschedulable);
    assert_eq!(machine.node.claim, ClaimOnNode::None);
}

#[test]
fn an_uncordon_by_somebody_is_a_veto_until_another_event_comes() {
    let mut world = World::new(7, 4, number_of_drains(1));
    world.machines.get_mut("node-000").unwrap().reboots.push(reboot("E-1", 1_010, 1_900, 2_000));
    while world.machines["node-000"].evictions == 0 {
        world.step();
    }
    world.machines.get_mut("node-000").unwrap().node.unschedulable = false;
    let evictions = world.machines["node-000"].evictions;
    for _ in 0..60 {
        world.step();
    }
    let machine = world.machines.get_mut("node-000").unwrap();
    assert!(!machine.node.unschedulable, "the veto is overruled");
    assert_eq!(machine.evictions, evictions, "pods are evicted under a veto");
    machine.reboots.push(reboot("E-2", world.time + 10, 2_400, 2_500));
    for _ in 0..60 {
        let step = world.step();
        check(&world, &step);
    }
    let machine = &world.machines["node-000"];
    assert!(machine.node.unschedulable && machine.evictions > evictions, "another event is acted on");
}

#[test]
fn where_no_other_node_takes_pods_a_reboot_evicts_nothing() {
    let mut world = World::new(7, 3, number_of_drains(1));
    for name in ["node-001", "node-002"] {
        world.machines.get_mut(name).unwrap().node.unschedulable = true;
    }
    world.machines.get_mut("node-000").unwrap().reboots.push(reboot("E", 1_010, 1_900, 2_000));
    for _ in 0..300 {
        let step = world.step();
        if world.time > 1_012 {
            assert_eq!(step.decisions["node-000"].reason.code(), "NowhereToGo");
        }
    }
    assert_eq!(world.machines["node-000"].evictions, 0);
}

#[test]
fn a_cordon_of_somebody_elses_after_a_veto_is_never_taken_off() {
    let mut world = World::new(7, 4, number_of_drains(1));
    world.machines.get_mut("node-000").unwrap().reboots.push(reboot("E", 1_010, 1_900, 2_000));
    while world.machines["node-000"].evictions == 0 {
        world.step();
    }
    world.machines.get_mut("node-000").unwrap().node.unschedulable = false;
    world.step();
    world.machines.get_mut("node-000").unwrap().node.unschedulable = true;
    while world.time < 4_000 {
        let step = world.step();
        check(&world, &step);
    }
    let machine = &world.machines["node-000"];
    assert_eq!(machine.node.claim, ClaimOnNode::None);
    assert!(machine.node.unschedulable, "the cordon that a person made after the veto is gone");
}

#[test]
fn two_nodes_that_want_the_last_slot_at_once_get_it_one_after_the_other() {
    let mut world = World::new(7, 6, number_of_drains(1));
    world.faults = true;
    for name in ["node-000", "node-001", "node-002", "node-003"] {
        world.machines.get_mut(name).unwrap().reboots.push(reboot(name, 1_010, 2_900, 3_000));
    }
    while world.time < 2_890 {
        let step = world.step();
        check(&world, &step);
    }
}
