//! All that the guard remembers about the Lease: transitions without I/O, on times that are handed in.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use thiserror::Error;

use crate::{
    body::{self, LeaseWrite, NotALeaseWrite, Purpose},
    candidate::Candidate,
    clock::{Boottime, Reading},
    leadership::Leader,
    observation::{Observation, Seen},
    permit::{NotLeading, Permit, Tenure, judge},
    timing::Timing,
    verdict::{Attempt, Own, Verdict, verdict},
};

/// Acquiring writes whose answer may still be missing. More than a few only after a very long stall.
const ATTEMPTS_KEPT: usize = 16;

/// A write that was refused before it was sent. Rule 5.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    #[error("the write of the Lease was refused here: {0}")]
    NotALeaseWrite(#[from] NotALeaseWrite),
    #[error("the write of the Lease was refused here: no read came before it, or too long before")]
    Unread,
    #[error("the write of the Lease was refused here: the Lease is not ours and not free")]
    NotOurs,
    #[error("the write of the Lease was refused here: it doesn't fit what was read")]
    Misfit,
}

/// What the crate gets for its read.
#[derive(Debug)]
pub(crate) enum Answer {
    NotFound,
    Lease(Box<Lease>),
}

/// The last read, good for one write.
#[derive(Debug)]
struct Read {
    at: Boottime,
    verdict: Verdict,
    /// None: the Lease was absent.
    version: Option<String>,
    uid: Option<String>,
    annotated: bool,
}

/// Where this process stands.
#[derive(Clone, Debug, PartialEq)]
enum Standing {
    Following,
    Leading { tenure: Tenure, sent: Option<Reading> },
    SteppingDown { tenure: Tenure },
    Lost { why: String },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Record {
    candidate: Candidate,
    timing: Timing,
    observation: Option<Observation>,
    leader: Option<Leader>,
    read: Option<Read>,
    attempts: Vec<Attempt>,
    standing: Standing,
    highest_epoch: u64,
    transitions: i32,
    /// How long this process will have to wait, by the last acquiring write.
    settle: Duration,
}

impl Record {
    pub(crate) fn new(candidate: Candidate, timing: Timing) -> Self {
        Self {
            settle: timing.settle(),
            candidate,
            timing,
            observation: None,
            leader: None,
            read: None,
            attempts: Vec::new(),
            standing: Standing::Following,
            highest_epoch: 0,
            transitions: 0,
        }
    }

    /// Takes note of what a watch shows. It never becomes a version to write against: only a read does.
    pub(crate) fn watched(&mut self, lease: Option<&Lease>, now: Boottime) {
        self.note(lease, now);
    }

    /// Takes note of the server's answer to a read (None: 404), and gives the answer for the crate.
    pub(crate) fn read(&mut self, lease: Option<Lease>, now: Boottime) -> Answer {
        let verdict = self.note(lease.as_ref(), now);
        if verdict != Verdict::Mine {
            self.lose(lease.as_ref());
        }
        // Who has lost the Lease never takes it again: the process ends.
        let verdict = match (&self.standing, verdict) {
            (Standing::Lost { .. }, verdict) if verdict.is_free() => Verdict::Wait { until: now },
            _ => verdict,
        };
        self.read = Some(Read {
            at: now,
            verdict,
            version: lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone()),
            uid: lease.as_ref().and_then(|lease| lease.metadata.uid.clone()),
            annotated: self.is_annotated(lease.as_ref()),
        });
        if lease.is_none() && !matches!(verdict, Verdict::Wait { .. }) {
            return Answer::NotFound;
        }
        let seconds = i32::try_from(self.timing.lease_duration().as_secs()).unwrap_or(i32::MAX);
        Answer::Lease(Box::new(body::answer(lease, verdict, &self.candidate, seconds, self.transitions)))
    }

