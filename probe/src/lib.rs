//! Polls one node's Instance Metadata Service and streams what it finds to the coordinator.
