//! What each setting costs in each situation: the tables of `docs/defaults.md`.
//! `cargo bench -p mechanic-plan --bench defaults`; with `-- NAME` only of the settings whose names begin so.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod scenarios;
#[allow(dead_code, unused_imports, clippy::panic)]
#[path = "../../tests/simulation/world/mod.rs"]
mod world;

use std::time::Duration;

use mechanic_plan::{Amount, Config};

use scenarios::{SCENARIOS, Scenario};

/// Each cell is the sum of so many runs that differ by chance.
const RUNS: u64 = 2;

/// A value as text, and what it sets.
type Value = (&'static str, fn(&mut Config));

/// A setting, and the values of it that are compared.
struct Setting {
    name: &'static str,
    values: &'static [Value],
}

const SETTINGS: &[Setting] = &[
    Setting {
        name: "lead-time",
        values: &[
            ("5m", |config| config.lead_time = Duration::from_mins(5)),
            ("10m", |config| config.lead_time = Duration::from_mins(10)),
            ("15m", |config| config.lead_time = Duration::from_mins(15)),
            ("30m", |config| config.lead_time = Duration::from_mins(30)),
            ("2h", |config| config.lead_time = Duration::from_hours(2)),
        ],
    },
    Setting {
        name: "max-cordoned",
        values: &[
            ("25%", |config| config.max_cordoned = Amount::Percent(25)),
            ("50%", |config| config.max_cordoned = Amount::Percent(50)),
            ("75%", |config| config.max_cordoned = Amount::Percent(75)),
            ("100%", |config| config.max_cordoned = Amount::Percent(100)),
        ],
    },
    Setting {
        name: "max-concurrent-drains",
        values: &[
            ("1", |config| config.max_concurrent_drains = Amount::Number(1)),
            ("5%", |config| config.max_concurrent_drains = Amount::Percent(5)),
            ("10%", |config| config.max_concurrent_drains = Amount::Percent(10)),
            ("20%", |config| config.max_concurrent_drains = Amount::Percent(20)),
            ("40%", |config| config.max_concurrent_drains = Amount::Percent(40)),
        ],
    },
    Setting {
        name: "max-unavailable-nodes",
        values: &[
            ("10%", |config| config.max_unavailable_nodes = Amount::Percent(10)),
            ("25%", |config| config.max_unavailable_nodes = Amount::Percent(25)),
            ("50%", |config| config.max_unavailable_nodes = Amount::Percent(50)),
            ("100%", |config| config.max_unavailable_nodes = Amount::Percent(100)),
        ],
    },
    Setting {
        name: "emergency-concurrent-drains",
        values: &[
            ("10%", |config| config.emergency_concurrent_drains = Amount::Percent(10)),
            ("25%", |config| config.emergency_concurrent_drains = Amount::Percent(25)),
            ("50%", |config| config.emergency_concurrent_drains = Amount::Percent(50)),
            ("100%", |config| config.emergency_concurrent_drains = Amount::Percent(100)),
        ],
    },
    Setting {
        name: "set-aside-after",
        values: &[
            ("30s", |config| config.set_aside_after = Duration::from_secs(30)),
            ("1m", |config| config.set_aside_after = Duration::from_mins(1)),
            ("2m", |config| config.set_aside_after = Duration::from_mins(2)),
            ("5m", |config| config.set_aside_after = Duration::from_mins(5)),
            ("15m", |config| config.set_aside_after = Duration::from_mins(15)),
            ("1h", |config| config.set_aside_after = Duration::from_hours(1)),
        ],
    },
    Setting {
        name: "release-hold",
        values: &[
            ("0s", |config| config.release_hold = Duration::ZERO),
            ("10s", |config| config.release_hold = Duration::from_secs(10)),
            ("60s", |config| config.release_hold = Duration::from_mins(1)),
            ("5m", |config| config.release_hold = Duration::from_mins(5)),
        ],
    },
    Setting {
        name: "release-hold-never-started",
        values: &[
            ("0s", |config| config.release_hold_never_started = Duration::ZERO),
            ("10s", |config| config.release_hold_never_started = Duration::from_secs(10)),
            ("60s", |config| config.release_hold_never_started = Duration::from_mins(1)),
            ("5m", |config| config.release_hold_never_started = Duration::from_mins(5)),
            ("15m", |config| config.release_hold_never_started = Duration::from_mins(15)),
        ],
    },
    Setting {
        name: "release-hold-after-boot",
        values: &[
            ("0s", |config| config.release_hold_after_boot = Duration::ZERO),
            ("1m", |config| config.release_hold_after_boot = Duration::from_mins(1)),
            ("5m", |config| config.release_hold_after_boot = Duration::from_mins(5)),
            ("15m", |config| config.release_hold_after_boot = Duration::from_mins(15)),
        ],
    },
    Setting {
        name: "release-hold-after-terminate",
        values: &[
            ("0s", |config| config.release_hold_after_terminate = Duration::ZERO),
            ("1m", |config| config.release_hold_after_terminate = Duration::from_mins(1)),
            ("10m", |config| config.release_hold_after_terminate = Duration::from_mins(10)),
            ("30m", |config| config.release_hold_after_terminate = Duration::from_mins(30)),
        ],
    },
];

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    for Setting { name, values } in SETTINGS.iter().filter(|setting| setting.name.starts_with(&wanted)) {
        println!("\n### `{name}`\n");
        let of_default = |(value, set): &Value| {
            let mut config = Config::default();
            set(&mut config);
            let is_default = config == Config::default();
            (if is_default { format!("**{value}**") } else { (*value).to_owned() }, config)
        };
        let (heads, configs): (Vec<String>, Vec<Config>) = values.iter().map(of_default).unzip();
        println!("| situation | {} |", heads.join(" | "));
        println!("|---|{}", "---|".repeat(values.len()));
        for scenario in SCENARIOS {
            let cells: Vec<String> = configs.iter().map(|config| cell(scenario, config)).collect();
            // Where it makes no difference, there is nothing to choose by.
            if cells.windows(2).any(|pair| pair[0] != pair[1]) {
                println!("| {} | {} |", scenario.what, cells.join(" | "));
            }
        }
    }
}

/// Killed · moved in vain · pending for so many seconds in all, and the longest.
fn cell(scenario: &Scenario, config: &Config) -> String {
    let (mut killed, mut in_vain, mut pending, mut longest) = (0, 0, 0, 0);
    for seed in 0..RUNS {
        let (mut world, ends) = (scenario.world)(seed, config.clone());
        while world.time < ends {
            world.advance(ends);
            let Some(plan) = world.decide() else { continue };
            for eviction in world.act(&plan).evictions {
                let mut events = world.events_of(eviction.machine);
                in_vain += u64::from(events.all(|event| event.begins.is_none()));
            }
        }
        let stats = world.stats_at_end();
        killed += stats.killed;
        in_vain += stats.moved_again;
        pending += stats.pending_seconds;
        longest = longest.max(stats.longest_pending);
    }
    format!("{} · {} · {}, {longest}", killed / RUNS, in_vain / RUNS, pending / RUNS)
}
