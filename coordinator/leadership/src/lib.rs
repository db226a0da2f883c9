//! The Lease, who leads, and the [`Permit`] that every write must hold.
//!
//! `kube-leader-election` drives the Lease. On its own it is not safe: its writes carry no resourceVersion and it
//! compares a stranger's wall clock with its own. So it gets a client whose requests pass a guard (`guard.rs`), which
//! makes each write conditional on the version last read and judges the Lease's age by what *this* process has seen on
//! its own `CLOCK_BOOTTIME`. The rules of that guard are numbered 1–6 here and in the comments:
//!
//! 1. Verdict, not translation: the answer to a read says "expired" or "fresh" as judged here; no two clocks are compared.
//! 2. Changed means that uid or spec changed, never the resourceVersion alone.
//! 3. An absent Lease must be seen absent for a whole lease duration before it is created, except by its last holder.
//! 4. An empty holder is free at once only together with a duration of 1, as a step-down writes it.
//! 5. Each write carries the version of the last read, used once; any other write is refused before it is sent.
//! 6. A [`Permit`] counts from the moment when the successful write was *sent*, and holds only while the wall clock and
//!    the boot clock agree.
//!
//! To these one is added: a Lease that names us is ours only if it carries the `acquireTime` of a write of ours. A person
//! who edits the holder by hand must not make two leaders.
//!
//! | file | what |
//! |---|---|
//! | `clock` | the only place that reads clocks |
//! | `observation`, `verdict` | what was seen since when; free, mine or wait |
//! | `body` | edits of answers and of writes |
//! | `record` | all that the guard remembers, as pure transitions |
//! | `permit`, `permits` | the arithmetic of a Permit; the handle that the coordinator checks |
//! | `leadership` | what the coordinator is told |
//! | `guard`, `elector`, `lease_watch`, `campaign` | the shell: the tower layer, the crate, the watch, the loop |

mod body;
mod campaign;
mod candidate;
pub mod clock;
mod elector;
mod guard;
mod leadership;
mod lease_watch;
mod observation;
mod permit;
mod permits;
mod record;
mod start;
mod timing;
mod verdict;

pub use candidate::{Candidate, InvalidCandidate};
pub use leadership::{Ending, Leader, Leadership};
pub use lease_watch::CappedBackoff;
pub use permit::{NotLeading, Permit};
pub use permits::Permits;
pub use start::{Circumstances, StartError, start, start_on_clock};
pub use timing::{InvalidTiming, Timing};

/// Annotation on the Lease: `host:port` where the leader serves gRPC, for redirects.
pub const LEADER_ADDRESS_ANNOTATION: &str = "mechanic/leader-address";
/// Annotation on the Lease: the leader's epoch, a decimal number that only grows.
pub const EPOCH_ANNOTATION: &str = "mechanic/epoch";
