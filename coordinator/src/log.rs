//! The log: its level, which changes while the process runs, and what ties the lines about an event together.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use mechanic_plan::{ClaimOnNode, LogLevel, Node};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::arguments::LogFormat;

/// What is logged.
#[derive(Clone)]
pub struct Log {
    started_with: String,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Log {
    /// Logs from now on, by a filter such as `info,mechanic_coordinator=debug`.
    ///
    /// # Errors
    /// Where the filter makes no sense, or something else logs already.
    pub fn begin(started_with: &str, format: LogFormat) -> Result<Self> {
        let parsed = EnvFilter::try_new(started_with);
        let (filter, handle) =
            reload::Layer::new(parsed.with_context(|| format!("no filter of a log: `{started_with}`"))?);
        let lines = match format {
            LogFormat::Json => tracing_subscriber::fmt::layer().json().boxed(),
            LogFormat::Text => tracing_subscriber::fmt::layer().boxed(),
        };
        tracing_subscriber::registry().with(filter).with(lines).try_init()?;
        Ok(Self { started_with: started_with.to_owned(), filter: handle })
    }

    /// Logs as much as the settings say, from now on.
    pub(crate) fn set_level(&self, level: LogLevel) {
        let filter = filter(level, &self.started_with);
        let parsed = EnvFilter::try_new(&filter).map_err(|error| error.to_string());
        let reloaded =
            parsed.and_then(|parsed| self.filter.reload(parsed).map_err(|error| error.to_string()));
        if let Err(error) = reloaded {
            tracing::error!(error, "the log stays as it is, since `{filter}` can't be put in force");
        }
    }
}

/// The usual level leaves it to what the process was started with, which may say more of some part. A louder one is about
/// mechanic alone: what libraries say of each frame of a stream would drown it.
fn filter(level: LogLevel, started_with: &str) -> String {
    match level {
        LogLevel::Info => started_with.to_owned(),
        LogLevel::Error | LogLevel::Warn => level.to_string(),
        LogLevel::Debug | LogLevel::Trace => format!("info,kube_leader_election=warn,mechanic={level}"),
    }
}

/// The `EventId`s that lines about a node carry, between commas: what it is held for, and what its own probe shows.
pub(crate) fn event_ids<'a>(views: impl IntoIterator<Item = &'a Node>) -> String {
    let ids = views.into_iter().flat_map(|node| {
        let claimed = match &node.claim {
            ClaimOnNode::Readable(claim) => Some(claim.events.keys()),
            _ => None,
        };
        let shown = node.own_events().iter().map(|event| &event.event_id);
        claimed.into_iter().flatten().chain(shown)
    });
    ids.map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_level_is_in_force_at_once_and_the_usual_one_is_what_the_process_was_started_with() {
        let lines = Lines::default();
        let writer = lines.clone();
        let started_with = "info,chatty=debug";
        let (filter, handle) = reload::Layer::new(EnvFilter::new(started_with));
        let log = Log { started_with: started_with.to_owned(), filter: handle };
        let layer = tracing_subscriber::fmt::layer().without_time().with_writer(move || writer.clone());
        let logged = |level| {
            log.set_level(level);
            lines.0.lock().unwrap().clear();
            tracing::warn!(target: "mechanic_plan", "1");
            tracing::info!(target: "mechanic_plan", "2");
            tracing::debug!(target: "mechanic_leadership", "3");
            tracing::trace!(target: "mechanic_coordinator::act", "4");
            tracing::debug!(target: "chatty", "5");
            tracing::debug!(target: "h2", "6");
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            text.lines().filter_map(|line| line.trim().chars().last()).collect::<String>()
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(filter).with(layer), || {
            assert_eq!(logged(LogLevel::Info), "125");
            assert_eq!(logged(LogLevel::Error), "");
            assert_eq!(logged(LogLevel::Warn), "1");
            assert_eq!(logged(LogLevel::Debug), "123");
            assert_eq!(logged(LogLevel::Trace), "1234");
            assert_eq!(logged(LogLevel::Info), "125");
        });
    }
}
