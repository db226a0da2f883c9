//! Carries out the drain of one node: evict, watch, settle. Decides nothing that the plan could decide.

mod answer;
mod attempt;
mod clean_lists;
mod evict;
mod last_call;
mod pod_view;
mod pod_watch;
mod pods;
mod slowdown;
mod task;
mod telling;
mod tracked;
mod turns;

pub(crate) use evict::Evictions;
pub(crate) use pod_view::is_ready;
pub(crate) use task::{Drain, DrainTarget, Instructions};
