//! What is said again and again, once a minute.

use std::time::Duration;

use tokio::time::Instant;

const REMIND: Duration = Duration::from_mins(1);

/// What was said last.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    last: Option<(String, Instant)>,
}

impl Complaint {
    /// Whether it is worth saying: it is something else, or a minute has passed.
    pub(crate) fn is_news(&mut self, what: &str, now: Instant) -> bool {
        let known = self.last.as_ref().is_some_and(|(last, at)| last == what && now < *at + REMIND);
        if !known {
            self.last = Some((what.to_owned(), now));
        }
        !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_and_something_else_at_once() {
        let start = Instant::now();
        let mut complaint = Complaint::default();
        let mut said = |what, seconds| complaint.is_news(what, start + Duration::from_secs(seconds));
        assert!(said("a", 0) && !said("a", 1) && !said("a", 59) && said("a", 60));
        assert!(said("b", 61) && said("a", 62));
    }
}
