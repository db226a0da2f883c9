//! The kinds of values that a key may have.

use std::{collections::BTreeSet, time::Duration};

use jiff::SignedDuration;

use crate::event::EventType;

/// A number of nodes, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many. At least 1.
    Number(usize),
    /// So many of a hundred. 1 to 100.
    Percent(usize),
}

impl Amount {
    /// How many that is of `total` nodes, a share rounded down. Never 0.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => total.saturating_mul(percent) / 100,
        }
        .max(1)
    }

    /// How many that is of `total` nodes, a share rounded up. Never 0.
    #[must_use]
    pub fn of_rounded_up(self, total: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => total.saturating_mul(percent).div_ceil(100),
        }
        .max(1)
    }
}

/// Something that a key's text can mean.
pub(crate) trait Value: Sized {
    /// Reads it, or says what it would have to be.
    fn parse(text: &str) -> Result<Self, String>;
}

impl Value for bool {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is neither true nor false"))
    }
}

impl Value for Amount {
    fn parse(text: &str) -> Result<Self, String> {
        let (digits, percent) = match text.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        // No sign: `parse` would take one.
        let number = digits.parse().ok().filter(|_| !digits.starts_with('+'));
        match (number, percent) {
            (Some(number @ 1..), false) => Ok(Self::Number(number)),
            (Some(number @ 1..=100), true) => Ok(Self::Percent(number)),
            _ => Err(format!("`{text}` is neither a whole number from 1 nor a share from 1% to 100%")),
        }
    }
}

/// The longest duration that makes sense anywhere here; more is a slip of the pen.
const LONGEST: Duration = Duration::from_hours(14 * 24);

impl Value for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse::<SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok())
            .filter(|duration| *duration <= LONGEST)
            .ok_or_else(|| format!("`{text}` is no duration from 0s to 14 days, such as 45s, 10m or 1h30m"))
    }
}

/// Types of events that destroy the machine, between commas.
impl Value for BTreeSet<EventType> {
    fn parse(text: &str) -> Result<Self, String> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let event_type = |word: &str| {
            Some(EventType::parse(word)).filter(|event_type| event_type.destroys()).ok_or_else(|| {
                format!("`{word}` is neither Preempt nor Terminate: only these destroy the machine")
            })
        };
        words.map(event_type).collect()
    }
}

/// What each kind of value is for a JSON schema, and for a person (the title).
#[cfg(test)]
pub(crate) mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    macro_rules! kind {
        ($name:ident, $schema:tt) => {
            pub(crate) struct $name;

            impl JsonSchema for $name {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn inline_schema() -> bool {
                    true
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!($schema)
                }
            }
        };
    }

    kind!(Flag, { "title": "`true` or `false`", "type": "string", "enum": ["true", "false"] });
    kind!(Level, {
        "title": "`error`, `warn`, `info`, `debug` or `trace`",
        "type": "string",
        "enum": ["error", "warn", "info", "debug", "trace"],
    });
    // Not each that this lets through is accepted, and each that is gets through.
    kind!(Time, {
        "title": "a duration up to 14 days, such as `45s`, `10m` or `1h30m`",
        "type": "string",
        "pattern": "[0-9].*[A-Za-z:]|^[Pp]",
    });
    kind!(Share, {
        "title": "a number from 1, or a share from `1%` to `100%`",
        "type": "string",
        "pattern": "^([0-9]*[1-9][0-9]*|0*([1-9][0-9]?|100)%)$",
    });
    kind!(ShareOrNumber, {
        "title": "a number from 1, or a share from `1%` to `100%`",
        "type": ["string", "integer"],
        "minimum": 1,
        "pattern": "^([0-9]*[1-9][0-9]*|0*([1-9][0-9]?|100)%)$",
    });
    kind!(Destroying, {
        "title": "`Preempt`, `Terminate` or both, with a comma",
        "type": "string",
        "pattern": "^ *((Preempt|Terminate)? *(, *|$))*$",
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_as_its_limit_wants_to_at_least_one() {
        assert_eq!((Amount::Percent(10).of(29), Amount::Percent(10).of_rounded_up(21)), (2, 3));
        assert_eq!((Amount::Percent(10).of(5), Amount::Percent(50).of_rounded_up(5)), (1, 3));
        assert_eq!((Amount::Number(3).of(2), Amount::Number(3).of_rounded_up(2)), (3, 3));
        assert_eq!((Amount::Percent(50).of(0), Amount::Percent(50).of_rounded_up(0)), (1, 1));
        assert_eq!(Amount::Percent(50).of(usize::MAX), usize::MAX / 100);
    }

    #[test]
    fn what_is_no_duration_or_no_switch_is_refused() {
        for bad in ["10", "-5s", "999999h", "", "soon"] {
            assert!(<Duration as Value>::parse(bad).is_err(), "{bad}");
        }
        for bad in ["Reboot", "preempt", "Terminate Preempt"] {
            assert!(<BTreeSet<EventType> as Value>::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(<BTreeSet<EventType> as Value>::parse(""), Ok(BTreeSet::new()));
        for bad in ["yes", "True", "1", ""] {
            assert!(<bool as Value>::parse(bad).is_err(), "{bad}");
        }
    }
}
