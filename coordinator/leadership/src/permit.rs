//! What a Permit is, and when it holds.

use std::time::Duration;

use thiserror::Error;

use crate::{
    clock::{Boottime, Reading},
    timing::Timing,
};

/// How far the wall clock and the boot clock may move apart before neither is trusted.
const DRIFT_LIMIT: Duration = Duration::from_secs(2);

/// The right to write to the cluster now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a write must not outlast its Permit: bound it by `remaining`"]
pub struct Permit {
    /// The leader's epoch: grows with each change of leader. Claims carry it.
    pub epoch: u64,
    /// How long the Permit still holds.
    pub remaining: Duration,
}

/// Why there is no Permit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotLeading {
    /// Another process leads, or nobody.
    #[error("this process does not lead")]
    Following,
    /// It has just been elected; its predecessor's last requests may still be on their way.
    #[error("this process leads, but for too short a time; it may write in {remaining:?}")]
    TooSoon {
        /// Until it may write.
        remaining: Duration,
    },
    /// The Lease was not renewed in time. It may still be ours; the next renewal tells.
    #[error("the permit ended {ago:?} ago, and no renewal of the Lease has succeeded since")]
    Lapsed {
        /// Since when.
        ago: Duration,
    },
    /// Somebody changed the Lease between our read and our write. It is read again at once.
    #[error("somebody else wrote to the Lease; it must be renewed before the next write")]
    Contested,
    /// The machine was stopped, or somebody set its clock.
    #[error("wall clock and boot clock moved {by:?} apart; the Lease must be renewed before the next write")]
    ClockJumped {
        /// By how much.
        by: Duration,
    },
    /// A renewal was asked for and didn't succeed.
    #[error("the Lease could not be renewed: {why}")]
    NotRenewed {
        /// What failed.
        why: String,
    },
    /// This process is giving the Lease back.
    #[error("this process is handing over")]
    SteppingDown,
    /// The Lease is gone for good.
    #[error("this process no longer leads: {why}")]
    Lost {
        /// What happened.
        why: String,
    },
}

/// How long this process has led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tenure {
    pub(crate) epoch: u64,
    /// When the answer to the acquiring write came.
    pub(crate) since: Boottime,
    /// When the last write that succeeded was sent.
    pub(crate) renewed: Boottime,
    /// How long it waits before its first write.
    pub(crate) settle: Duration,
}

/// Rule 6: a Permit holds while BOOTTIME is before `sent` + permit, and the two clocks agree as they did at `sent`.
pub(crate) fn judge(
    tenure: &Tenure,
    sent: Option<&Reading>,
    now: &Reading,
    timing: &Timing,
) -> Result<Permit, NotLeading> {
    let Some(sent) = sent else { return Err(NotLeading::Contested) };
    let by = now.drift_since(sent);
    if by >= DRIFT_LIMIT {
        return Err(NotLeading::ClockJumped { by });
    }
    let end = sent.boot + timing.permit();
    if now.boot >= end {
        return Err(NotLeading::Lapsed { ago: now.boot.since(end) });
    }
    let settled = tenure.since + tenure.settle;
    if now.boot < settled {
        return Err(NotLeading::TooSoon { remaining: settled.since(now.boot) });
    }
    Ok(Permit { epoch: tenure.epoch, remaining: end.since(now.boot) })
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    fn at(boot_ms: u64, drift_ms: i64) -> Reading {
        let boot = Duration::from_millis(boot_ms);
        let wall = SignedDuration::try_from(boot).expect("small") + SignedDuration::from_millis(drift_ms);
        Reading {
            boot: Boottime::from_boot(boot),
            wall: Timestamp::from_duration(SignedDuration::from_secs(1_800_000_000) + wall)
                .expect("within range"),
        }
    }

    #[test]
    fn rule_6() {
        let timing = Timing::default();
        let tenure = Tenure {
            epoch: 7,
            since: at(100_000, 0).boot,
            renewed: at(120_000, 0).boot,
            settle: timing.settle(),
        };
        let sent = at(120_000, 0);
        let ms = Duration::from_millis;
        let cases = [
            ("at once", at(120_000, 0), Ok(ms(10_000))),
            ("last moment", at(129_999, 0), Ok(ms(1))),
            ("ended", at(130_000, 0), Err(NotLeading::Lapsed { ago: ms(0) })),
            ("long over", at(145_000, 0), Err(NotLeading::Lapsed { ago: ms(15_000) })),
            ("clock slewed a little", at(121_000, 1999), Ok(ms(9000))),
            ("clock set ahead", at(121_000, 2000), Err(NotLeading::ClockJumped { by: ms(2000) })),
            ("clock set back", at(121_000, -3000), Err(NotLeading::ClockJumped { by: ms(3000) })),
            (
                "the boot clock stood still",
                at(120_001, 3_600_000),
                Err(NotLeading::ClockJumped { by: ms(3_600_000) }),
            ),
        ];
        for (name, now, expected) in cases {
            let expected = expected.map(|remaining| Permit { epoch: 7, remaining });
            assert_eq!(judge(&tenure, Some(&sent), &now, &timing), expected, "{name}");
        }
    }

    #[test]
    fn a_new_leader_waits_until_its_predecessors_requests_have_landed() {
        let timing = Timing::default();
        let tenure = Tenure {
            epoch: 1,
            since: at(100_000, 0).boot,
            renewed: at(99_900, 0).boot,
            settle: timing.settle(),
        };
        let sent = at(99_900, 0);
        let ms = Duration::from_millis;
        assert_eq!(
            judge(&tenure, Some(&sent), &at(101_500, 0), &timing),
            Err(NotLeading::TooSoon { remaining: ms(500) })
        );
        assert_eq!(
            judge(&tenure, Some(&sent), &at(102_000, 0), &timing),
            Ok(Permit { epoch: 1, remaining: ms(7900) })
        );
    }

    #[test]
    fn a_contested_lease_gives_no_permit() {
        let timing = Timing::default();
        let tenure =
            Tenure { epoch: 1, since: at(0, 0).boot, renewed: at(0, 0).boot, settle: timing.settle() };
        assert_eq!(judge(&tenure, None, &at(50_000, 0), &timing), Err(NotLeading::Contested));
    }
}
