//! The promises through random afternoons. `MECHANIC_SEED` replays one; `MECHANIC_SEEDS` sets how many the long
//! run takes.

use std::env;

use crate::{invariants::everything_is_given_back, random_cluster::Afternoon, run::Run, world::Stats};

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

fn afternoon(seed: u64, afternoon: Afternoon, tells: bool) -> Stats {
    let world = afternoon.world(seed);
    let mut run = if afternoon.troubled { Run::without_deadlines(world) } else { Run::new(world) };
    run.tells = tells;
    run.until(afternoon.ends());
    everything_is_given_back(&run.world);
    run.world.stats
}

#[test]
fn the_promises_hold_through_random_afternoons() {
    if let Some(seed) = number("MECHANIC_SEED") {
        eprintln!("{:?}", afternoon(seed, Afternoon::of(seed), true));
        return;
    }
    let mut steps = 0;
    let mut seed = 0;
    while steps < 1_100_000 {
        steps += afternoon(seed, Afternoon::of(seed), false).node_steps;
        seed += 1;
    }
}

/// Takes some minutes.
#[test]
#[ignore = "cargo test -p mechanic-plan --release -- --ignored"]
fn the_promises_hold_in_a_cluster_of_five_thousand() {
    for troubled in [false, true] {
        let large = Afternoon { machines: 5_000, lasts: 300, events: 300, troubled };
        eprintln!("{:?}", afternoon(1, large, false));
    }
}

/// Takes minutes to hours.
#[test]
#[ignore = "as long as one likes: MECHANIC_SEEDS=10000 cargo test -p mechanic-plan --release -- --ignored"]
fn the_promises_hold_through_many_more() {
    let first = number("MECHANIC_FIRST").unwrap_or(1_000);
    let mut steps = 0;
    let mut failed = Vec::new();
    for seed in first..first + number("MECHANIC_SEEDS").unwrap_or(1_000) {
        match std::panic::catch_unwind(|| afternoon(seed, Afternoon::of(seed), false)) {
            Ok(stats) => steps += stats.node_steps,
            Err(_) => failed.push(seed),
        }
    }
    eprintln!("{steps} node-steps");
    assert_eq!(failed, [0_u64; 0], "these seeds failed");
}
