//! How a script names nodes and the VMs under them.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{self, SeqAccess, Visitor};

/// One node or several, as a script writes them. Where it depends on what runs where, they are picked when the script
/// gets there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// `without-coordinator`, `apps/without-coordinator`: the first that runs no coordinator and that the script
    /// hasn't named before.
    WithoutCoordinator(Option<String>),
    /// `of-the-leader`.
    OfTheLeader,
    /// `of-a-follower`.
    OfAFollower,
    /// `apps/3`, `apps/0-7`: instances of a pool, counted from 0.
    Instances {
        /// The pool.
        pool: String,
        /// The first.
        first: u32,
        /// The last.
        last: u32,
    },
    /// `spot/all`.
    All(String),
    /// A name that the script gave: by `pick`, or an event's, which stands for the nodes that it hits.
    Named(String),
}

impl Which {
    /// The words that mean something and so can't be names.
    pub const KEYWORDS: [&str; 3] = ["without-coordinator", "of-the-leader", "of-a-follower"];
}

/// Is it fit to name something in a script?
#[must_use]
pub(super) fn is_name(text: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    text.starts_with(|letter: char| letter.is_ascii_lowercase())
        && text.chars().all(fits)
        && !Which::KEYWORDS.contains(&text)
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = || {
            format!(
                "`{text}` names no node; write apps/3, apps/0-7, apps/all, without-coordinator, \
                 apps/without-coordinator, of-the-leader, of-a-follower, or a name that the script gave before"
            )
        };
        match text {
            "without-coordinator" => return Ok(Self::WithoutCoordinator(None)),
            "of-the-leader" => return Ok(Self::OfTheLeader),
            "of-a-follower" => return Ok(Self::OfAFollower),
            name if is_name(name) => return Ok(Self::Named(name.into())),
            _ => {}
        }
        let (pool, which) = text.split_once('/').ok_or_else(refusal)?;
        match which {
            "all" => return Ok(Self::All(pool.into())),
            "without-coordinator" => return Ok(Self::WithoutCoordinator(Some(pool.into()))),
            _ => {}
        }
        let (first, last) = which.split_once('-').unwrap_or((which, which));
        let (first, last) = first.parse().ok().zip(last.parse().ok()).ok_or_else(refusal)?;
        if first > last {
            return Err(refusal());
        }
        Ok(Self::Instances { pool: pool.into(), first, last })
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithoutCoordinator(None) => f.write_str("without-coordinator"),
            Self::WithoutCoordinator(Some(pool)) => write!(f, "{pool}/without-coordinator"),
            Self::OfTheLeader => f.write_str("of-the-leader"),
            Self::OfAFollower => f.write_str("of-a-follower"),
            Self::Instances { pool, first, last } if first == last => write!(f, "{pool}/{first}"),
            Self::Instances { pool, first, last } => write!(f, "{pool}/{first}-{last}"),
            Self::All(pool) => write!(f, "{pool}/all"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// One [`Which`], or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes(pub Vec<Which>);

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(", "))
    }
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Nodes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a node such as apps/3, or a list of nodes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Nodes, E> {
                text.parse().map(|which| Nodes(vec![which])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Nodes, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    all.push(text.parse().map_err(de::Error::custom)?);
                }
                Ok(Nodes(all))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_written_as_they_are_read() {
        let words = [
            "without-coordinator",
            "apps/without-coordinator",
            "of-the-leader",
            "of-a-follower",
            "apps/3",
            "apps/0-7",
            "spot/all",
            "victim",
        ];
        for word in words {
            assert_eq!(word.parse::<Which>().unwrap().to_string(), word);
        }
        for bad in ["", "apps/", "apps/x", "apps/7-0", "Victim", "/3x"] {
            assert!(bad.parse::<Which>().unwrap_err().contains("write apps/3"), "{bad}");
        }
    }

    #[test]
    fn one_is_as_good_as_a_list() {
        let one: Nodes = serde_saphyr::from_str("apps/3").unwrap();
        let list: Nodes = serde_saphyr::from_str("[apps/3]").unwrap();
        assert_eq!(one, list);
        assert!(serde_saphyr::from_str::<Nodes>("{apps: 3}").is_err());
    }
}
