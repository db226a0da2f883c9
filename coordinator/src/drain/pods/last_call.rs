//! The last call of pods that a budget holds while their machine is about to be destroyed.

use std::time::Duration;

use jiff::Timestamp;
use mechanic_plan::Verdict;
use tokio::time::Instant;

use super::{Pods, Target, Tracked};
use crate::drain::answer::{LANDS_WITHIN, Outcome, RETRY};

impl Pods {
    /// The pods whose last call it is, marked as on their way, and how often that was tried, this time included.
    pub(in crate::drain) fn take_last_calls(&mut self, now: Instant) -> Vec<(Target, u32)> {
        let judge = self.judge();
        let due = self.by_uid.values_mut().filter(|tracked| {
            judge(tracked) == Verdict::LastCall
                && !tracked.in_flight
                && !tracked.evicted
                && tracked.next_last_call().is_none_or(|at| at <= now)
        });
        let take = |tracked: &mut Tracked| {
            tracked.in_flight = true;
            tracked.last_call.at = Some(now);
            tracked.last_call.times += 1;
            (tracked.target(), tracked.last_call.times)
        };
        due.map(take).collect()
    }

    /// Notes what came of a last call; `None` if it was not sent. Returns whether that is news.
    pub(in crate::drain) fn settle_last_call(
        &mut self,
        uid: &str,
        outcome: Option<&Outcome>,
        now: Instant,
    ) -> bool {
        let Some(tracked) = self.by_uid.get_mut(uid) else { return true };
        tracked.in_flight = false;
        let refused = match outcome {
            Some(Outcome::Evicted | Outcome::Gone) => {
                tracked.evicted = true;
                self.evicted_of.extend(tracked.controller.clone());
                None
            }
            Some(Outcome::Refused { detail, .. } | Outcome::NotSent(detail)) => Some(detail.clone()),
            Some(Outcome::Unknown(detail)) => {
                tracked.unknown_until = Some(now + LANDS_WITHIN);
                Some(detail.clone())
            }
            Some(Outcome::Overloaded { .. }) => Some("the API server is overloaded".to_owned()),
            None => None,
        };
        let last_call = &mut tracked.last_call;
        last_call.at = Some(now);
        let is_news = last_call.times == 1 || last_call.refused != refused;
        last_call.refused = refused;
        is_news
    }

    /// How long a pod that is deleted now is given to stop.
    pub(in crate::drain) fn last_grace(&self, now: Timestamp) -> Option<Duration> {
        self.surroundings.departure.last_call.map(|call| call.grace(now))
    }

    /// When the next last call comes, of a pod that is still there.
    pub(in crate::drain) fn next_last_call(&self, now: Instant) -> Option<Instant> {
        let call = self.surroundings.departure.last_call?;
        let waiting = self.by_uid.values().filter(|tracked| !tracked.evicted && !tracked.in_flight);
        let next = |tracked: &Tracked| match tracked.next_last_call() {
            Some(again) => again,
            None => now + call.due_in(tracked.pod.grace, self.surroundings.now),
        };
        waiting.map(next).filter(|at| *at > now).min()
    }
}

impl Tracked {
    fn next_last_call(&self) -> Option<Instant> {
        let doublings = self.last_call.times.saturating_sub(1).min(4);
        self.last_call.at.map(|at| at + RETRY * 2_u32.pow(doublings))
    }
}
