//! The Lease, who leads, and the Permit that every write must hold.
