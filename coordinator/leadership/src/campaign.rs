//! The loop: follow until the Lease is free, then lead until it is lost or given back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Boottime, Clock},
    elector::{Elector, ElectorError},
    guard::SharedRecord,
    leadership::{Ending, Leadership},
    lease_watch::{LeaseWatch, News},
    permit::NotLeading,
    permits::Asked,
    timing::Timing,
    verdict::Verdict,
};

/// How often a write that lost against another is repeated at once.
const TRIES: u32 = 3;
/// So that the Lease is really free when it is looked at: a Lease is free *after* its duration.
const JUST_AFTER: Duration = Duration::from_millis(20);

pub(crate) struct Campaign<E> {
    pub(crate) elector: E,
    pub(crate) record: SharedRecord,
    pub(crate) clock: Clock,
    pub(crate) timing: Timing,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) renewals: mpsc::UnboundedReceiver<Asked>,
    /// Others are to have the Lease first.
    pub(crate) stands_back: Arc<AtomicBool>,
    pub(crate) shutdown: CancellationToken,
}

impl<E: Elector> Campaign<E> {
    pub(crate) async fn run(mut self, watch: LeaseWatch) -> Ending {
        if !self.follow(watch).await {
            return Ending::Stopped;
        }
        let ending = self.lead().await;
        let why = match &ending {
            Ending::Lost { why } | Ending::NotGivenBack { why } => why.clone(),
            Ending::SteppedDown | Ending::Stopped => "this process gave the Lease back".to_owned(),
        };
        self.publish(Leadership::Lost { why });
        ending
    }

