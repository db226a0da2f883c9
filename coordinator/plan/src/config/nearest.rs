//! The name that somebody may have meant.

use super::KEYS;

/// Less alike than this is another word.
const ALIKE: f64 = 0.6;

/// Says that there is no such key, and which one may be meant.
pub(super) fn no_such_key(key: &str) -> String {
    format!("there is no such key{}", may_be_meant(key, KEYS))
}

/// The end of a sentence about a word that is none of `names`: the one that is most like it, if one is.
pub(crate) fn may_be_meant<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let word = word.to_lowercase();
    let alike = |name: &str| strsim::normalized_damerau_levenshtein(&word, &name.to_lowercase());
    let nearest = names.into_iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let meant = nearest.filter(|name| alike(name) >= ALIKE);
    meant.map(|name| format!("; `{name}` may be meant")).unwrap_or_default()
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
