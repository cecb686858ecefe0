//! One NAT transition.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Endpoint, NatKind, Tuple};

/// One `nat` line: a flow's NAT, when its first packet leaves translated, and again when its first answer does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Transition {
    /// Wall-clock time, RFC 3339 with nanoseconds, UTC.
    #[serde(serialize_with = "super::drop::nanoseconds")]
    #[cfg_attr(test, schemars(with = "String", extend("format" = "date-time")))]
    pub time: jiff::Timestamp,
    /// As in `drop` lines.
    pub flow: String,
    /// What is changed.
    pub kind: NatKind,
    /// Whether MASQUERADE chose the new source; null where that cannot be told, and where the source stays.
    pub masquerade: Option<bool>,
    /// The new destination is an address of the host itself, as REDIRECT makes it.
    pub redirect: bool,
    /// `tcp`, `udp`, `icmp` …
    pub protocol: Cow<'static, str>,
    /// As the first packet came; null for the client of docker-proxy where several were opening at once.
    pub original: Option<Tuple>,
    /// As it left; docker-proxy's own connection to the container.
    pub translated: Tuple,
    /// Device that it left by; null for flows that were only listed.
    pub device: Option<String>,
    /// Where the device saw it: always `egress`.
    pub direction: Cow<'static, str>,
    /// Both ends are containers of one network: the packet left by the bridge that it came in by.
    pub hairpin: bool,
    /// Whether an answer has been seen.
    pub replied: bool,
    /// Time from the first packet to the first answer, milliseconds; null while there is none, or where either was not seen.
    pub answer_ms: Option<f64>,
    /// The same, at most: an answer to the host itself leaves by no device, and is known of by what was sent after it.
    pub answered_within_ms: Option<f64>,
    /// Whether the flow is older than this run.
    pub old: bool,
    /// Time since the flow's first packet, milliseconds; null where that is not known.
    pub age_ms: Option<f64>,
    /// The docker-proxy process (`kind` `proxy` only).
    pub proxy_pid: Option<u32>,
    /// Where it came from.
    pub source: Endpoint,
    /// Where it goes after NAT.
    pub destination: Endpoint,
    /// The published port that it came through: `0.0.0.0:10001->80/tcp`.
    pub published: Option<String>,
    /// Older than this run, and only found in the table: `--all` shows those. No part of the line.
    #[serde(skip)]
    pub listed: bool,
}
