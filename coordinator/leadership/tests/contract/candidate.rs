//! A process that stands for election and, while it may, writes to a ledger every 50 ms.
//!
//! Its clock can be wrong by any amount. Only the wall clock is: the offset goes in where the crate under test reads it,
//! so it is in every `renewTime` written and in every comparison made here. `kube-leader-election` reads the wall clock
//! itself, but all it does with it is to compare it with a `renewTime` that the guard has set to 1970 or 2999 (an hour
//! makes no difference to either, which a unit test of `body` holds) and to write it (which the guard overwrites with
//! the offset clock).

use std::{
    env,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use futures::future::join_all;
use http::{HeaderValue, header::USER_AGENT};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use mechanic_leadership::{
    Candidate, Circumstances, Ending, NotLeading, Permit, Timing,
    clock::{Boottime, Clock},
    start_on_clock,
};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

pub(crate) const WRITE_INTERVAL: Duration = Duration::from_millis(50);
const ROLE: &str = "MECHANIC_CONTRACT_CANDIDATE";
/// What SIGUSR2 makes of them.
pub(crate) const RENEWALS_AT_ONCE: usize = 20;
/// What SIGUSR1 does to the wall clock.
const CLOCK_STEP_MS: i64 = 3_600_000;

/// What a candidate process is told.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) namespace: String,
    pub(crate) lease: String,
    pub(crate) name: String,
    pub(crate) log: PathBuf,
    pub(crate) wall_offset_ms: i64,
    /// Lease, renewal, Permit, settling; in milliseconds.
    pub(crate) timing_ms: [u64; 4],
    /// Whether it writes to the ledger (of the Lease's name).
    pub(crate) writes: bool,
}

impl Orders {
    pub(crate) fn to_env(&self) -> (&'static str, String) {
        let [lease, renew, permit, settle] = self.timing_ms;
        let orders = [
            self.kubeconfig.display().to_string(),
            self.namespace.clone(),
            self.lease.clone(),
            self.name.clone(),
            self.log.display().to_string(),
            self.wall_offset_ms.to_string(),
            format!("{lease},{renew},{permit},{settle}"),
            self.writes.to_string(),
        ];
        (ROLE, orders.join("\n"))
    }

    /// None in the process that runs the test.
    pub(crate) fn from_env() -> Option<Result<Self>> {
        let orders = env::var(ROLE).ok()?;
        Some(Self::parse(&orders))
    }

    fn parse(orders: &str) -> Result<Self> {
        let parts: Vec<&str> = orders.split('\n').collect();
        let [kubeconfig, namespace, lease, name, log, offset, timing, writes] = parts[..] else {
            anyhow::bail!("a candidate needs eight orders");
        };
        let timing: Vec<u64> = timing.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self {
            kubeconfig: kubeconfig.into(),
            namespace: namespace.into(),
            lease: lease.into(),
            name: name.into(),
            log: log.into(),
            wall_offset_ms: offset.parse()?,
            timing_ms: timing.try_into().ok().context("four durations")?,
            writes: writes.parse()?,
        })
    }
}

/// What a candidate writes down, one line each, as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// At this moment there was a Permit, and it held for so long.
    Permitted { at: Boottime, remaining: Duration, epoch: u64 },
    /// At this moment there was none any more.
    Refused { at: Boottime, why: String },
    /// Its write became this version.
    Wrote { version: u64, epoch: u64 },
    /// It ended.
    Ended { at: Boottime, how: String },
    /// It asked to renew before it acts, from many tasks at once: so many got a Permit.
    Renewed { granted: usize },
    /// Its holder id.
    Named { holder: String },
}

impl Line {
    fn write(&self, log: &mut File) -> Result<()> {
        let ns = |at: &Boottime| at.since_boot().as_nanos();
        let line = match self {
            Self::Permitted { at, remaining, epoch } => {
                format!("P {} {} {epoch}\n", ns(at), remaining.as_nanos())
            }
            Self::Refused { at, why } => format!("R {} {why}\n", ns(at)),
            Self::Wrote { version, epoch } => format!("W {version} {epoch}\n"),
            Self::Ended { at, how } => format!("E {} {how}\n", ns(at)),
            Self::Renewed { granted } => format!("A {granted}\n"),
            Self::Named { holder } => format!("N {holder}\n"),
        };
        Ok(log.write_all(line.as_bytes())?)
    }

    /// None for a line that its writer did not live to end.
    fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        let at = || first.parse().ok().map(Duration::from_nanos).map(Boottime::from_boot);
        Some(match kind {
            "P" => {
                let (remaining, epoch) = second.split_once(' ')?;
                let remaining = Duration::from_nanos(remaining.parse().ok()?);
                Self::Permitted { at: at()?, remaining, epoch: epoch.parse().ok()? }
            }
            "R" => Self::Refused { at: at()?, why: second.into() },
            "W" => Self::Wrote { version: first.parse().ok()?, epoch: second.parse().ok()? },
            "E" => Self::Ended { at: at()?, how: second.into() },
            "A" => Self::Renewed { granted: first.parse().ok()? },
            "N" => Self::Named { holder: first.into() },
            _ => return None,
        })
    }
}