    /// Rule 5: what is sent in place of the crate's write, or why nothing is.
    pub(crate) fn write(
        &mut self,
        body: &[u8],
        create: bool,
        claims: u64,
        now: &Reading,
    ) -> Result<Vec<u8>, Refused> {
        let mut write = LeaseWrite::parse(body, &self.candidate.holder)?;
        let read = self.read.take().ok_or(Refused::Unread)?;
        if now.boot.since(read.at) > self.timing.call_timeout() {
            return Err(Refused::Unread);
        }
        match (write.purpose, read.verdict) {
            (Purpose::Acquire, Verdict::Free | Verdict::GivenBack | Verdict::Mine)
            | (Purpose::Renew | Purpose::StepDown, Verdict::Mine) => {}
            _ => return Err(Refused::NotOurs),
        }
        match (&read.version, create) {
            (Some(version), false) => write.only_if_version(version),
            (None, true) if write.purpose == Purpose::Acquire => {}
            _ => return Err(Refused::Misfit),
        }
        let time = body::to_micros(now.wall);
        write.stamp(time);
        match write.purpose {
            Purpose::Acquire => {
                let epoch = self.epoch_to_write(claims);
                self.settle = match read.verdict {
                    Verdict::GivenBack => self.timing.settle_after_hand_over(),
                    _ => self.timing.settle(),
                };
                write.annotate(&self.candidate.address, epoch);
                if create {
                    write.transitions(self.transitions.saturating_add(1));
                }
                self.attempts.push(Attempt { acquire_time: time, epoch, uid: read.uid });
                if self.attempts.len() > ATTEMPTS_KEPT {
                    self.attempts.remove(0);
                }
            }
            // Somebody took our annotations off: followers need them.
            Purpose::Renew if !read.annotated => {
                if let Some(epoch) = self.epoch() {
                    write.annotate(&self.candidate.address, epoch);
                }
            }
            Purpose::Renew | Purpose::StepDown => {}
        }
        Ok(write.into_bytes())
    }

    /// Rule 6: the server has accepted a write that was sent at `sent`; the Lease is now as given.
    pub(crate) fn written(&mut self, lease: &Lease, sent: Reading, now: Boottime) {
        let verdict = self.note(Some(lease), now);
        if matches!(self.standing, Standing::Lost { .. }) {
            return;
        }
        if verdict != Verdict::Mine {
            self.standing = match &self.standing {
                Standing::SteppingDown { .. } => {
                    Standing::Lost { why: "this process gave the Lease back".to_owned() }
                }
                other => other.clone(),
            };
            return;
        }
        let epoch = self.succeeded(lease).unwrap_or(self.highest_epoch);
        self.standing = match &self.standing {
            Standing::Leading { tenure, .. } => {
                Standing::Leading { tenure: Tenure { renewed: sent.boot, ..*tenure }, sent: Some(sent) }
            }
            Standing::Following => {
                let tenure = Tenure { epoch, since: now, renewed: sent.boot, settle: self.settle };
                Standing::Leading { tenure, sent: Some(sent) }
            }
            other => other.clone(),
        };
    }

    /// The server said that the Lease is not what we read: no Permit until it has been read and renewed again.
    pub(crate) fn conflict(&mut self) {
        if let Standing::Leading { sent, .. } = &mut self.standing {
            *sent = None;
        }
    }

    /// From here on there is no Permit; the Lease may be given back.
    pub(crate) fn step_down(&mut self) {
        if let Standing::Leading { tenure, .. } = self.standing {
            self.standing = Standing::SteppingDown { tenure };
        }
    }

    /// Gives the Lease up as lost if its whole duration has passed without a renewal.
    pub(crate) fn expire(&mut self, now: Boottime, failure: &str) {
        if let Standing::Leading { tenure, .. } = &self.standing {
            let since = now.since(tenure.renewed);
            if since > self.timing.lease_duration() {
                let why = format!(
                    "the Lease could not be renewed for {} s; the last try: {failure}",
                    since.as_secs()
                );
                self.standing = Standing::Lost { why };
            }
        }
    }

    pub(crate) fn check(&self, now: &Reading) -> Result<Permit, NotLeading> {
        match &self.standing {
            Standing::Following => Err(NotLeading::Following),
            Standing::Leading { tenure, sent } => judge(tenure, sent.as_ref(), now, &self.timing),
            Standing::SteppingDown { .. } => Err(NotLeading::SteppingDown),
            Standing::Lost { why } => Err(NotLeading::Lost { why: why.clone() }),
        }
    }