    /// True when this process leads, false when it was asked to stop. The watch ends here: a leader reads what it renews.
    async fn follow(&mut self, mut watch: LeaseWatch) -> bool {
        let begun = self.clock.now().boot;
        let mut not_before = begun;
        let mut free_since = None;
        loop {
            let now = self.clock.now().boot;
            let look = self.time_to_look(begun, now).max(not_before);
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return false,
                Some(asked) = self.renewals.recv() => answer(asked, Err(NotLeading::Following)),
                news = watch.next() => self.heard(&news),
                () = sleep(look.since(now)) => {
                    free_since = self.record.lock().is_free(now).then(|| free_since.unwrap_or(now));
                    if let Some(leaves) = self.leaves_to_others(free_since, now) {
                        not_before = leaves;
                        continue;
                    }
                    let outcome = self.attempt().await;
                    if self.announce_leading() {
                        return true;
                    }
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "the Lease was not taken");
                    }
                    self.publish_following();
                    not_before = self.clock.now().boot + self.pause();
                }
            }
        }
    }

    /// Until when a Lease that has been free since then is left to others, if it is.
    fn leaves_to_others(&self, free_since: Option<Boottime>, now: Boottime) -> Option<Boottime> {
        let until = free_since? + self.timing.stand_back();
        (self.stands_back.load(Ordering::Relaxed) && now < until).then_some(until)
    }

    fn heard(&self, news: &News) {
        let now = self.clock.now().boot;
        let lease = match news {
            News::Present(lease) => Some(&**lease),
            News::Absent => None,
        };
        self.record.lock().watched(lease, now);
        self.publish_following();
    }

    /// When the Lease is to be read: at once if it looks free (or ours, by a write whose answer never came), else when it
    /// will. A watch that shows nothing is not waited for longer than a lease duration.
    fn time_to_look(&self, begun: Boottime, now: Boottime) -> Boottime {
        match self.record.lock().verdict(now) {
            None => begun + self.timing.lease_duration(),
            Some(Verdict::Free | Verdict::GivenBack | Verdict::Mine) => now,
            Some(Verdict::Wait { until }) => until + JUST_AFTER,
        }
    }

    async fn lead(&mut self) -> Ending {
        let mut due = self.clock.now().boot + self.timing.renew_interval();
        loop {
            let now = self.clock.now().boot;
            let mut waiting = Vec::new();
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return self.step_down().await,
                Some(asked) = self.renewals.recv() => waiting.push(asked),
                () = sleep(due.since(now)) => {}
            }
            // All that asked before this renewal is sent share it; who asks while it is under way gets the next.
            while let Ok(asked) = self.renewals.try_recv() {
                waiting.push(asked);
            }
            let began = self.clock.now().boot;
            let outcome = self.renew().await;
            let now = self.clock.now();
            if let Err(why) = &outcome {
                tracing::warn!(why, "the Lease was not renewed");
                self.record.lock().expire(now.boot, why);
            }
            let permit = self.record.lock().check(&now);
            for asked in waiting {
                let renewed = outcome.clone().map_err(|why| NotLeading::NotRenewed { why });
                answer(asked, renewed.and_then(|()| permit.clone()));
            }
            if let Some(why) = self.record.lock().lost().map(str::to_owned) {
                tracing::error!(why, "this process no longer leads");
                return Ending::Lost { why };
            }
            due =
                if outcome.is_ok() { began + self.timing.renew_interval() } else { now.boot + self.pause() };
        }
    }

    /// Renews the Lease; where somebody else wrote in between, reads it again at once.
    async fn renew(&mut self) -> Result<(), String> {
        let mut failure = String::new();
        for _ in 0..TRIES {
            match self.attempt().await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err("it is not ours".to_owned()),
                Err(error) => {
                    failure = error.to_string();
                    if !matches!(error, ElectorError::Conflict) {
                        break;
                    }
                }
            }
        }
        Err(failure)
    }

    async fn step_down(&mut self) -> Ending {
        self.record.lock().step_down();
        let mut failure = String::new();
        for _ in 0..TRIES {
            match bounded(self.timing.call_timeout(), self.elector.give_back()).await {
                Ok(()) => return Ending::SteppedDown,
                Err(error) => {
                    failure = error.to_string();
                    if !matches!(error, ElectorError::Conflict) {
                        break;
                    }
                }
            }
        }
        tracing::warn!(why = failure, "the Lease was not given back; it runs out by itself");
        Ending::NotGivenBack { why: failure }
    }

    /// One call, bounded by a third of the lease duration and by what is left of the Permit, so that there is time for
    /// another.
    async fn attempt(&mut self) -> Result<bool, ElectorError> {
        let now = self.clock.now();
        let bound = self.timing.call_timeout();
        let bound = self.record.lock().check(&now).map_or(bound, |permit| bound.min(permit.remaining));
        bounded(bound, self.elector.take_or_renew()).await
    }

    /// Before the next try after one that failed: an eighth to a quarter of the renewal interval, at random, so that
    /// candidates don't collide again and again.
    fn pause(&self) -> Duration {
        self.timing.renew_interval().mul_f64(rand::random_range(0.125..0.25))
    }

    /// Tells that this process leads, if it does.
    fn announce_leading(&self) -> bool {
        let Some(epoch) = self.record.lock().epoch() else { return false };
        self.publish(Leadership::Leading { epoch });
        true
    }

    fn publish_following(&self) {
        let leader = self.record.lock().leader().cloned();
        self.publish(Leadership::Following { leader });
    }

    fn publish(&self, leadership: Leadership) {
        self.leadership.send_if_modified(|last| {
            let changed = *last != leadership;
            *last = leadership;
            changed
        });
    }
}

/// Who asked may have gone away; then nobody needs the answer.
fn answer(asked: Asked, answer: Result<crate::Permit, NotLeading>) {
    drop(asked.send(answer));
}

async fn bounded<T>(
    bound: Duration,
    call: impl Future<Output = Result<T, ElectorError>>,
) -> Result<T, ElectorError> {
    timeout(bound, call).await.unwrap_or_else(|_| {
        let ms = bound.as_millis();
        Err(ElectorError::Failed(format!("no answer within {ms} ms; whether it was applied is unknown")))
    })
}
