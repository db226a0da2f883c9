//! Log lines on standard error.

use std::io;

use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::arguments::LogFormat;

/// Begins to log. Fails where something else in the process logs already.
pub fn start(filter: Targets, format: LogFormat) -> anyhow::Result<()> {
    let lines = fmt::layer().with_ansi(false).with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
    Ok(())
}
