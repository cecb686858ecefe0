//! What IPv4 and IPv6 have in common.

use core::net::IpAddr;

use super::{
    ethertype,
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
};

/// A fragment of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Identification, the same in all fragments of a packet (16 bits in IPv4).
    pub id: u32,
    /// Where it belongs in the packet, in bytes.
    pub offset: u16,
    /// Whether others come behind it.
    pub more: bool,
}

/// An IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ip {
    /// IPv4.
    V4(Ipv4),
    /// IPv6.
    V6(Ipv6),
}

impl Ip {
    /// Source address.
    pub fn src(&self) -> IpAddr {
        match self {
            Self::V4(ip) => ip.src.into(),
            Self::V6(ip) => ip.src.into(),
        }
    }

    /// Destination address.
    pub fn dst(&self) -> IpAddr {
        match self {
            Self::V4(ip) => ip.dst.into(),
            Self::V6(ip) => ip.dst.into(),
        }
    }

    /// TTL or hop limit.
    pub const fn ttl(&self) -> u8 {
        match self {
            Self::V4(ip) => ip.ttl,
            Self::V6(ip) => ip.hop_limit,
        }
    }

    /// Upper-layer protocol; `None` if IPv6 extension headers hide it.
    pub const fn protocol(&self) -> Option<u8> {
        match self {
            Self::V4(ip) => Some(ip.protocol),
            Self::V6(ip) => ip.protocol,
        }
    }

    /// Fragmentation, if it is a fragment.
    pub fn fragment(&self) -> Option<Fragment> {
        match self {
            Self::V4(ip) => ip.fragment(),
            Self::V6(ip) => ip.fragment,
        }
    }
}

/// Reads the header that `bytes` begin with, if its version is what `ethertype` says, and the payload of a first fragment.
pub(super) fn parse(bytes: &[u8], ethertype: u16) -> Option<(Ip, Option<&[u8]>)> {
    match ethertype {
        ethertype::IPV4 => ipv4::parse(bytes).map(|(ip, payload)| (Ip::V4(ip), payload)),
        ethertype::IPV6 => ipv6::parse(bytes).map(|(ip, payload)| (Ip::V6(ip), payload)),
        _ => None,
    }
}
