//! Whether the Lease is ours, free, or somebody else's: a pure function of what was seen and the time.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;

use crate::{
    clock::Boottime,
    observation::{Observation, Seen},
};

/// A duration in a Lease longer than this many of ours is not believed: one typed by hand would block everybody.
const LONGEST_DURATION: u32 = 4;

/// What may be done with the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Anybody may take it.
    Free,
    /// Anybody may take it, and whoever held it has stopped all work before.
    GivenBack,
    /// A write of this process made it what it is.
    Mine,
    /// Somebody else's, until it has been unchanged up to this moment.
    Wait { until: Boottime },
}

/// An acquiring write of this process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    /// As written; no two writes have the same.
    pub(crate) acquire_time: Timestamp,
    pub(crate) epoch: u64,
    /// Of the Lease written to; unknown for one that is being created.
    pub(crate) uid: Option<String>,
}

impl Verdict {
    /// Whether anybody may take it.
    pub(crate) fn is_free(self) -> bool {
        matches!(self, Self::Free | Self::GivenBack)
    }
}

impl Attempt {
    /// Whether this write made the Lease what was seen. A Lease restored from a copy has another uid.
    pub(crate) fn made(&self, uid: &str, spec: &LeaseSpec) -> bool {
        spec.acquire_time.as_ref().is_some_and(|time| time.0 == self.acquire_time)
            && self.uid.as_ref().is_none_or(|ours| ours == uid)
    }
}

/// What this process knows of its own writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'a> {
    pub(crate) holder: &'a str,
    /// The acquiring writes that this process sent, answered or not.
    pub(crate) attempts: &'a [Attempt],
    /// When the last write that succeeded was sent, if this process leads.
    pub(crate) renewed: Option<Boottime>,
    pub(crate) lease_duration: Duration,
}

pub(crate) fn verdict(observation: &Observation, own: &Own<'_>, now: Boottime) -> Verdict {
    let Seen::Present { uid, spec } = &observation.seen else {
        // Rule 3. Nobody else can have led since: they must see it absent for a whole duration, and it was there when
        // our last write succeeded.
        let last_holder = own.renewed.is_some_and(|renewed| now.since(renewed) < own.lease_duration);
        return if last_holder { Verdict::Mine } else { aged(observation, own.lease_duration, now) };
    };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    // Named by a write of ours, not by a person who typed our name over a leader's: that leader still has its Permit.
    if holder == own.holder && own.attempts.iter().any(|attempt| attempt.made(uid, spec)) {
        return Verdict::Mine;
    }
    // Rule 4.
    if holder.is_empty() && spec.lease_duration_seconds == Some(1) {
        return Verdict::GivenBack;
    }
    let declared =
        Duration::from_secs(spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0));
    aged(observation, declared.clamp(own.lease_duration, own.lease_duration * LONGEST_DURATION), now)
}

/// Rule 1: age as seen by this process, on its own clock.
fn aged(observation: &Observation, duration: Duration, now: Boottime) -> Verdict {
    let until = observation.since + duration;
    if now > until { Verdict::Free } else { Verdict::Wait { until } }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> Boottime {
        Boottime::from_boot(Duration::from_secs(seconds))
    }

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("within range")
    }

    fn held(holder: Option<&str>, duration: Option<i32>, acquired: i64) -> Seen {
        Seen::Present {
            uid: "u".into(),
            spec: LeaseSpec {
                holder_identity: holder.map(Into::into),
                lease_duration_seconds: duration,
                acquire_time: Some(MicroTime(time(acquired))),
                ..LeaseSpec::default()
            },
        }
    }

    /// Seen first at 100 s; we acquired at wall times 11, 12 (creating it) and 13 (another Lease).
    fn judge(seen: Seen, renewed: Option<u64>, now: u64) -> Verdict {
        let attempt = |acquired, uid: Option<&str>| Attempt {
            acquire_time: time(acquired),
            epoch: 1,
            uid: uid.map(Into::into),
        };
        let attempts = [attempt(11, Some("u")), attempt(12, None), attempt(13, Some("v"))];
        let own =
            Own { holder: "me", attempts: &attempts, renewed: renewed.map(at), lease_duration: DURATION };
        verdict(&Observation { seen, since: at(100) }, &own, at(now))
    }

    #[test]
    fn rules_1_to_4() {
        let wait = |until| Verdict::Wait { until: at(until) };
        let cases = [
            ("1 a stranger's, fresh", held(Some("other"), Some(15), 5), None, 101, wait(115)),
            ("1 a stranger's, at its end", held(Some("other"), Some(15), 5), None, 115, wait(115)),
            ("1 a stranger's, expired", held(Some("other"), Some(15), 5), None, 116, Verdict::Free),
            ("1 no holder at all", held(None, None, 5), None, 110, wait(115)),
            ("1 no holder at all, for long", held(None, None, 5), None, 116, Verdict::Free),
            ("3 absent, just seen", Seen::Absent, None, 100, wait(115)),
            ("3 absent for a whole duration", Seen::Absent, None, 116, Verdict::Free),
            ("3 absent, and we are the last holder", Seen::Absent, Some(98), 101, Verdict::Mine),
            ("3 absent, and we were the last holder too long ago", Seen::Absent, Some(98), 113, wait(115)),
            ("4 stepped down", held(Some(""), Some(1), 5), None, 100, Verdict::GivenBack),
            ("4 emptied by hand", held(Some(""), Some(15), 5), None, 101, wait(115)),
            ("4 emptied by hand while we led", held(Some(""), Some(15), 11), Some(98), 101, wait(115)),
            ("4 no holder, duration 1", held(None, Some(1), 5), None, 101, Verdict::GivenBack),
            ("ours", held(Some("me"), Some(15), 11), Some(98), 101, Verdict::Mine),
            ("ours, whose answer never came", held(Some("me"), Some(15), 12), None, 101, Verdict::Mine),
            ("ours, old", held(Some("me"), Some(15), 12), Some(98), 900, Verdict::Mine),
            ("ours, restored from a copy", held(Some("me"), Some(15), 13), Some(98), 101, wait(115)),
            ("our name, typed over a leader's", held(Some("me"), Some(15), 5), None, 101, wait(115)),
            ("our name, typed, and long unchanged", held(Some("me"), Some(15), 5), None, 116, Verdict::Free),
            ("a leader's duration, typed down to 1", held(Some("other"), Some(1), 5), None, 103, wait(115)),
            ("a longer duration is believed", held(Some("other"), Some(30), 5), None, 120, wait(130)),
            ("an absurd one isn't", held(Some("other"), Some(86_400), 5), None, 120, wait(160)),
        ];
        for (name, seen, renewed, now, expected) in cases {
            assert_eq!(judge(seen, renewed, now), expected, "{name}");
        }
    }
}
