//! The real plan, run against a world in virtual time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod directed;
mod invariants;
mod random_cluster;
mod random_runs;
mod run;
mod world;