    /// The epoch in which this process leads.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.tenure().map(|tenure| tenure.epoch)
    }

    pub(crate) fn tenure(&self) -> Option<&Tenure> {
        match &self.standing {
            Standing::Leading { tenure, .. } | Standing::SteppingDown { tenure } => Some(tenure),
            Standing::Following | Standing::Lost { .. } => None,
        }
    }

    /// Why the Lease is lost, once it is.
    pub(crate) fn lost(&self) -> Option<&str> {
        match &self.standing {
            Standing::Lost { why } => Some(why),
            _ => None,
        }
    }

    /// None before anything was seen. What this process thinks of the Lease, by what it saw last.
    pub(crate) fn verdict(&self, now: Boottime) -> Option<Verdict> {
        let own = Own {
            holder: &self.candidate.holder,
            attempts: &self.attempts,
            renewed: self.tenure().map(|tenure| tenure.renewed),
            lease_duration: self.timing.lease_duration(),
        };
        Some(verdict(self.observation.as_ref()?, &own, now))
    }

    /// Whether anybody may take it, by what was seen last.
    pub(crate) fn is_free(&self, now: Boottime) -> bool {
        self.verdict(now).is_some_and(Verdict::is_free)
    }

    /// Who leads, by what was seen last.
    pub(crate) fn leader(&self) -> Option<&Leader> {
        self.leader.as_ref()
    }

    fn note(&mut self, lease: Option<&Lease>, now: Boottime) -> Verdict {
        Observation::note(&mut self.observation, Seen::of(lease), now);
        self.leader = lease.and_then(leader_of).filter(|leader| self.is_there(leader));
        if let Some(lease) = lease {
            self.highest_epoch = self.highest_epoch.max(body::epoch_of(lease).unwrap_or(0));
            let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
            self.transitions = self.transitions.max(transitions);
        }
        self.verdict(now).unwrap_or(Verdict::Wait { until: now })
    }

    /// An earlier run of this pod is gone, though the Lease may still name it: nobody finds a leader at that address.
    fn is_there(&self, leader: &Leader) -> bool {
        leader.holder == self.candidate.holder || leader.address != self.candidate.address
    }

    fn lose(&mut self, lease: Option<&Lease>) {
        if !matches!(self.standing, Standing::Leading { .. } | Standing::SteppingDown { .. }) {
            return;
        }
        let holder =
            lease.and_then(|lease| lease.spec.as_ref()).and_then(|spec| spec.holder_identity.as_deref());
        let why = match (lease, holder) {
            (None, _) => "the Lease was deleted, too long ago to make it anew".to_owned(),
            (_, None | Some("")) => "somebody took our name off the Lease".to_owned(),
            (_, Some(holder)) if holder == self.candidate.holder => "somebody rewrote the Lease".to_owned(),
            (_, Some(holder)) => format!("{holder} holds the Lease now"),
        };
        self.standing = Standing::Lost { why };
    }

    fn epoch_to_write(&self, claims: u64) -> u64 {
        // A leader that makes its deleted Lease anew goes on in its own epoch: nobody else can have led.
        self.epoch().unwrap_or_else(|| self.highest_epoch.max(claims).saturating_add(1))
    }

    /// The attempt that made the Lease what it is; now its uid is known.
    fn succeeded(&mut self, lease: &Lease) -> Option<u64> {
        let spec = lease.spec.as_ref()?;
        let uid = lease.metadata.uid.as_ref()?;
        let attempt = self.attempts.iter_mut().find(|attempt| attempt.made(uid, spec))?;
        attempt.uid = Some(uid.clone());
        Some(attempt.epoch)
    }

    fn is_annotated(&self, lease: Option<&Lease>) -> bool {
        lease.is_some_and(|lease| {
            body::address_of(lease) == Some(&self.candidate.address) && body::epoch_of(lease) == self.epoch()
        })
    }
}

fn leader_of(lease: &Lease) -> Option<Leader> {
    let holder = lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())?;
    let address = body::address_of(lease)?.to_owned();
    Some(Leader { holder: holder.clone(), address, epoch: body::epoch_of(lease)? })
}

#[cfg(test)]
mod tests;
