//! One dropped packet, or many alike.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};

use super::{Capture, Cause, ContainerRef, Endpoint, Packet, Reach, Rule, Sample, Tuple};

/// Whose network namespace it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum NetnsOwner {
    /// The namespace taken as the host.
    Host,
    /// A container's.
    Container,
    /// Any other, or not known.
    #[default]
    Other,
}

/// The network namespace a packet died in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Netns {
    /// Inode number, as in `/proc/PID/ns/net`.
    pub inum: u32,
    /// Whose it is.
    pub owner: NetnsOwner,
    /// Which container's.
    pub container: Option<ContainerRef>,
    /// What it is called: `host`, the container's name, its `ip netns` name or its process.
    pub name: Option<String>,
}

/// What NAT does to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum NatKind {
    /// Destination changed.
    #[serde(rename = "dnat")]
    Dnat,
    /// Source changed.
    #[serde(rename = "snat")]
    Snat,
    /// Both changed.
    #[serde(rename = "dnat+snat")]
    Both,
    /// Nothing: docker-proxy carries it, in a connection of its own (`nat` lines only).
    #[serde(rename = "proxy")]
    Proxy,
}

/// A flow's NAT, as the packet's conntrack entry holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Nat {
    /// What is changed.
    pub kind: NatKind,
    /// Before NAT, in the direction of the first packet.
    pub original: Tuple,
    /// What the answer looks like on the wire before it is translated back.
    pub reply: Tuple,
}

/// One `drop` line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Drop {
    /// Wall-clock time, RFC 3339 with nanoseconds, UTC.
    #[serde(serialize_with = "nanoseconds")]
    #[cfg_attr(test, schemars(with = "String", extend("format" = "date-time")))]
    pub time: jiff::Timestamp,
    /// Same for all packets of a flow, both directions, before and after NAT.
    pub flow: Option<String>,
    /// Kernel reason without its prefix, e.g. `NETFILTER_DROP`; null where the kernel gives none.
    pub reason: Option<String>,
    /// Function that freed the packet.
    pub location: Option<String>,
    /// Netfilter hook: `prerouting`, `input`, `forward`, `output`, `postrouting` or `bridge-…`.
    pub hook: Option<String>,
    /// Kernel stack, innermost first.
    pub stack: Option<Vec<String>>,
    /// Where it died.
    pub netns: Netns,
    /// `skb->dev`'s name.
    pub device: Option<String>,
    /// `skb->skb_iif`'s name.
    pub ingress_device: Option<String>,
    /// The packet; null for findings that have none.
    pub packet: Option<Packet>,
    /// NAT of its flow.
    pub nat: Option<Nat>,
    /// Where it came from (before NAT).
    pub source: Endpoint,
    /// Where it was going (after NAT).
    pub destination: Endpoint,
    /// The published port it came through: `0.0.0.0:10001->80/tcp`.
    pub published: Option<String>,
    /// The rule that dropped it.
    pub rule: Option<Rule>,
    /// Why.
    pub cause: Cause,
    /// Name of the benign noise, if it is that.
    pub noise: Option<Cow<'static, str>>,
    /// Whether an `--ignore` declared it deliberate.
    pub expected: bool,
    /// How many packets this line stands for; of a `finding`: events since the line before.
    pub count: u64,
    /// The container at the other end of its device, where that is a veth of the host's. No part of the line.
    #[serde(skip)]
    pub veth_of: Option<String>,
    /// The narrowest `--scope` that it is inside. No part of the line.
    #[serde(skip)]
    pub reach: Reach,
    /// Its bytes, where it came up in detail. No part of the line.
    #[serde(skip)]
    pub capture: Option<Box<Capture>>,
    /// What a cause looks at beside all this, where it came up in detail. No part of the line.
    #[serde(skip)]
    pub sample: Option<Box<Sample>>,
}

/// Always nine digits: the lines then sort as text.
pub(super) fn nanoseconds<S: Serializer>(
    time: &jiff::Timestamp,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.9}"))
}
