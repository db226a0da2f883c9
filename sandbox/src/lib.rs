//! A cluster of one's own in one command: a real control plane, Azure's side, and mechanic installed on it.

pub mod azure;
pub mod fault_proxy;
