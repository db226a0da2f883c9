//! What the coordinator is told about the election.

/// Where this process stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// The Lease has not been read yet.
    Unknown,
    /// Another process leads, or nobody does.
    Following {
        /// None while nobody leads, and while the Lease doesn't say where the leader is.
        leader: Option<Leader>,
    },
    /// This process leads. Each write still needs a [`Permit`](crate::Permit).
    Leading {
        /// Grows with each change of leader.
        epoch: u64,
    },
    /// This process led and doesn't any more. It never leads again: cancel all work and end the process.
    Lost {
        /// A sentence for people.
        why: String,
    },
}

/// The process that leads, as the Lease names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its holder id: pod name, underscore, eight hexadecimal digits.
    pub holder: String,
    /// `host:port` where it serves gRPC.
    pub address: String,
    /// Its epoch.
    pub epoch: u64,
}

/// How the election ended for this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Asked to stop; it was not leading.
    Stopped,
    /// Asked to stop; it was leading and gave the Lease back, so that a follower takes it at once.
    SteppedDown,
    /// Asked to stop; it was leading, and the Lease could not be given back. A follower takes it when it runs out.
    NotGivenBack {
        /// What failed.
        why: String,
    },
    /// It led and lost the Lease.
    Lost {
        /// A sentence for people.
        why: String,
    },
}
