//! The limits, where they bind.

use mechanic_plan::{Amount, Config, Policy, ReasonCode};

use super::{SOON, cluster, cluster_with, one_drain_at_once, run_with};
use crate::world::{Announcement, Budget, Change, Impact, Workload};

#[test]
fn two_nodes_that_want_the_last_slot_at_once_get_it_one_after_the_other() {
    let events = [0, 1, 2, 3].map(|machine| Announcement::new("Reboot", &[machine], SOON, 1_800));
    let mut run = run_with(cluster_with(8, one_drain_at_once()), events);
    run.world.faults = crate::world::Faults { slow_writes: true, lost_writes: true };
    run.until(SOON + 1_700);
    assert!((0..4).all(|machine| run.pods(machine) == 0));
}

#[test]
fn half_a_pool_is_cordoned_and_the_others_wait_for_their_turn() {
    let all: Vec<usize> = (0..6).collect();
    let mut run = run_with(cluster(6), [Announcement::new("Reboot", &all, SOON, 900)]);
    run.until(SOON + 60);
    let cordoned = all.iter().filter(|machine| run.is_cordoned(**machine)).count();
    assert_eq!(cordoned, 3);
    assert_eq!(all.iter().filter(|machine| run.reason(**machine) == ReasonCode::CordonDeferred).count(), 3);
}

#[test]
fn nodes_whose_event_has_vanished_count_as_cordoned_until_they_are_given_back() {
    // Terminates that come to nothing: held ten minutes more. Half of the pool is cordoned all the while.
    let first = Announcement { impact: Impact::None, ..Announcement::new("Terminate", &[0, 1], SOON, 300) };
    let then = Announcement::new("Reboot", &[2, 3], first.ends + 60, 900);
    let at = then.announced;
    let mut run = run_with(cluster(4), [first, then]);
    run.until(at + 120);
    let cordoned = (0..4).filter(|machine| run.is_cordoned(*machine)).count();
    assert_eq!(cordoned, 2, "two of four is what max-cordoned allows");
    assert_eq!(run.reason(2), ReasonCode::CordonDeferred);
}

#[test]
fn edge_32_too_many_nodes_out_of_use_hold_a_drain_back() {
    let mut world = cluster(4);
    world.now(Change::Cordon(1));
    world.now(Change::NotReady(2));
    let mut run = run_with(world, [Announcement::new("Reboot", &[0], SOON + 100, 900)]);
    run.until(SOON + 200);
    assert_eq!((run.reason(0), run.world.stats.moved), (ReasonCode::TooManyUnavailable, 0));
    run.world.now(Change::Uncordon(1));
    run.go_on(90);
    assert_eq!(run.pods(0), 0, "it goes on as soon as one is back");
}

#[test]
fn a_new_leader_does_not_take_a_node_that_is_down_for_one_that_is_in_use() {
    let mut world = cluster(4);
    world.now(Change::NotReady(1));
    world.now(Change::NotReady(2));
    let mut run = run_with(world, [Announcement::new("Reboot", &[0], SOON + 100, 900)]);
    run.until(SOON + 98);
    run.world.now(Change::LeaderDies);
    run.world.now(Change::LeaderBegins);
    run.until(SOON + 140);
    assert_eq!((run.reason(0), run.world.stats.moved), (ReasonCode::TooManyUnavailable, 0));
    run.world.now(Change::Ready(1));
    run.go_on(90);
    assert_eq!(run.pods(0), 0, "it goes on as soon as one is back");
}

#[test]
fn limits_yield_where_the_machine_is_about_to_be_destroyed_and_only_then() {
    for (event_type, drained) in [("Terminate", true), ("Reboot", false), ("Redeploy", false)] {
        let mut world = cluster_with(8, one_drain_at_once());
        world.add_workload(Workload::new("a", 8).with_budget(Budget::MaxUnavailable(0)));
        let blocks = Announcement::new("Reboot", &[0], SOON, 3_600);
        let mut run = run_with(world, [blocks]);
        run.until(SOON + 2_000);
        assert!(run.is_draining(0), "it holds the only slot");
        let announced = run.world.time + 1;
        run.world.announce(Announcement::new(event_type, &[1], announced, 300));
        run.until(announced + 100);
        assert_eq!(run.reason(1), ReasonCode::WaitingForSlot, "{event_type}");
        run.until(announced + 298);
        assert_eq!(run.is_draining(1), drained, "{event_type}");
        assert!(run.warns(1, ReasonCode::DeadlineAtRisk), "{event_type}");
    }
}

