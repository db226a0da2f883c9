//! A cluster of one's own in one command: a real control plane, Azure's side, and mechanic installed on it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use mechanic_sandbox::child;
use mechanic_sandbox::demo::{self, DemoOptions};
use mechanic_sandbox::programs::Profile;
use mechanic_sandbox::scenario::{BUILT_IN, Scenario, Speed, Time};

/// Plays a script of maintenance on a real control plane with mechanic installed on it, and judges how it went.
#[derive(Debug, Parser)]
#[command(after_help = built_in_scenarios())]
struct Arguments {
    /// What to play: a file, as docs/scenarios.md describes it, or the name of a built-in scenario.
    #[arg(long, value_name = "FILE", default_value = BUILT_IN[0].name)]
    scenario: String,
    /// Plays a script of random events and faults instead, drawn from this number: the same one draws the same script.
    #[arg(long, value_name = "SEED", conflicts_with = "scenario")]
    random: Option<u64>,
    /// How long the events and faults of a random script go on.
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "random")]
    r#for: Time,
    /// Prints the random script instead of playing it; its file can be changed and played as any other.
    #[arg(long, requires = "random")]
    print: bool,
    /// How fast: 2 is twice as fast as the script says.
    #[arg(long, value_name = "FACTOR", default_value = "1")]
    speed: Speed,
    /// Leave everything up after the verdict, until Ctrl-C, and print how to look inside.
    #[arg(long)]
    keep: bool,
    /// Run mechanic's dev profile, which is quicker to build, instead of what ships.
    #[arg(long)]
    dev: bool,
}

fn built_in_scenarios() -> String {
    let lines = BUILT_IN.iter().map(|built_in| {
        let title = Scenario::read(built_in.name, built_in.text).map(|scenario| scenario.title);
        format!("\n  {:<14} {}", built_in.name, title.unwrap_or_default())
    });
    format!("Built-in scenarios:{}", lines.collect::<String>())
}

fn main() -> ExitCode {
    play().unwrap_or_else(|error| {
        // For people: what failed, without the way through our code.
        let _ = writeln!(std::io::stderr(), "Error: {error:#}");
        ExitCode::FAILURE
    })
}

fn play() -> anyhow::Result<ExitCode> {
    // Every child of a sandbox is started through this binary.
    if let Some(status) = child::run_if_asked() {
        return Ok(status);
    }
    let arguments = Arguments::parse();
    let scenario = match arguments.random {
        Some(seed) => {
            let script = Scenario::drawn(seed, arguments.r#for);
            if arguments.print {
                std::io::stdout().write_all(script.as_bytes())?;
                return Ok(ExitCode::SUCCESS);
            }
            Scenario::read(&format!("the script drawn from seed {seed}"), &script)?
        }
        None => Scenario::load(&arguments.scenario)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let options = DemoOptions {
        profile: if arguments.dev { Profile::Dev } else { Profile::Release },
        speed: arguments.speed,
        keep: arguments.keep,
    };
    let ended = runtime.block_on(demo::run(&scenario, options));
    // A build that was interrupted isn't waited for.
    runtime.shutdown_background();
    ended
}
