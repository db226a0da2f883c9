//! The ways in which a metadata service answers, or doesn't.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::Deserialize;

/// How a VM's IMDS treats requests from now on. Each of these has been seen on Azure or is documented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// By the book.
    #[default]
    Normal,
    /// Requests wait until this long after the first one; by the book afterwards. Azure takes up to two minutes.
    SlowFirstAnswer(#[serde(deserialize_with = "duration::deserialize")] Duration),
    /// Every answer takes this long.
    Slow(#[serde(deserialize_with = "duration::deserialize")] Duration),
    /// 429 with Azure's words, which aren't JSON.
    Throttled,
    /// 500 with a JSON body that lacks `Events`.
    ErrorWithJson,
    /// 500 with an empty body.
    ErrorWithoutBody,
    /// 410, which Azure documents as "retry after at most 70 seconds".
    Gone,
    /// 200 and zero bytes.
    EmptyBody,
    /// 200 and JSON that ends in mid-word.
    BrokenJson,
    /// 200 and a web page, as a proxy in between would answer.
    Html,
    /// The request is read and never answered.
    Hanging,
    /// Status and half of the body, then nothing.
    HangingBody,
    /// The connection is accepted by the kernel and nothing reads it, like a VM that is gone.
    Silent,
    /// Nothing listens.
    Refused,
}
