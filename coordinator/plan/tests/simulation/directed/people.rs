//! People and other tools: what they say goes.

use mechanic_plan::{ClaimOnNode, Config, CordonOwner, ReasonCode};

use super::{SOON, cluster, cluster_with, one_drain_at_once, run_with};
use crate::{
    run::Run,
    world::{Announcement, Budget, Change, Workload, World},
};

fn paused() -> Change {
    Change::Settings(Box::new(Config { paused: true, ..super::early() }))
}

/// A cluster in which the drain of node 0 is held by a budget.
fn held_drain() -> Run {
    let mut world = cluster_with(6, one_drain_at_once());
    world.add_workload(Workload::new("a", 6).with_budget(Budget::MaxUnavailable(0)));
    let mut run = run_with(world, [Announcement::new("Reboot", &[0], SOON, 3_000)]);
    run.until(SOON + 1_300);
    assert!(run.is_draining(0));
    run
}

fn lift_budgets(world: &mut World) {
    world.workloads.iter_mut().for_each(|workload| workload.budget = None);
}

#[test]
fn while_paused_nothing_begins_and_releases_go_on() {
    let first = Announcement::new("Reboot", &[0], SOON, 900).cancelled(SOON + 300);
    let second = Announcement::new("Reboot", &[1], SOON + 250, 900);
    let mut run = run_with(cluster(6), [first, second]);
    run.until(SOON + 249);
    run.world.now(paused());
    run.until(SOON + 301);
    assert_eq!(run.reason(1), ReasonCode::Paused);
    run.until_released(0);
    assert!(!run.is_cordoned(0) && !run.is_cordoned(1));
    run.world.now(Change::Settings(Box::new(super::early())));
    run.go_on(60);
    assert_eq!(run.pods(1), 0, "it goes on afterwards");
}

#[test]
fn a_pause_stops_a_drain_at_its_next_pod_and_gives_its_slot_back() {
    let mut run = held_drain();
    run.world.now(paused());
    lift_budgets(&mut run.world);
    let moved = run.world.stats.moved;
    run.go_on(200);
    assert_eq!((run.world.stats.moved, run.reason(0)), (moved, ReasonCode::Paused));
    assert!(!run.is_draining(0) && run.is_cordoned(0));
}

#[test]
fn an_opt_out_stops_a_drain_at_its_next_pod_and_the_node_is_given_back_in_the_end() {
    let mut run = held_drain();
    run.world.now(Change::OptOut(0, true));
    lift_budgets(&mut run.world);
    let moved = run.world.stats.moved;
    run.go_on(200);
    assert_eq!((run.world.stats.moved, run.reason(0)), (moved, ReasonCode::OptedOut));
    run.until_released(0);
    assert!(!run.is_cordoned(0));
}

#[test]
fn an_event_that_comes_while_a_drained_node_is_opted_out_is_acted_on_afterwards() {
    let mut world = cluster(6);
    world.add_workload(Workload { empty_dir: true, ..Workload::new("a", 6) });
    let redeploy = Announcement::new("Redeploy", &[0], SOON + 200, 900);
    let mut run = run_with(world, [Announcement::new("Reboot", &[0], SOON, 900), redeploy]);
    run.until(SOON + 100);
    assert_eq!(
        (run.pods(0), run.reason(0)),
        (1, ReasonCode::DrainedExcept),
        "a Reboot leaves the emptyDir alone"
    );
    run.world.now(Change::OptOut(0, true));
    run.until(SOON + 300);
    assert_eq!((run.pods(0), run.reason(0)), (1, ReasonCode::OptedOut));
    run.world.now(Change::OptOut(0, false));
    run.go_on(100);
    assert_eq!(run.pods(0), 0, "a Redeploy would destroy it");
}

#[test]
fn a_node_that_is_opted_out_is_left_alone() {
    let mut world = cluster(6);
    world.now(Change::OptOut(0, true));
    let mut run = run_with(world, [Announcement::new("Terminate", &[0], SOON, 300)]);
    run.until(SOON + 290);
    assert_eq!((run.reason(0), run.world.stats.moved), (ReasonCode::OptedOut, 0));
    assert!(!run.is_cordoned(0));
}

#[test]
fn an_uncordon_by_somebody_is_a_veto_until_another_event_comes() {
    let mut run = held_drain();
    run.world.now(Change::Uncordon(0));
    lift_budgets(&mut run.world);
    let moved = run.world.stats.moved;
    run.go_on(120);
    assert!(!run.is_cordoned(0), "the veto is overruled");
    assert_eq!((run.world.stats.moved, run.reason(0)), (moved, ReasonCode::Vetoed));
    let announced = run.world.time + 1;
    run.world.announce(Announcement::new("Reboot", &[0], announced, 900));
    run.go_on(120);
    assert!(run.is_cordoned(0) && run.world.stats.moved > moved, "another event is acted on");
}

