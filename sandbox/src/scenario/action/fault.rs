//! A fault as a script puts it in force.

use std::fmt;

use serde::Deserialize;

use crate::scenario::time::Time;

/// A fault between coordinators and the API server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FaultScript {
    /// The script's name for it.
    pub name: String,
    /// Which requests; all conditions must hold.
    #[serde(default)]
    pub requests: RequestsScript,
    /// What happens to them.
    pub effect: EffectScript,
    /// To how many at most; to all where it isn't said.
    #[serde(default)]
    pub times: Option<u32>,
    /// It is cleared after this time; at the end where it isn't said.
    #[serde(default)]
    pub r#for: Option<Time>,
}

/// Which requests a fault is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RequestsScript {
    /// Only whoever leads, or doesn't, when the fault begins.
    pub from: Option<Coordinator>,
    /// `PATCH`, `POST`, …
    pub method: Option<String>,
    /// A part of path and query.
    pub path: Option<String>,
    /// A part of the body.
    pub body: Option<String>,
}

/// A coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coordinator {
    /// The one that leads.
    Leader,
    /// One that doesn't.
    Follower,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EffectScript {
    /// It waits for the end of the fault, and dies with its caller.
    Hold,
    /// It waits for the end of the fault, and takes effect even if its caller is gone by then.
    HoldOnItsWay,
    /// It takes effect, and the answer waits for the end of the fault.
    HoldAnswer,
    /// The connection is closed before it takes effect.
    Drop,
    /// The connection is closed after it took effect.
    DropAfterEffect,
    /// It goes on after this time.
    Delay(Time),
    /// It is refused with this status.
    Answer(u16),
}

impl fmt::Display for EffectScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold => f.write_str("they wait"),
            Self::HoldOnItsWay => f.write_str("they wait on their way"),
            Self::HoldAnswer => f.write_str("their answers wait"),
            Self::Drop => f.write_str("they are lost"),
            Self::DropAfterEffect => f.write_str("their answers are lost"),
            Self::Delay(time) => write!(f, "they take {time} longer"),
            Self::Answer(status) => write!(f, "they are refused with {status}"),
        }
    }
}
