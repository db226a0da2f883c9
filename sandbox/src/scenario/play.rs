//! Plays a scenario's steps in the world, at their times.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::watch;
use tokio::time::Instant;

use super::act::Actor;
use super::outcome::Outcome;
use super::{Scenario, Speed};
use crate::world::World;

/// What the script does next, and when.
#[derive(Clone, Debug)]
pub struct Next {
    /// Not before this.
    pub at: Instant,
    /// In a few words.
    pub what: String,
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = self.at.saturating_duration_since(Instant::now());
        write!(f, "{} in {} s", self.what, wait.as_secs())
    }
}

/// Plays all steps and waits until every node is given back, or for as long as the scenario allows. What comes next is
/// told to `next`.
pub async fn play(
    scenario: &Scenario,
    world: &World,
    speed: Speed,
    next: &watch::Sender<Option<Next>>,
) -> Result<Outcome> {
    let begun = Instant::now();
    let mut actor = Actor::new(world, speed);
    for step in &scenario.steps {
        let at = begun + step.value.at.at(speed);
        let what =
            step.value.r#do.iter().map(|action| action.value.to_string()).collect::<Vec<_>>().join(", ");
        next.send_replace(Some(Next { at, what }));
        actor.sleep_until(at).await?;
        for action in &step.value.r#do {
            let line = action.referenced.line();
            actor.act(&action.value).await.with_context(|| format!("line {line} can't be played"))?;
        }
    }
    next.send_replace(None);
    actor.end().await?;
    let within = scenario.expect.value.given_back_within.as_written();
    let outcome = actor.outcome(&scenario.expect.value);
    wait_given_back(world, &outcome, within).await;
    Ok(outcome)
}

/// What isn't given back by then is the referee's to tell.
async fn wait_given_back(world: &World, outcome: &Outcome, within: Duration) {
    let _ =
        world.referee.see("every node given back", within, |history| outcome.all_given_back(history)).await;
}
