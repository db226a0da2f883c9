//! The demo: one scenario on one screen, told line by line, ended by the referee's verdict.

mod look_inside;
mod screen;
mod story;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use crate::programs::{Profile, Programs, Progress};
use crate::referee::{Record, Referee};
use crate::scenario::{self, Next, Outcome, Scenario, Speed, play};
use crate::world::World;

pub use look_inside::{look_inside, shell};

use story::Story;

/// How to show it.
#[derive(Clone, Copy, Debug)]
pub struct DemoOptions {
    /// Which build of mechanic to show.
    pub profile: Profile,
    /// How fast the script's times pass.
    pub speed: Speed,
    /// Leave everything up after the verdict, until Ctrl-C.
    pub keep: bool,
}

/// Plays `scenario` and says how it went: success only if every promise was kept and all that the scenario expects
/// has happened. Ctrl-C ends it at any time and leaves nothing behind.
pub async fn run(scenario: &Scenario, options: DemoOptions) -> Result<ExitCode> {
    let interrupted = async {
        tokio::signal::ctrl_c().await.context("can't hear Ctrl-C")?;
        screen::line("\nInterrupted: everything is being taken down.");
        Ok(ExitCode::from(130))
    };
    tokio::select! {
        code = show(scenario, options) => code,
        code = interrupted => code,
    }
}

async fn show(scenario: &Scenario, options: DemoOptions) -> Result<ExitCode> {
    screen::line(&format!("{}.\n", scenario.title));
    let programs = prepare(options.profile).await?;
    let world = scenario::build(scenario, options.speed, &programs, &screen::line).await?;
    screen::line(&format!("Look inside meanwhile:\n  {}\n", shell(&world.cluster, &world.installation)?));
    let mut story = Story::about(&world.nodes);
    let (outcome, told) = play_and_tell(scenario, options.speed, &world, &mut story).await?;
    let mut promises = world.referee.promises();
    outcome.excuse(&mut promises);
    let verdict = world.referee.verdict_under(&promises).await;
    show_all(&story.tell(&seen_since(&world.referee, told)));
    screen::line(&format!("\n{verdict}"));
    let missing = world.referee.look(|history| outcome.missing(&verdict, history));
    for what in &missing {
        screen::line(&format!("  MISSING  {what}"));
    }
    let fine = verdict.is_clean() && missing.is_empty();
    screen::line(if fine { "\nEvery promise was kept." } else { "\nThis run was not as promised." });
    if options.keep {
        leave_up(&world).await?;
    }
    world.end().await?;
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn prepare(profile: Profile) -> Result<Programs> {
    let progress: Progress = std::sync::Arc::new(screen::line);
    tokio::task::spawn_blocking(move || Programs::prepare(profile, &progress))
        .await
        .context("the building of the programs was cut off")?
}

/// Returns how it turned out, and how many of the records have been told.
async fn play_and_tell(
    scenario: &Scenario,
    speed: Speed,
    world: &World,
    story: &mut Story,
) -> Result<(Outcome, usize)> {
    let (next, upcoming) = watch::channel(None);
    let playing = play(scenario, world, speed, &next);
    tokio::pin!(playing);
    let mut tick = tokio::time::interval(std::time::Duration::from_secs(1));
    let mut told = 0;
    loop {
        tokio::select! {
            outcome = &mut playing => {
                screen::status("");
                return Ok((outcome?, told));
            }
            news = gather(&world.referee, told) => {
                told += news.len();
                show_all(&story.tell(&news));
            }
            _ = tick.tick() => {}
        }
        let next = upcoming.borrow().as_ref().map_or_else(|| "the end".to_owned(), Next::to_string);
        screen::status(&format!("{} │ next: {next}", story.status()));
    }
}

async fn leave_up(world: &World) -> Result<()> {
    let node = world.nodes.first().context("the scenario has no nodes")?;
    screen::line("\nEverything stays up until Ctrl-C.\n");
    screen::line(&format!("  {}", shell(&world.cluster, &world.installation)?));
    for line in look_inside(&node.name) {
        screen::line(&format!("  {line}"));
    }
    // Ctrl-C ends the caller, and with it this.
    std::future::pending().await
}

/// What is new, and a little later, so that what watch and log say about one moment can be told in order.
async fn gather(referee: &Referee, told: usize) -> Vec<Record> {
    referee.news(told).await;
    tokio::time::sleep(screen::PACE).await;
    seen_since(referee, told)
}

fn seen_since(referee: &Referee, told: usize) -> Vec<Record> {
    referee.look(|history| history.records.iter().skip(told).cloned().collect())
}

fn show_all(lines: &[String]) {
    lines.iter().map(String::as_str).for_each(screen::line);
}