pub(crate) fn read_log(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| Line::parse(line).unwrap_or_else(|| panic!("a line that nobody writes: {line}")))
        .collect()
}

pub(crate) async fn client_config(kubeconfig: &Path) -> Result<Config> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(config)
}

/// The whole life of a candidate.
pub(crate) async fn run(orders: Orders) -> Result<()> {
    // However the test ends, its candidates end, stopped ones too.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut config = client_config(&orders.kubeconfig).await?;
    config.headers.push((USER_AGENT, HeaderValue::from_str(&orders.name)?));
    let mut ledger = Ledger::new(Client::try_from(config.clone())?, &orders);
    let [lease, renew, permit, settle] = orders.timing_ms.map(Duration::from_millis);
    let timing = Timing::new(lease, renew, permit, settle)?;
    let offset = Arc::new(AtomicI64::new(orders.wall_offset_ms));
    let clock = Clock::with_wall_offset(Arc::clone(&offset));
    let candidate =
        Candidate::new(&orders.name, &format!("{}:7443", orders.name), &orders.namespace, &orders.lease);
    let mut log = File::options().append(true).create(true).open(&orders.log)?;
    Line::Named { holder: candidate.holder.clone() }.write(&mut log)?;

    let shutdown = CancellationToken::new();
    let (permits, _leadership, mut ending) = start_on_clock(
        config.clone(),
        Client::try_from(config)?,
        &candidate,
        timing,
        clock.clone(),
        Circumstances::default(),
        shutdown.clone(),
    )?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut clock_is_set = signal(SignalKind::user_defined1())?;
    let mut about_to_act = signal(SignalKind::user_defined2())?;
    let mut tick = interval(WRITE_INTERVAL);
    let mut permitted = false;
    let how: Ending = loop {
        select! {
            ended = &mut ending => break ended?,
            _ = terminate.recv() => {
                // The work has stopped: this loop is all there is of it.
                shutdown.cancel();
                break ending.await?;
            }
            _ = about_to_act.recv() => {
                let (permits, mut log) = (permits.clone(), log.try_clone()?);
                tokio::spawn(async move {
                    let asked = join_all((0..RENEWALS_AT_ONCE).map(|_| permits.renew())).await;
                    Line::Renewed { granted: asked.iter().flatten().count() }.write(&mut log)
                });
            }
            _ = clock_is_set.recv() => { offset.fetch_add(CLOCK_STEP_MS, Ordering::Relaxed); }
            _ = tick.tick() => {
                let answer = permits.check();
                let at = clock.now().boot;
                match answer {
                    Ok(permit) => {
                        permitted = true;
                        Line::Permitted { at, remaining: permit.remaining, epoch: permit.epoch }.write(&mut log)?;
                        if orders.writes && let Some(line) = ledger.write(&permit).await {
                            line.write(&mut log)?;
                        }
                    }
                    Err(why) => {
                        if permitted || !matches!(why, NotLeading::Following) {
                            Line::Refused { at, why: why.to_string() }.write(&mut log)?;
                        }
                        permitted = false;
                        ledger.forget();
                    }
                }
            }
        }
    };
    Line::Ended { at: clock.now().boot, how: format!("{how:?}") }.write(&mut log)
}

/// The object that stands for all that a leader writes. Always by compare-and-swap.
struct Ledger {
    api: Api<ConfigMap>,
    name: String,
    writer: String,
    last: Option<ConfigMap>,
    count: u64,
}

impl Ledger {
    fn new(client: Client, orders: &Orders) -> Self {
        let api = Api::namespaced(client, &orders.namespace);
        Self { api, name: orders.lease.clone(), writer: orders.name.clone(), last: None, count: 0 }
    }

    /// The next write begins with a fresh read.
    fn forget(&mut self) {
        self.last = None;
    }

    /// None when it was refused, and when nobody knows what became of it.
    async fn write(&mut self, permit: &Permit) -> Option<Line> {
        let attempt = async {
            let mut next = match self.last.take() {
                Some(last) => last,
                None => self.api.get(&self.name).await?,
            };
            // A write that changes nothing would become no version.
            self.count += 1;
            let data = [
                ("epoch", permit.epoch.to_string()),
                ("writer", self.writer.clone()),
                ("count", self.count.to_string()),
            ];
            next.data = Some(data.map(|(key, value)| (key.to_owned(), value)).into());
            self.api.replace(&self.name, &PostParams::default(), &next).await
        };
        let written = timeout(permit.remaining, attempt).await.ok()?.ok()?;
        let version = written.metadata.resource_version.as_deref()?.parse().ok()?;
        self.last = Some(written);
        Some(Line::Wrote { version, epoch: permit.epoch })
    }
}
