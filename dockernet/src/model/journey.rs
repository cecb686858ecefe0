//! One packet's way through the host, and what a followed flow came to.

use jiff::Timestamp;
use serde::Serialize;

use super::{Drop, Endpoint, Nat, Netns, Packet};

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// As the flow's first packet.
    Forward,
    /// The answer's.
    Back,
}

impl Way {
    /// The other one.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Forward => Self::Back,
            Self::Back => Self::Forward,
        }
    }
}

/// Whether a device was given the packet, or gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Passage {
    /// Received from the device.
    In,
    /// Handed to the device for sending.
    Out,
}

/// What NAT made of a packet between the hop before and this one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rewrite {
    /// `dnat`, `snat`, `dnat+snat`; on the way back, where that is undone, `un-dnat`, `un-snat`, `un-dnat+snat`.
    pub kind: &'static str,
    /// Source now, with its port.
    pub src: String,
    /// Destination now, with its port.
    pub dst: String,
}

/// A packet at a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Hop {
    /// Microseconds since the packet's first hop.
    pub offset_us: f64,
    /// The device's namespace.
    pub netns: Netns,
    /// Device.
    pub device: String,
    /// Which way it passed.
    pub direction: Passage,
    /// Packets that it was at this device: more than one where a large packet was cut, or many were made one.
    pub packets: u32,
    /// What NAT had made of it since the hop before.
    pub nat: Option<Rewrite>,
}

/// How a journey ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum JourneyEnd {
    /// Received in the namespace that owns its destination, and not dropped there.
    Delivered,
    /// Left the host by its last hop's device.
    Left,
    /// Dropped; `drop` says why.
    Dropped,
    /// Not seen after its last hop, and no drop either.
    Lost,
    /// It cannot be told: copies of the packet could not be told apart, or its record was lost.
    Unknown,
}

/// One `journey` line: one packet from its first hop to its last.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Journey {
    /// Time of the first hop, or of the drop if there was none.
    #[serde(serialize_with = "super::drop::nanoseconds")]
    #[cfg_attr(test, schemars(with = "String", extend("format" = "date-time")))]
    pub time: Timestamp,
    /// As in `drop` lines.
    pub flow: String,
    /// Which way it went.
    pub way: Way,
    /// As it was at its first hop.
    pub packet: Packet,
    /// NAT of its flow.
    pub nat: Option<Nat>,
    /// Where the flow came from (before NAT).
    pub source: Endpoint,
    /// Where the flow was going (after NAT).
    pub destination: Endpoint,
    /// The published port that the flow came through.
    pub published: Option<String>,
    /// Where it was seen.
    pub hops: Vec<Hop>,
    /// How it ended.
    pub end: JourneyEnd,
    /// The end in one sentence.
    pub sentence: String,
    /// For answers: milliseconds since the last packet the other way was first seen.
    pub answer_ms: Option<f64>,
    /// Why it died, if it was dropped.
    pub drop: Option<Box<Drop>>,
}

/// A hop of all packets that went one way.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HopSum {
    /// Namespace: `host`, or a container's name.
    pub netns: Option<String>,
    /// Device.
    pub device: String,
    /// Which way they passed.
    pub direction: Passage,
    /// Packets that were seen there.
    pub packets: u64,
    /// Packets that were not seen after it though their way was not over: dropped, or lost without a drop.
    pub ended: u64,
    /// Median time since the hop before, microseconds; null for the first.
    pub median_us: Option<f64>,
    /// Longest time since the hop before, microseconds.
    pub max_us: Option<f64>,
}

/// What became of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum FlowVerdict {
    /// An answer reached the one who asked.
    Answered,
    /// The answer was a refusal: a TCP reset, or an ICMP error.
    Refused,
    /// Packets went, and no answer came back.
    Unanswered,
}

/// One `path` line at the end: a flow and its hops.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FlowSum {
    /// As in `journey` lines.
    pub flow: String,
    /// IP protocol.
    pub protocol: String,
    /// Client, as the flow's first packet named it.
    pub from: String,
    /// Where that packet was sent to.
    pub to: String,
    /// Where the flow came from.
    pub source: Endpoint,
    /// Where the flow was going (after NAT).
    pub destination: Endpoint,
    /// The published port that the flow came through.
    pub published: Option<String>,
    /// What became of it.
    pub verdict: FlowVerdict,
    /// The same in one sentence.
    pub sentence: String,
    /// Packets by hop, on the way there.
    pub forward: Vec<HopSum>,
    /// Packets by hop, on the way back.
    pub back: Vec<HopSum>,
    /// Unanswered, and nothing says that it will stay so: no packet died, no silence was long enough.
    #[serde(skip)]
    pub is_open: bool,
}

/// Something about a followed flow that is told when it is known.
#[derive(Clone, Debug, PartialEq)]
pub enum PathEvent {
    /// A packet's way is over.
    Journey(Box<Journey>),
    /// A packet that asks for an answer got none in time.
    Silence(Box<Silence>),
    /// A probe of ours is over.
    Probe(Box<ProbeEnd>),
}

/// One `probe` line: how a probe ended for the one who sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProbeEnd {
    /// When it ended.
    #[serde(serialize_with = "super::drop::nanoseconds")]
    #[cfg_attr(test, schemars(with = "String", extend("format" = "date-time")))]
    pub time: Timestamp,
    /// Where it was sent from: `host` or a container's name.
    pub from: String,
    /// What it was sent to, as it was asked for.
    pub to: String,
    /// The address and port that this was.
    pub address: String,
    /// `tcp`, `udp`, `icmp` or `dns`.
    pub kind: &'static str,
    /// Whether an answer came that was no refusal.
    pub answered: bool,
    /// In words.
    pub sentence: String,
}

/// One `silence` line: no answer in time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Silence {
    /// When the wait was over.
    #[serde(serialize_with = "super::drop::nanoseconds")]
    #[cfg_attr(test, schemars(with = "String", extend("format" = "date-time")))]
    pub time: Timestamp,
    /// As in `journey` lines.
    pub flow: String,
    /// Seconds that were waited.
    pub seconds: f64,
    /// What was seen, and what was not.
    pub sentence: String,
}
