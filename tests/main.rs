//! Whole-system tests, in one program: so that worlds run side by side whichever files they are from, and what they are
//! made of is linked once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

mod api_faults;
mod attacker;
mod authority;
mod callers;
mod debugging_page;
mod drain;
mod events;
mod faults;
mod how_it_works;
mod install_page;
mod leaders;
mod line;
mod manifests;
mod many_pods;
mod mounted_certificates;
mod odd_pods;
mod overlays;
mod people;
mod policy;
mod rbac;
mod readiness;
mod readme;
mod release;
mod rolling_update;
mod settings;
mod streams;
mod succession;
