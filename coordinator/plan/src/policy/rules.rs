//! What all rules have in common: they are written as a list, each says for what it is, and no two say different things
//! of one.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use crate::{config::Value, event::EventType};

/// Rules as they are written, each with its place in the text.
pub(super) type WrittenRules<W> = Vec<Spanned<W>>;

/// A rule that was read.
pub(super) trait Rule: Sized {
    /// How it is written.
    type Written;
    /// By what two rules can be told apart, for a person who has to.
    const APART_BY: &'static str;

    /// Reads it as it stands in that line, or says why it makes no sense.
    fn of(written: Self::Written, line: u64) -> Result<Self, Wrong>;

    /// Whether nothing can match both.
    fn is_apart_from(&self, other: &Self) -> bool;

    /// What it says, by the keys that say it.
    fn says(&self) -> Vec<(&'static str, String)>;
}

/// What makes no sense of a rule, and in which line, where that isn't its first.
pub(super) struct Wrong {
    why: String,
    line: Option<u64>,
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self { why, line: None }
    }
}

impl Wrong {
    /// The sentence; `first` is the rule's first line.
    pub(super) fn at(self, first: u64) -> String {
        format!("line {}: {}", self.line.unwrap_or(first), self.why)
    }
}

/// Reads what stands behind `key`.
pub(super) fn value<T: Value>(key: &str, text: Option<Spanned<String>>) -> Result<Option<T>, Wrong> {
    let wrong = |text: &Spanned<String>, why| Wrong {
        why: format!("`{key}`: {why}"),
        line: Some(text.referenced.line()),
    };
    text.map(|text| T::parse(&text.value).map_err(|why| wrong(&text, why))).transpose()
}

/// Takes the rules, or says which of them makes no sense.
pub(super) fn read<R: Rule>(written: WrittenRules<R::Written>) -> Result<Vec<R>, String> {
    let mut rules: Vec<(u64, R)> = Vec::with_capacity(written.len());
    for Spanned { value, referenced, .. } in written {
        let line = referenced.line();
        let rule = R::of(value, line).map_err(|wrong| wrong.at(line))?;
        let clash = rules.iter().find_map(|(before, other)| Some((before, disputed(&rule, other)?)));
        if let Some((before, key)) = clash {
            let apart_by = R::APART_BY;
            return Err(format!(
                "line {line}: this rule and the one at line {before} say different things of `{key}` where both \
                 match; name other {apart_by} in one of them"
            ));
        }
        rules.push((line, rule));
    }
    Ok(rules.into_iter().map(|(_, rule)| rule).collect())
}

/// The key of which both say different things though something may match both.
fn disputed<R: Rule>(one: &R, other: &R) -> Option<&'static str> {
    if one.is_apart_from(other) {
        return None;
    }
    let said = other.says();
    let differs = |(key, value): &(&str, String)| said.iter().any(|(of, is)| of == key && is != value);
    one.says().into_iter().find(differs).map(|(key, _)| key)
}

/// A key with nothing behind it is a slip, and not the same as no key: that would be all.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The types of events that mechanic knows.
#[derive(Clone, Copy, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "EventType"))]
pub(super) enum KnownEvent {
    /// A pause of some seconds.
    Freeze,
    /// Memory is lost, the machine comes back.
    Reboot,
    /// The machine moves; ephemeral disks are lost.
    Redeploy,
    /// A Spot machine is taken away, half a minute after the notice.
    Preempt,
    /// The machine is deleted on somebody's request.
    Terminate,
}

/// What is named, of all that there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named<T>(Option<BTreeSet<T>>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Ord> Named<T> {
    /// Nothing written is all; an empty list is a slip.
    pub(super) fn of<W: Into<T>>(written: Option<Vec<W>>) -> Result<Self, String> {
        let named: Option<BTreeSet<T>> = written.map(|names| names.into_iter().map(Into::into).collect());
        if named.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(
                "a rule with an empty list matches nothing; leave the key out to match all".to_owned()
            );
        }
        Ok(Self(named))
    }

    /// Those that are named one by one.
    pub(super) fn names(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    pub(super) fn contains<Q: Ord + ?Sized>(&self, one: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
    {
        self.0.as_ref().is_none_or(|named| named.contains(one))
    }

    /// Whether nothing is named by both.
    pub(super) fn is_apart_from(&self, other: &Self) -> bool {
        self.0.as_ref().zip(other.0.as_ref()).is_some_and(|(one, two)| one.is_disjoint(two))
    }
}

impl From<KnownEvent> for EventType {
    fn from(event: KnownEvent) -> Self {
        match event {
            KnownEvent::Freeze => Self::Freeze,
            KnownEvent::Reboot => Self::Reboot,
            KnownEvent::Redeploy => Self::Redeploy,
            KnownEvent::Preempt => Self::Preempt,
            KnownEvent::Terminate => Self::Terminate,
        }
    }
}
