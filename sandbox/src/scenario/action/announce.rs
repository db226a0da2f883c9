//! An event as a script announces it.

use serde::Deserialize;

use crate::scenario::time::Time;
use crate::scenario::which::Nodes;

/// An event of Azure's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Announce {
    /// The script's name for it, and from now on for the nodes that it hits.
    pub event: String,
    /// One of Azure's.
    #[serde(default)]
    pub r#type: Option<EventType>,
    /// A word that Azure hasn't invented yet, instead of `type`.
    #[serde(default)]
    pub unknown_type: Option<String>,
    /// Whom it hits: VMs of one pool.
    pub on: Nodes,
    /// How long before it may start.
    #[serde(default)]
    pub notice: Time,
    /// It has begun when it is first shown.
    #[serde(default)]
    pub started: bool,
    /// How long it interrupts: a time, or `unknown`. What is usual for the type where it isn't said.
    #[serde(default)]
    pub duration: Option<Interruption>,
    /// Azure's words; the usual ones where they aren't said.
    #[serde(default)]
    pub description: Option<String>,
    /// Who is behind it; whoever usually is, where it isn't said.
    #[serde(default)]
    pub source: Option<Source>,
    /// A text in place of the time that `notice` leads to, for times that nobody can read.
    #[serde(default)]
    pub not_before: Option<String>,
    /// There is time and room enough to move every pod that may be moved, so the referee expects it.
    #[serde(default)]
    pub avoidable: bool,
}

/// The types that Azure documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "they are Azure's words")]
pub enum EventType {
    Freeze,
    Reboot,
    Redeploy,
    Preempt,
    Terminate,
}

impl EventType {
    /// Azure's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freeze => "Freeze",
            Self::Reboot => "Reboot",
            Self::Redeploy => "Redeploy",
            Self::Preempt => "Preempt",
            Self::Terminate => "Terminate",
        }
    }
}

/// Who is behind an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Source {
    /// Azure.
    Platform,
    /// Somebody with rights over the VM.
    User,
}

/// How long an event interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Interruption {
    /// As Azure writes it: −1 is unknown.
    pub seconds: i64,
}

impl TryFrom<String> for Interruption {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "unknown" {
            return Ok(Self { seconds: -1 });
        }
        let time: Time = text.parse().map_err(|error| format!("{error}, or `unknown`"))?;
        i64::try_from(time.as_written().as_secs()).map(|seconds| Self { seconds }).map_err(|e| e.to_string())
    }
}
