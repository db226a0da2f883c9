//! A cluster of one's own in one command: a real control plane, Azure's side, and mechanic installed on it.

pub mod azure;
pub mod child;
pub mod cluster;
mod control_plane;
pub mod demo;
pub mod fault_proxy;
pub mod install;
pub mod kubeconfig;
mod kwok;
pub mod network;
pub mod nodes;
pub mod programs;
pub mod referee;
mod run_dir;
pub mod scenario;
pub mod workloads;
pub mod world;
