//! What was found out about a token, for a short time. Tokens themselves are not kept.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ring::digest::{SHA256, digest};
use tokio::time::Instant;

/// More than all probes of a large cluster in the time that anything is kept.
const MOST: usize = 10_000;

/// SHA-256 of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(token: &str) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(fingerprint)
    }
}

pub(super) struct Cache<T> {
    lives: Duration,
    kept: Mutex<Kept<T>>,
}

struct Kept<T> {
    entries: HashMap<Fingerprint, (Instant, T)>,
    /// When what is stale was last taken out.
    cleared: Instant,
}

impl<T: Clone> Cache<T> {
    pub(super) fn new(lives: Duration) -> Self {
        Self { lives, kept: Mutex::new(Kept { entries: HashMap::new(), cleared: Instant::now() }) }
    }

    pub(super) fn get(&self, key: &Fingerprint) -> Option<T> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entries
            .get(key)
            .filter(|(since, _)| since.elapsed() < self.lives)
            .map(|(_, value)| value.clone())
    }

    /// Where there is no room, nothing more is remembered: made-up tokens push out nobody.
    pub(super) fn remember(&self, key: Fingerprint, value: T, is_worth_it: bool) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.cleared.elapsed() >= self.lives {
            kept.entries.retain(|_, (since, _)| since.elapsed() < self.lives);
            kept.cleared = Instant::now();
        }
        if is_worth_it && kept.entries.len() < MOST {
            kept.entries.insert(key, (Instant::now(), value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_forgotten_in_time_and_made_up_tokens_push_out_nobody() {
        let cache = Cache::new(Duration::from_secs(10));
        cache.remember(Fingerprint::of("mine"), 1, true);
        cache.remember(Fingerprint::of("unsure"), 2, false);
        for number in 0..2 * MOST {
            cache.remember(Fingerprint::of(&number.to_string()), 3, true);
        }
        assert_eq!(cache.kept.lock().unwrap().entries.len(), MOST);
        assert_eq!(cache.get(&Fingerprint::of("mine")), Some(1));
        assert_eq!(cache.get(&Fingerprint::of("unsure")), None);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(cache.get(&Fingerprint::of("mine")), None);
        cache.remember(Fingerprint::of("next"), 4, true);
        assert_eq!(cache.kept.lock().unwrap().entries.len(), 1);
    }
}
