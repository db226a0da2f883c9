//! How much is logged.

use std::{fmt, str::FromStr};

use strum::{EnumString, IntoStaticStr, VariantNames};

use super::value::Value;

/// The least severe lines that are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum LogLevel {
    /// What needs somebody.
    Error,
    /// And what went wrong and is tried again.
    Warn,
    /// And each decision.
    #[default]
    Info,
    /// And what helps to find out why.
    Debug,
    /// Everything.
    Trace,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.into())
    }
}

impl Value for LogLevel {
    fn parse(text: &str) -> Result<Self, String> {
        Self::from_str(text).map_err(|_| format!("`{text}` is none of {}", Self::VARIANTS.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_of_five_words_in_lower_case() {
        for word in ["error", "warn", "info", "debug", "trace"] {
            assert_eq!(LogLevel::parse(word).map(|level| level.to_string()), Ok(word.to_owned()));
        }
        for bad in ["Debug", "WARN", "warning", "", " info", "2"] {
            let why = LogLevel::parse(bad).unwrap_err();
            assert_eq!(why, format!("`{bad}` is none of error, warn, info, debug, trace"));
        }
    }
}
