//! One NAT transition.

use std::borrow::Cow;

use serde::Serialize;

use super::{Endpoint, NatKind, Tuple};

/// One `nat` line: a flow's NAT, when its first packet leaves translated, and again when its first answer does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Transition {
    /// Wall-clock time, RFC 3339 with nanoseconds, UTC.
    #[serde(serialize_with = "super::drop::nanoseconds")]
    pub time: jiff::Timestamp,
    /// As in `drop` lines.
    pub flow: String,
    /// What is changed.
    pub kind: NatKind,
    /// Whether the new source is an address of the interface that the packet left by, as MASQUERADE makes it; null where
    /// that cannot be told, and where the source stays.
    pub masquerade: Option<bool>,
    /// `tcp`, `udp`, `icmp` …
    pub protocol: Cow<'static, str>,
    /// As the first packet came.
    pub original: Tuple,
    /// As it left.
    pub translated: Tuple,
    /// Device that it left by.
    pub device: Option<String>,
    /// Where the device saw it: always `egress`.
    pub direction: &'static str,
    /// Both ends are containers of one network: the packet left by the bridge that it came in by.
    pub hairpin: bool,
    /// Whether an answer has left translated back.
    pub replied: bool,
    /// Time from the first packet to the first answer, milliseconds; null while there is none, or its start was not seen.
    pub answer_ms: Option<f64>,
    /// Where it came from.
    pub source: Endpoint,
    /// Where it goes after NAT.
    pub destination: Endpoint,
    /// The published port that it came through: `0.0.0.0:10001->80/tcp`.
    pub published: Option<String>,
}