#[test]
fn a_preempted_pool_is_drained_at_once_as_far_as_emergencies_go() {
    let spot: Vec<usize> = (0..14).collect();
    let mut run = run_with(cluster(20), [Announcement::new("Preempt", &spot, SOON, 30)]);
    run.until(SOON + 5);
    let draining = spot.iter().filter(|machine| run.is_draining(**machine)).count();
    assert_eq!(draining, 10, "50 % of 20, though 10 % is the usual limit");
}

#[test]
fn where_no_other_node_takes_pods_reboot_and_freeze_evict_nothing_and_a_redeploy_does() {
    for (event_type, moved) in [("Reboot", 0), ("Freeze", 0), ("Redeploy", 4)] {
        let mut world =
            cluster_with(3, Config { max_unavailable_nodes: Amount::Percent(100), ..super::early() });
        world.now(Change::Cordon(1));
        world.now(Change::Cordon(2));
        let mut run = run_with(world, [Announcement::new(event_type, &[0], SOON, 900).lasting(None, "")]);
        run.until(SOON + 300);
        assert_eq!(run.world.stats.moved, moved, "{event_type}");
        assert_eq!(run.reason(0) == ReasonCode::NowhereToGo, moved == 0, "{event_type}");
    }
}

#[test]
fn a_limit_that_is_raised_or_lowered_in_mid_batch_counts_from_then_on() {
    let machines: Vec<usize> = (0..6).collect();
    let mut world = cluster_with(20, one_drain_at_once());
    // Each drain is held for good, so that what runs can be counted.
    world.add_workload(Workload::new("a", 20).with_budget(Budget::MaxUnavailable(0)));
    let mut run = run_with(world, [Announcement::new("Reboot", &machines, SOON, 3_000)]);
    let draining =
        |run: &crate::run::Run| machines.iter().filter(|machine| run.is_draining(**machine)).count();
    run.until(SOON + 1_300);
    assert_eq!(draining(&run), 1);
    let three = Config { max_concurrent_drains: Amount::Number(3), ..super::early() };
    run.world.now(Change::Settings(Box::new(three)));
    run.go_on(30);
    assert_eq!(draining(&run), 3);
    run.world.now(Change::Settings(Box::new(one_drain_at_once())));
    run.go_on(300);
    assert_eq!(draining(&run), 3, "what runs is not undone, and nothing is added");
}

#[test]
fn a_drain_that_an_earlier_leader_left_holds_its_slot_until_its_pods_have_been_looked_at() {
    let mut world = cluster_with(6, one_drain_at_once());
    world.add_workload(Workload { grace: 600, stubborn: true, ..Workload::new("a", 6) });
    let events = [0, 1].map(|machine| Announcement::new("Reboot", &[machine], SOON, 1_500));
    let mut run = run_with(world, events);
    run.until(SOON + 60);
    assert!(run.is_draining(0) && !run.is_draining(1));
    run.world.now(Change::ProbeMute(0, true));
    run.world.now(Change::LeaderDies);
    run.world.now(Change::LeaderBegins);
    // The invariants judge: while its pod is still terminating, no second drain begins.
    run.go_on(300);
    assert!(!run.is_draining(1));
}

#[test]
fn a_cordon_that_is_on_its_way_counts() {
    for seed in 0..8 {
        let mut world =
            crate::world::World::new(seed, Config { max_cordoned: Amount::Number(1), ..super::early() });
        for _ in 0..4 {
            world.add_machine("a", 12);
        }
        world.faults.slow_writes = true;
        // The second is due earlier, and is announced while the first one's write is under way.
        let events = [(0, SOON, 900), (1, SOON + 1, 600)]
            .map(|(machine, announced, notice)| Announcement::new("Reboot", &[machine], announced, notice));
        let mut run = run_with(world, events);
        run.until(SOON + 60);
        let cordoned = (0..4).filter(|machine| run.is_cordoned(*machine)).count();
        assert_eq!(cordoned, 1, "seed {seed}");
    }
}

