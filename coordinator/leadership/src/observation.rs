//! What this process has seen of the Lease, and since when on its own clock.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};

use crate::clock::Boottime;

/// What counts as a state of the Lease. Rule 2: uid and spec, nothing else, or anybody who annotates the Lease keeps a
/// dead leader's Lease alive. Rule 3: being absent is a state too.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Absent,
    Present { uid: String, spec: LeaseSpec },
}

impl Seen {
    pub(crate) fn of(lease: Option<&Lease>) -> Self {
        lease.map_or(Self::Absent, |lease| Self::Present {
            uid: lease.metadata.uid.clone().unwrap_or_default(),
            spec: lease.spec.clone().unwrap_or_default(),
        })
    }
}

/// The last state seen, and when it was first seen.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) seen: Seen,
    pub(crate) since: Boottime,
}

impl Observation {
    /// Takes note of what was seen at `now`. What is seen a second time keeps its age.
    pub(crate) fn note(last: &mut Option<Self>, seen: Seen, now: Boottime) {
        if last.as_ref().is_none_or(|last| last.seen != seen) {
            *last = Some(Self { seen, since: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    fn at(seconds: u64) -> Boottime {
        Boottime::from_boot(Duration::from_secs(seconds))
    }

    fn lease() -> Lease {
        let mut lease = Lease::default();
        lease.metadata.uid = Some("u1".into());
        lease.metadata.resource_version = Some("10".into());
        lease.spec = Some(LeaseSpec { holder_identity: Some("a".into()), ..LeaseSpec::default() });
        lease
    }

    #[test]
    fn rule_2_an_annotation_or_a_new_version_is_no_change() {
        let mut last = None;
        let mut seen = lease();
        Observation::note(&mut last, Seen::of(Some(&seen)), at(1));
        for second in 2..60 {
            seen.metadata.resource_version = Some(second.to_string());
            seen.metadata.annotations = Some([("stranger".to_owned(), second.to_string())].into());
            Observation::note(&mut last, Seen::of(Some(&seen)), at(second));
        }
        assert_eq!(last.map(|last| last.since), Some(at(1)));
    }

    #[test]
    fn rule_2_a_renewal_or_another_uid_is_a_change() {
        let mut last = None;
        let mut seen = lease();
        Observation::note(&mut last, Seen::of(Some(&seen)), at(1));
        if let Some(spec) = &mut seen.spec {
            spec.renew_time = Some(MicroTime(jiff::Timestamp::UNIX_EPOCH));
        }
        Observation::note(&mut last, Seen::of(Some(&seen)), at(5));
        assert_eq!(last.as_ref().map(|last| last.since), Some(at(5)));
        seen.metadata.uid = Some("u2".into());
        Observation::note(&mut last, Seen::of(Some(&seen)), at(7));
        assert_eq!(last.map(|last| last.since), Some(at(7)));
    }

    #[test]
    fn rule_3_absence_has_an_age_and_ends_with_any_appearance() {
        let mut last = None;
        Observation::note(&mut last, Seen::of(None), at(1));
        Observation::note(&mut last, Seen::of(None), at(9));
        assert_eq!(last.as_ref().map(|last| last.since), Some(at(1)));
        Observation::note(&mut last, Seen::of(Some(&lease())), at(12));
        Observation::note(&mut last, Seen::of(None), at(13));
        assert_eq!(last.map(|last| last.since), Some(at(13)));
    }
}
