//! What must be true of any run, whatever was done to the candidates.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, ensure};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
};
use mechanic_leadership::clock::Boottime;
use tokio::task::JoinHandle;

use crate::candidate::Line;

/// From the first moment at which a process had a Permit to the moment when it ended by itself, or when the process
/// noticed that it had none any more.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    pub(crate) who: String,
    pub(crate) epoch: u64,
    pub(crate) from: Boottime,
    pub(crate) to: Boottime,
}

pub(crate) fn intervals(who: &str, log: &[Line]) -> Vec<Interval> {
    let mut intervals: Vec<Interval> = Vec::new();
    let mut open = false;
    for line in log {
        match line {
            Line::Permitted { at, remaining, epoch } => {
                let to = *at + *remaining;
                match intervals.last_mut() {
                    Some(last) if open && last.epoch == *epoch => last.to = last.to.max(to),
                    _ => intervals.push(Interval { who: who.into(), epoch: *epoch, from: *at, to }),
                }
                open = true;
            }
            Line::Refused { at, .. } | Line::Ended { at, .. } => {
                if let Some(last) = intervals.last_mut() {
                    last.to = last.to.min(*at);
                }
                open = false;
            }
            Line::Wrote { .. } | Line::Renewed { .. } | Line::Named { .. } => {}
        }
    }
    intervals
}

/// One version of the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    number: u64,
    epoch: u64,
    writer: String,
}

/// Sees every version of a ledger, also those whose writer never learned of them: a watch that is resumed where it broke
/// off leaves none out.
pub(crate) struct Witness {
    seen: Arc<Mutex<Vec<Version>>>,
    task: JoinHandle<()>,
}

impl Witness {
    pub(crate) fn of(api: Api<ConfigMap>, ledger: &ConfigMap) -> Self {
        let name = ledger.metadata.name.clone().unwrap_or_default();
        let version = ledger.metadata.resource_version.clone().unwrap_or_default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(watch(api, name, version, Arc::clone(&seen)));
        Self { seen, task }
    }

    fn versions(&self) -> Vec<Version> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(api: Api<ConfigMap>, name: String, mut version: String, seen: Arc<Mutex<Vec<Version>>>) {
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(60);
    loop {
        if let Ok(stream) = api.watch(&params, &version).await {
            futures::pin_mut!(stream);
            while let Ok(Some(event)) = stream.try_next().await {
                let ledger = match event {
                    WatchEvent::Modified(ledger) => ledger,
                    WatchEvent::Bookmark(mark) => {
                        version = mark.metadata.resource_version;
                        continue;
                    }
                    other => panic!("the witness of {name} has lost sight of it: {other:?}"),
                };
                version = ledger.metadata.resource_version.unwrap_or_default();
                let data = ledger.data.unwrap_or_default();
                let number = version.parse().expect("etcd's revisions are numbers");
                let epoch =
                    data.get("epoch").and_then(|epoch| epoch.parse().ok()).expect("candidates write it");
                let writer = data.get("writer").cloned().unwrap_or_default();
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(Version { number, epoch, writer });
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// What was judged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) processes: usize,
    pub(crate) intervals: usize,
    pub(crate) writes: usize,
    /// The shortest time between one process's Permit and the next one's, in milliseconds.
    pub(crate) least_gap_ms: Option<u128>,
}

/// No two processes had a Permit at once; an epoch belongs to one process; the versions are ordered by epoch.
pub(crate) fn judge(logs: &[(String, Vec<Line>)], witness: &Witness) -> Result<Tally> {
    let mut all: Vec<Interval> = logs.iter().flat_map(|(who, log)| intervals(who, log)).collect();
    all.sort_by_key(|interval| interval.from);
    let mut tally = Tally { processes: logs.len(), intervals: all.len(), ..Tally::default() };
    for (index, a) in all.iter().enumerate() {
        for b in all.iter().skip(index + 1).filter(|b| b.who != a.who) {
            ensure!(a.to <= b.from, "two Permits at once: {a:?} and {b:?}");
        }
    }
    for pair in all.windows(2).filter(|pair| pair[0].who != pair[1].who) {
        let gap = pair[1].from.since(pair[0].to).as_millis();
        tally.least_gap_ms = Some(tally.least_gap_ms.map_or(gap, |least| least.min(gap)));
        ensure!(pair[0].epoch < pair[1].epoch, "the epoch did not grow: {:?} then {:?}", pair[0], pair[1]);
    }
    ensure!(!witness.task.is_finished(), "the witness has lost sight of the ledger");
    let mut versions = witness.versions();
    let owners: BTreeMap<u64, &str> =
        all.iter().map(|interval| (interval.epoch, interval.who.as_str())).collect();
    for (who, log) in logs {
        for line in log {
            if let Line::Wrote { version, epoch } = line {
                ensure!(
                    owners.get(epoch) == Some(&who.as_str()),
                    "{who} wrote in epoch {epoch}, which is not its own"
                );
                if !versions.iter().any(|seen| seen.number == *version) {
                    versions.push(Version { number: *version, epoch: *epoch, writer: who.clone() });
                }
            }
        }
    }
    versions.sort_by_key(|version| version.number);
    tally.writes = versions.len();
    for version in &versions {
        let owner = owners.get(&version.epoch);
        ensure!(owner == Some(&version.writer.as_str()), "{version:?} was written in the epoch of {owner:?}");
    }
    for pair in versions.windows(2) {
        ensure!(
            pair[0].epoch <= pair[1].epoch,
            "{:?} was written after a later epoch's write: {:?}",
            pair[1],
            pair[0]
        );
    }
    Ok(tally)
}

/// The judge itself must be able to say no.
pub(crate) fn check_the_judge() -> Result<()> {
    use std::time::Duration;

    let at = |seconds| Boottime::from_boot(Duration::from_secs(seconds));
    let permitted = |from, seconds, epoch| Line::Permitted {
        at: at(from),
        remaining: Duration::from_secs(seconds),
        epoch,
    };
    let witness = |versions: &[(u64, u64, &str)]| Witness {
        seen: Arc::new(Mutex::new(
            versions
                .iter()
                .map(|(number, epoch, writer)| Version {
                    number: *number,
                    epoch: *epoch,
                    writer: (*writer).into(),
                })
                .collect(),
        )),
        task: tokio::spawn(std::future::pending()),
    };
    let logs = |a: Vec<Line>, b: Vec<Line>| vec![("a".to_owned(), a), ("b".to_owned(), b)];
    let fine = logs(vec![permitted(1, 4, 1), permitted(2, 4, 1)], vec![permitted(7, 4, 2)]);
    judge(&fine, &witness(&[(10, 1, "a"), (12, 2, "b")]))?;
    for (name, logs, versions) in [
        ("two at once", logs(vec![permitted(1, 4, 1)], vec![permitted(4, 4, 2)]), vec![]),
        ("an epoch that went back", logs(vec![permitted(1, 4, 2)], vec![permitted(7, 4, 1)]), vec![]),
        ("a late write that landed", fine.clone(), vec![(10, 1, "a"), (12, 2, "b"), (13, 1, "a")]),
        ("a write in another's epoch", fine.clone(), vec![(10, 1, "a"), (12, 1, "b")]),
        ("a write in nobody's epoch", fine, vec![(10, 3, "a")]),
    ] {
        ensure!(judge(&logs, &witness(&versions)).is_err(), "the judge doesn't see {name}");
    }
    Ok(())
}
