//! Random numbers for jitter and for a name, where they need not be secret.
//!
//! The standard library's seed comes from a system call. rand's generator opens /dev/urandom in a static binary and
//! panics where there is none.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Any number.
#[must_use]
pub fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A fraction in 0..1.
#[must_use]
pub fn fraction() -> f64 {
    // 32 bits are exact in an f64.
    f64::from(u32::try_from(number() >> 32).unwrap_or(0)) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_spread_over_their_range() {
        let fractions: Vec<f64> = (0..1_000).map(|_| fraction()).collect();
        assert!(fractions.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        for quarter in [0.0, 0.25, 0.5, 0.75] {
            let hits =
                fractions.iter().filter(|fraction| (quarter..quarter + 0.25).contains(*fraction)).count();
            assert!(hits > 100, "{hits} of 1000 in the quarter from {quarter}");
        }
    }
}
