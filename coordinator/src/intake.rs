//! Where probes report: authenticates each stream, binds it to one Node, keeps what it says last.

mod listeners;
mod messages;
mod pace;
mod polls_told;
mod service;
pub(crate) mod session;
mod streams;

pub(crate) use listeners::Listeners;
pub(crate) use service::Intake;
