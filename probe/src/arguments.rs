//! Flags and environment.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use tracing_subscriber::filter::Targets;

/// Polls this node's Instance Metadata Service for scheduled events and reports them to mechanic's coordinator.
#[derive(Clone, Debug, Parser)]
#[command(name = "mechanic-probe", version)]
pub struct Arguments {
    /// Any coordinator, as host:port
    #[arg(long, env = "MECHANIC_COORDINATOR_ADDRESS", value_name = "HOST:PORT")]
    #[arg(default_value = "mechanic-coordinator.mechanic.svc:7443", value_parser = address)]
    pub coordinator_address: String,

    /// The authorities that coordinators' certificates must come from, as PEM
    #[arg(long, env = "MECHANIC_AUTHORITIES_FILE", value_name = "FILE")]
    #[arg(default_value = "/var/run/mechanic/authorities/ca.crt")]
    pub authorities_file: PathBuf,

    /// This probe's service-account token
    #[arg(long, env = "MECHANIC_TOKEN_FILE", value_name = "FILE")]
    #[arg(default_value = "/var/run/secrets/mechanic/token")]
    pub token_file: PathBuf,

    /// The Instance Metadata Service, as host:port
    #[arg(long, env = "MECHANIC_IMDS_ADDRESS", value_name = "HOST:PORT")]
    #[arg(default_value = "169.254.169.254:80", value_parser = address)]
    pub imds_address: String,

    /// api-version of the Scheduled Events
    #[arg(long, env = "MECHANIC_EVENTS_API_VERSION", value_name = "DATE")]
    #[arg(default_value = "2020-07-01", value_parser = api_version)]
    pub events_api_version: String,

    /// Where the kernel says which boot this is
    #[arg(long, env = "MECHANIC_BOOT_ID_FILE", value_name = "FILE")]
    #[arg(default_value = "/proc/sys/kernel/random/boot_id")]
    pub boot_id_file: PathBuf,

    /// How often to ask for events: 100ms to 60s
    #[arg(long, env = "MECHANIC_POLL_INTERVAL", value_name = "TIME", default_value = "1s", value_parser = poll_interval)]
    pub poll_interval: Duration,

    /// How often to report when nothing is new: 100ms to 20s; the coordinator takes 30 s of silence for absence
    #[arg(long, env = "MECHANIC_HEARTBEAT_INTERVAL", value_name = "TIME", default_value = "10s", value_parser = heartbeat_interval)]
    pub heartbeat_interval: Duration,

    /// The Node this runs on; shown when it contradicts the token
    #[arg(long, env = "NODE_NAME", value_name = "NAME", default_value = "", hide_default_value = true)]
    pub node_name: String,

    /// What to log, as level or target=level, separated by commas
    #[arg(long, env = "MECHANIC_LOG", value_name = "FILTER", default_value = "info")]
    pub log: Targets,

    /// How to log
    #[arg(long, env = "MECHANIC_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn address(text: &str) -> Result<String, String> {
    let complaint = || format!("{text:?} is not an address of the form host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(complaint)?;
    let strange = |character: char| !character.is_ascii_alphanumeric() && !"-._:[]".contains(character);
    if host.is_empty() || host.contains(strange) || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(complaint());
    }
    Ok(text.to_owned())
}

fn api_version(text: &str) -> Result<String, String> {
    if text.is_empty()
        || text.contains(|character: char| !character.is_ascii_alphanumeric() && character != '-')
    {
        return Err(format!("{text:?} is not an api-version such as 2020-07-01"));
    }
    Ok(text.to_owned())
}

fn poll_interval(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_mins(1))
}

fn heartbeat_interval(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(20))
}

fn duration(text: &str, longest: Duration) -> Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len()));
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        _ => return Err(format!("{text:?} is not a time such as 500ms or 2s")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is not a time such as 500ms or 2s"))?;
    let duration = Duration::from_millis(number.saturating_mul(millis));
    if !(Duration::from_millis(100)..=longest).contains(&duration) {
        return Err(format!("{text} is not between 100ms and {}s", longest.as_secs()));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_addresses_are_understood_or_refused() {
        assert_eq!(poll_interval("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(poll_interval("2s"), Ok(Duration::from_secs(2)));
        for wrong in ["", "1", "s", "1m", "-1s", "1.5s", "99ms", "61s", "99999999999999999999s"] {
            assert!(poll_interval(wrong).is_err(), "{wrong}");
        }
        assert!(heartbeat_interval("21s").is_err());
        for right in ["mechanic-coordinator.mechanic.svc:7443", "127.0.0.1:1", "[::1]:7443"] {
            assert_eq!(address(right).as_deref(), Ok(right));
        }
        for wrong in ["", "host", ":80", "host:0", "host:65536", "http://host:80", "a b:1", "user@host:80"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_defaults_are_what_a_daemonset_needs() {
        let arguments = Arguments::parse_from(["mechanic-probe"]);
        assert_eq!(arguments.imds_address, "169.254.169.254:80");
        assert_eq!(arguments.poll_interval, Duration::from_secs(1));
        assert_eq!(arguments.heartbeat_interval, Duration::from_secs(10));
        assert!(Arguments::try_parse_from(["mechanic-probe", "--log", "nonsense=loud"]).is_err());
    }
}
