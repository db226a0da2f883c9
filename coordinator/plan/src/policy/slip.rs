//! What is wrong with a text, for the person who wrote it: serde and the YAML parser speak to those who wrote the program.

use std::fmt::Write as _;

use serde_saphyr::Error;

use crate::config::may_be_meant;

/// What is wrong, in which line, and what may be meant instead.
pub(super) fn describe(error: &Error) -> String {
    let error = error.without_snippet();
    let what = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            let mut what = format!("there is no key `{field}` here");
            // Writing to a String can't fail.
            let _ = write!(
                what,
                "{}; there are {}",
                may_be_meant(field, expected.iter().copied()),
                quoted(expected)
            );
            what
        }
        Error::SerdeUnknownVariant { variant, expected, .. } if variant == "~" || variant.is_empty() => {
            format!("{NOTHING}; it takes one of {}", quoted(expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            let meant = may_be_meant(variant, expected.iter().copied());
            format!("`{variant}` is none of {}{meant}", quoted(expected))
        }
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
        Error::NullIntoString { .. } => NOTHING.to_owned(),
        Error::MultipleDocuments { .. } => "`---` begins another document, and there must be one".to_owned(),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key {key} is there twice"),
        Error::Unexpected { expected, .. } => match *expected {
            "mapping start" => "keys and values must stand here".to_owned(),
            "sequence start" => "a list must stand here".to_owned(),
            other => format!("something else must stand here: {other}"),
        },
        Error::SerdeInvalidType { unexpected, expected, .. } => {
            format!("{unexpected} can't stand here; it takes {expected}")
        }
        // The parser's own words, which say where.
        other => return other.to_string(),
    };
    match error.location() {
        Some(location) => format!("line {}: {what}", location.line()),
        None => what,
    }
}

const NOTHING: &str = "there is nothing behind the key";

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use crate::policy::Policy;

    #[test]
    fn no_refusal_speaks_of_the_program() {
        for (text, expected) in [
            ("optOutLabel:", "line 1: there is nothing behind the key"),
            (
                "events:\n- respond:",
                "line 2: there is nothing behind the key; it takes one of `Tolerate`, `Cordon`, `Drain`",
            ),
            ("events:\n- leadTime:", "line 2: there is nothing behind the key"),
            ("events: []\n---\npods: []", "line 3: `---` begins another document, and there must be one"),
            ("events: {respond: Drain}", "line 1: a list must stand here"),
            ("events:\n- [respond]", "line 2: keys and values must stand here"),
            ("budgets:\n- {maxCordoned: 1}", "line 2: the key `name` is missing"),
            ("pods: []\npods: []", "line 2: the key pods is there twice"),
            (
                "events:\n- respond: drain",
                "line 2: `drain` is none of `Tolerate`, `Cordon`, `Drain`; `Drain` may be meant",
            ),
            (
                "evnts: []",
                "line 1: there is no key `evnts` here; `events` may be meant; there are `events`, `budgets`, `pods`, `optOutLabel`",
            ),
            (
                "events:\n- pools: [a]\n  respond: Drain\n  leadTime: 30",
                "line 4: `leadTime`: `30` is no duration from 0s to 14 days, such as 45s, 10m or 1h30m",
            ),
        ] {
            assert_eq!(Policy::parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
