//! The wire contract between probes, coordinators, people and tools.
//!
//! Documented in the `.proto` files themselves; this crate adds nothing to what
//! they say. Clients and servers are generated behind the features of those names.

/// Package `mechanic.v1`.
#[allow(missing_docs, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("mechanic.v1");
}

/// The encoded descriptors of all files, for gRPC reflection.
#[cfg(feature = "descriptors")]
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/mechanic.v1.bin"));
