//! The name that somebody may have meant.

use super::KEYS;

/// Less alike than this is another word.
const ALIKE: f64 = 0.6;

/// Says that there is no such key, and which one may be meant.
pub(super) fn no_such_key(key: &str) -> String {
    let alike = |name: &str| strsim::normalized_damerau_levenshtein(&key.to_lowercase(), name);
    let nearest = KEYS.into_iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    match nearest.filter(|name| alike(name) >= ALIKE) {
        Some(name) => format!("there is no such key; `{name}` may be meant"),
        None => "there is no such key".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_told_from_another_word() {
        for (key, meant) in [
            ("max-cordned", "max-cordoned"),
            ("maxCordoned", "max-cordoned"),
            ("max_concurrent_drains", "max-concurrent-drains"),
            ("dryrun", "dry-run"),
            ("policy.yml", "policy.yaml"),
            ("release-hold-after-reboot", "release-hold-after-boot"),
        ] {
            assert_eq!(no_such_key(key), format!("there is no such key; `{meant}` may be meant"));
        }
        for key in ["budget", "log", "", "colour"] {
            assert_eq!(no_such_key(key), "there is no such key", "{key}");
        }
    }
}