fn with_policy(text: &str) -> Config {
    let policy = Policy::parse(text).unwrap();
    let ten = Amount::Number(10);
    Config { policy: policy.into(), max_concurrent_drains: ten, max_cordoned: ten, ..super::early() }
}

/// Two pools, of which each node has room for all.
fn two_pools(config: Config) -> crate::world::World {
    let mut world = crate::world::World::new(7, config);
    for machine in 0..8 {
        world.add_machine(if machine < 4 { "a" } else { "b" }, 30);
    }
    for pool in ["a", "b"] {
        // Each drain is held for good, so that what runs can be counted.
        world.add_workload(Workload::new(pool, 8).with_budget(Budget::MaxUnavailable(0)));
    }
    world
}

fn in_each_pool(is: impl Fn(usize) -> bool) -> [usize; 2] {
    [0..4, 4..8].map(|machines| machines.filter(|machine| is(*machine)).count())
}

#[test]
fn a_budget_of_the_policy_holds_beside_the_clusters_and_says_its_name() {
    let all: Vec<usize> = (0..8).collect();
    for (budget, drains) in [
        ("{name: b-alone, pools: [b], maxConcurrentDrains: 1}", [4, 1]),
        ("{name: pools, each: Pool, maxConcurrentDrains: 50%}", [2, 2]),
        ("{name: together, maxConcurrentDrains: 3}", [3, 0]),
        ("{name: elsewhere, pools: [c], maxConcurrentDrains: 1}", [4, 4]),
    ] {
        let world = two_pools(with_policy(&format!("budgets: [{budget}]")));
        let mut run = run_with(world, [Announcement::new("Redeploy", &all, SOON, 900)]);
        run.until(SOON + 60);
        let draining = in_each_pool(|machine| run.is_draining(machine));
        assert_eq!(draining.iter().sum::<usize>(), drains.iter().sum::<usize>(), "{budget}");
        if drains[0] != 3 {
            assert_eq!(draining, drains, "{budget}");
        }
        let waits = all.iter().find(|machine| run.reason(**machine) == ReasonCode::WaitingForSlot);
        let Some(waits) = waits else { continue };
        let sentence = run.plan[&run.world.machines[*waits].node].reason.to_string();
        let name = budget.split([' ', ',']).nth(1).unwrap();
        assert!(sentence.contains(&format!("of budget {name}")), "{sentence}");
    }
}

#[test]
fn cordons_and_nodes_out_of_use_are_counted_for_a_budget_of_the_policy_too() {
    let all: Vec<usize> = (0..8).collect();
    let world = two_pools(with_policy("budgets: [{name: b, pools: [b], maxCordoned: 25%}]"));
    let mut run = run_with(world, [Announcement::new("Redeploy", &all, SOON, 900)]);
    run.until(SOON + 60);
    assert_eq!(in_each_pool(|machine| run.is_cordoned(machine)), [4, 1]);

    let mut world = two_pools(with_policy("budgets: [{name: b, pools: [b], maxUnavailableNodes: 2}]"));
    for machine in [1, 5, 6] {
        world.now(Change::Cordon(machine));
    }
    let mut run = run_with(world, [Announcement::new("Redeploy", &[0, 4], SOON, 900)]);
    run.until(SOON + 60);
    assert_eq!((run.is_draining(0), run.reason(4)), (true, ReasonCode::TooManyUnavailable));
}

#[test]
fn a_budget_of_the_policy_yields_to_emergencies_as_the_clusters_does() {
    let spot: Vec<usize> = (0..4).collect();
    let world =
        two_pools(with_policy("budgets: [{name: a, pools: [a], maxConcurrentDrains: 1, maxCordoned: 1}]"));
    let mut run = run_with(world, [Announcement::new("Preempt", &spot, SOON, 30)]);
    run.until(SOON + 5);
    assert_eq!(in_each_pool(|machine| run.is_cordoned(machine)), [4, 0]);
    assert_eq!(in_each_pool(|machine| run.is_draining(machine)), [2, 0], "50 % of the four that it is about");
}
