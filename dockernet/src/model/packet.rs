//! A packet, as its line shows it.

use std::{borrow::Cow, net::IpAddr};

use serde::{Deserialize, Serialize};

/// ICMP or ICMPv6 header fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Icmp {
    /// Type number.
    #[serde(rename = "type")]
    pub icmp_type: u8,
    /// Code number.
    pub code: u8,
    /// Echo identifier, where it has one.
    pub id: Option<u16>,
    /// For errors: the packet it complains about.
    pub inner: Option<Box<Packet>>,
}

/// A packet's headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Packet {
    /// `ipv4`, `ipv6`, `arp` or `other`.
    pub family: Cow<'static, str>,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `arp`, `igmp` … or the number.
    pub protocol: Cow<'static, str>,
    /// Source address.
    pub src: Option<IpAddr>,
    /// Source port.
    pub src_port: Option<u16>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Destination port.
    pub dst_port: Option<u16>,
    /// TCP flags as tcpdump letters in wire order of significance: `S`, `SA`, `A`, `PA`, `R`, `FA` …
    pub tcp_flags: Option<String>,
    /// ICMP or ICMPv6.
    pub icmp: Option<Icmp>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// Bytes from the network header on (`skb->len` when the skb starts there).
    pub length: u32,
    /// `skb->mark`.
    pub mark: u32,
    /// `host`, `broadcast`, `multicast`, `otherhost`, `outgoing`, `loopback`.
    pub pkt_type: Cow<'static, str>,
    /// Source MAC address, if the link header is there.
    pub src_mac: Option<String>,
    /// Destination MAC address, if the link header is there.
    pub dst_mac: Option<String>,
    /// `skb->protocol`, as `0x0800`.
    pub ethertype: String,
    /// VLAN id.
    pub vlan: Option<u16>,
}