#[test]
fn a_cordon_of_somebody_elses_after_a_veto_is_never_taken_off() {
    let mut run = held_drain();
    run.world.now(Change::Uncordon(0));
    run.go_on(2);
    run.world.now(Change::Cordon(0));
    run.until_released(0);
    assert!(run.is_cordoned(0));
    assert_eq!(run.world.machines[0].cordoned_by, Some(CordonOwner::Somebody));
}

#[test]
fn a_cordon_in_place_of_ours_is_a_veto_though_nobody_saw_ours_go() {
    let mut run = held_drain();
    // Both between two looks of the coordinator.
    run.world.now(Change::Uncordon(0));
    run.world.now(Change::Cordon(0));
    lift_budgets(&mut run.world);
    let moved = run.world.stats.moved;
    run.go_on(120);
    assert_eq!((run.world.stats.moved, run.reason(0)), (moved, ReasonCode::Vetoed));
    run.until_released(0);
    assert!(run.is_cordoned(0));
    assert_eq!(run.world.machines[0].cordoned_by, Some(CordonOwner::Somebody));
}

#[test]
fn a_cordon_that_somebody_applies_beside_ours_vetoes_nothing_and_stays() {
    let mut run = held_drain();
    run.world.now(Change::CordonApplied(0));
    lift_budgets(&mut run.world);
    run.go_on(120);
    assert_eq!(run.pods(0), 0, "the drain goes on");
    run.until_released(0);
    assert!(run.is_cordoned(0));
}

#[test]
fn c3_edge_23_edge_24_a_cordon_of_somebody_elses_is_drained_and_never_taken_off() {
    let mut world = cluster(6);
    world.now(Change::Cordon(0));
    let mut run = run_with(world, [Announcement::new("Reboot", &[0], SOON, 900)]);
    run.until(SOON + 600);
    assert_eq!(run.pods(0), 0);
    run.until_released(0);
    assert!(run.is_cordoned(0));
}

#[test]
fn a_bare_label_is_somebody_elses_and_nothing_is_written_there() {
    let mut world = cluster(6);
    world.now(Change::Foreign(0, ClaimOnNode::LabelOnly));
    let mut run = run_with(world, [Announcement::new("Reboot", &[0], SOON, 900)]);
    run.until(SOON + 2_000);
    assert_eq!(run.world.node(0).claim, ClaimOnNode::LabelOnly);
    assert_eq!((run.reason(0), run.world.stats.moved), (ReasonCode::LabelWithoutClaim, 0));
}

#[test]
fn two_nodes_that_name_one_machine_are_both_left_alone() {
    let mut world = cluster(6);
    let twin = world.reference_of(0);
    world.name_machine(1, twin);
    let mut run = run_with(world, [Announcement::new("Reboot", &[0], SOON, 900)]);
    run.until(SOON + 600);
    assert_eq!(run.reason(0), ReasonCode::MachineNotUnique);
    assert_eq!((run.is_cordoned(0), run.world.stats.moved), (false, 0));
}

#[test]
fn a_twin_that_appears_in_mid_drain_stops_it_and_is_named() {
    let mut run = held_drain();
    let twin = run.world.reference_of(0);
    run.world.name_machine(1, twin);
    lift_budgets(&mut run.world);
    let moved = run.world.stats.moved;
    run.go_on(100);
    assert_eq!(run.world.stats.moved, moved);
    assert_eq!(run.reason(0), ReasonCode::MachineNotUnique);
}

#[test]
fn a_rule_that_comes_when_a_node_is_held_stops_its_drain_and_the_node_stays_held() {
    let mut world = cluster(6);
    world.add_workload(Workload::new("a", 6).with_budget(Budget::MaxUnavailable(0)));
    let event = Announcement::new("Reboot", &[0], SOON, 900).cancelled(SOON + 600);
    let mut run = run_with(world, [event]);
    run.until(SOON + 60);
    assert!(run.is_draining(0), "a budget holds it");
    let policy = mechanic_plan::Policy::parse("events: [{respond: Tolerate}]").unwrap();
    let tolerant = Config { policy: policy.into(), ..super::early() };
    run.world.now(Change::Settings(Box::new(tolerant)));
    run.go_on(60);
    assert_eq!((run.is_draining(0), run.is_cordoned(0), run.reason(0)), (false, true, ReasonCode::Tolerated));
    run.until(SOON + 800);
    assert_eq!((run.claim(0), run.is_cordoned(0)), (None, false));
}
