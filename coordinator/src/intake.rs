//! Where probes report: authenticates each stream, binds it to one Node, keeps what it says last.

mod authentication;
mod listeners;
mod messages;
mod service;

pub(crate) use authentication::Reviewer;
pub(crate) use listeners::Listeners;
pub(crate) use service::Intake;
