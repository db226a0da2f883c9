//! The handle that everything which writes to the cluster asks first.

use tokio::sync::{mpsc, oneshot};

use crate::{
    clock::Clock,
    guard::SharedRecord,
    permit::{NotLeading, Permit},
};

/// A caller of [`Permits::renew`] that waits for its answer.
pub(crate) type Asked = oneshot::Sender<Result<Permit, NotLeading>>;

/// Answers whether this process may write now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Permits {
    record: SharedRecord,
    clock: Clock,
    renewals: mpsc::UnboundedSender<Asked>,
}

impl Permits {
    pub(crate) fn new(record: SharedRecord, clock: Clock, renewals: mpsc::UnboundedSender<Asked>) -> Self {
        Self { record, clock, renewals }
    }

    /// The Permit in force, without a request. To be asked right before each write, and the write to be bounded by what
    /// remains of it.
    pub fn check(&self) -> Result<Permit, NotLeading> {
        let now = self.clock.now();
        self.record.lock().check(&now)
    }

    /// Renew, then act: renews the Lease by a compare-and-swap that is *sent* after this call began, and gives the Permit
    /// that comes of it. Callers at the same time share one renewal. Takes no longer than two tries, each bounded by a
    /// third of the lease duration.
    pub async fn renew(&self) -> Result<Permit, NotLeading> {
        let (asked, answer) = oneshot::channel();
        if self.renewals.send(asked).is_ok()
            && let Ok(answer) = answer.await
        {
            return answer;
        }
        // The election is over for this process: the record says how, unless it never led.
        self.check().and(Err(NotLeading::SteppingDown))
    }
}
