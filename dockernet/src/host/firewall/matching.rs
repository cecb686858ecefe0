//! Conditions of rules.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Match {
    /// The values of `keys`, side by side, are (not) among `elements`.
    Test {
        /// What is looked at.
        keys: Vec<Key>,
        /// Inverts the result.
        negated: bool,
        /// What is compared with.
        elements: Vec<Elements>,
    },
    /// One of the conditions (does not) hold.
    AnyOf {
        /// Inverts the result.
        negated: bool,
        /// Conditions.
        of: Vec<Match>,
    },
    /// Holds or not, it cannot be told; as it is written.
    Unknown(String),
}

/// One entry of a set: as many items as there are keys.
pub type Elements = Vec<Item>;

/// A field of the packet, with a bit mask put over it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Field.
    pub field: Field,
    /// Bits that count; `u64::MAX` for all.
    pub mask: u64,
}

impl From<Field> for Key {
    fn from(field: Field) -> Self {
        Self {
            field,
            mask: u64::MAX,
        }
    }
}

/// What a condition can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Field {
    /// Incoming interface's name.
    Iif,
    /// Outgoing interface's name.
    Oif,
    /// Bridge port that it came in by.
    PhysIn,
    /// Bridge port that it leaves by.
    PhysOut,
    /// Network protocol as `NFPROTO_*`: 2 IPv4, 10 IPv6; the bridge and netdev families see themselves (7, 5).
    NfProto,
    /// Ethernet type.
    EtherType,
    /// Transport protocol's number.
    L4Proto,
    /// Source address.
    Saddr,
    /// Destination address.
    Daddr,
    /// Source port.
    Sport,
    /// Destination port.
    Dport,
    /// What stands where UDP and TCP have the source port, whatever the protocol (nft's `th sport`).
    ThSport,
    /// What stands where UDP and TCP have the destination port, whatever the protocol (nft's `th dport`).
    ThDport,
    /// ICMP or ICMPv6 type.
    IcmpType,
    /// ICMP or ICMPv6 code.
    IcmpCode,
    /// TCP flags, as in the header's 14th byte.
    TcpFlags,
    /// TTL or hop limit.
    Ttl,
    /// Type of the IPv6 routing header.
    RoutingType,
    /// Packet mark.
    Mark,
    /// Flow mark.
    CtMark,
    /// Flow state: bits of [`super::CtState`].
    CtState,
    /// Flow status bits (`IPS_*`).
    CtStatus,
    /// Direction: 0 original, 1 reply.
    CtDir,
    /// Flow's protocol.
    CtProto,
    /// Flow's source address before NAT.
    CtOrigSaddr,
    /// Flow's destination address before NAT.
    CtOrigDaddr,
    /// Flow's source port before NAT.
    CtOrigSport,
    /// Flow's destination port before NAT.
    CtOrigDport,
    /// Source address that answers have.
    CtReplSaddr,
    /// Destination address that answers have.
    CtReplDaddr,
    /// Source port that answers have.
    CtReplSport,
    /// Destination port that answers have.
    CtReplDport,
    /// Link-layer kind: 0 host, 1 broadcast, 2 multicast, 3 other host (`PACKET_*`).
    PktType,
    /// Kind of the source address: bits `1 << RTN_*`.
    SaddrType,
    /// Kind of the destination address: bits `1 << RTN_*`.
    DaddrType,
    /// As `SaddrType`, local only if it is on the incoming interface.
    SaddrTypeIif,
    /// As `DaddrType`, local only if it is on the incoming interface.
    DaddrTypeIif,
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// Any value that the field has.
    Any,
    /// A number in this closed range.
    Number(u64, u64),
    /// At least one of these bits.
    Bits(u64),
    /// An address in this closed range.
    Address(IpAddr, IpAddr),
    /// A name.
    Name(String),
    /// A name that begins so.
    Prefix(String),
    /// Something that cannot be read; as it is written.
    Unknown(String),
}

impl Item {
    /// One number.
    #[must_use]
    pub fn number(value: u64) -> Self {
        Self::Number(value, value)
    }

    /// An interface's name as xtables writes it: `+` at the end is any rest.
    #[must_use]
    pub fn interface(name: &str, wildcard: char) -> Self {
        match name.strip_suffix(wildcard) {
            Some(start) => Self::Prefix(start.to_owned()),
            None => Self::Name(name.to_owned()),
        }
    }

    /// All addresses of a prefix.
    #[must_use]
    pub fn prefix(net: ipnet::IpNet) -> Self {
        Self::Address(net.network(), net.broadcast())
    }
}
