//! Wired in `lib.rs`.

fn main() {}
