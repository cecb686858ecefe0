//! Conditions against a packet, with three answers.

use std::net::IpAddr;

use super::{
    matching::{Elements, Field, Item, Key, Match},
    model::{Family, Hook},
    packet::{CtState, Env, FlowPacket},
};

/// Yes, no, or it cannot be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    #[default]
    No,
    Maybe,
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }
}

/// What is known of a field.
#[derive(Clone, Copy, Debug)]
enum Seen<'a> {
    Unknown,
    /// The packet has no such field: a condition on it fails, inverted or not.
    Absent,
    Number(u64),
    Bits {
        known: u64,
        value: u64,
    },
    /// Exactly one of these bits is set.
    OneOf(u64),
    Address(IpAddr),
    Name(&'a str),
}

/// `RTN_*` (include/uapi/linux/rtnetlink.h) as bits.
pub(super) mod address_kind {
    pub(crate) const UNSPECIFIED: u64 = 1 << 0;
    pub(crate) const UNICAST: u64 = 1 << 1;
    pub(crate) const LOCAL: u64 = 1 << 2;
    pub(crate) const BROADCAST: u64 = 1 << 3;
    pub(crate) const ANYCAST: u64 = 1 << 4;
    pub(crate) const MULTICAST: u64 = 1 << 5;
    /// Blackhole, unreachable, prohibit, throw.
    pub(crate) const REJECTED: u64 = 0b1111 << 6;
}

/// Fields that rules change.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) fields: Vec<Field>,
    /// Something that cannot be told: any field.
    pub(super) any: bool,
}

/// Everything that conditions are judged by.
pub(super) struct Context<'a> {
    pub(super) packet: &'a FlowPacket,
    pub(super) hook: Hook,
    /// Family of the table that asks.
    pub(super) family: Family,
    /// What rules of this hook change: known neither before nor after.
    pub(super) changed: &'a Changed,
    pub(super) env: &'a dyn Env,
    /// The packet's mark as rules have changed it so far.
    pub(super) mark: Option<u32>,
    /// The flow's mark, likewise.
    pub(super) ct_mark: Option<u32>,
}

impl Context<'_> {
    pub(super) fn all(&self, matches: &[Match]) -> Truth {
        let mut truth = Truth::Yes;
        for each in matches {
            truth = truth.and(self.one(each));
            if truth == Truth::No {
                break;
            }
        }
        truth
    }

    pub(super) fn one(&self, condition: &Match) -> Truth {
        match condition {
            Match::Unknown(_) => Truth::Maybe,
            Match::AnyOf { negated, of } => {
                let any = of
                    .iter()
                    .fold(Truth::No, |truth, each| truth.or(self.one(each)));
                if *negated { any.not() } else { any }
            }
            Match::Test {
                keys,
                negated,
                elements,
            } => {
                let seen: Vec<Seen<'_>> = keys.iter().map(|key| self.seen(key.field)).collect();
                if seen.iter().any(|seen| matches!(seen, Seen::Absent)) {
                    return Truth::No;
                }
                let mut truth = Truth::No;
                for element in elements {
                    truth = truth.or(holds(keys, &seen, element));
                    if truth == Truth::Yes {
                        break;
                    }
                }
                if *negated { truth.not() } else { truth }
            }
        }
    }

    /// Whether the packet's values of `keys` are this entry of a map.
    pub(super) fn entry(&self, keys: &[Key], element: &Elements) -> Truth {
        let seen: Vec<Seen<'_>> = keys.iter().map(|key| self.seen(key.field)).collect();
        if seen.iter().any(|seen| matches!(seen, Seen::Absent)) {
            return Truth::No;
        }
        holds(keys, &seen, element)
    }

    fn seen(&self, field: Field) -> Seen<'_> {
        let packet = self.packet;
        if self.changed.any || self.changed.fields.contains(&field) {
            return Seen::Unknown;
        }
        match field {
            Field::Iif if matches!(self.hook, Hook::Output | Hook::Egress) => Seen::Name(""),
            // br_forward_finish and br_dev_queue_push_xmit name no device that it came in by (net/bridge/br_forward.c).
            Field::Iif if self.hook == Hook::Postrouting && self.family == Family::Bridge => {
                Seen::Name("")
            }
            Field::Oif if matches!(self.hook, Hook::Prerouting | Hook::Input | Hook::Ingress) => {
                Seen::Name("")
            }
            Field::Iif => text(packet.iif.as_deref()),
            Field::Oif => text(packet.oif.as_deref()),
            Field::PhysIn => text(packet.physin.as_deref()),
            Field::PhysOut => text(packet.physout.as_deref()),
            // `nft_pf()`: the family that runs the rules.
            Field::NfProto if self.family == Family::Bridge => Seen::Number(7),
            Field::NfProto if self.family == Family::Netdev => Seen::Number(5),
            Field::NfProto => number(packet.is_ipv6().map(|v6| if v6 { 10_u8 } else { 2 })),
            Field::EtherType => number(
                packet
                    .is_ipv6()
                    .map(|v6| if v6 { 0x86dd_u16 } else { 0x0800 }),
            ),
            Field::L4Proto => number(packet.proto),
            Field::Saddr => address(packet.src),
            Field::Daddr => address(packet.dst),
            Field::Sport | Field::Dport if self.without(PORTED) => Seen::Absent,
            Field::ThSport | Field::ThDport if !self.with(PORTED) => Seen::Unknown,
            Field::Sport | Field::ThSport => number(packet.sport),
            Field::Dport | Field::ThDport => number(packet.dport),
            Field::IcmpType | Field::IcmpCode if self.without(&[1, 58]) => Seen::Absent,
            Field::IcmpType => number(packet.icmp_type),
            Field::IcmpCode => number(packet.icmp_code),
            Field::TcpFlags if self.without(&[6]) => Seen::Absent,
            Field::TcpFlags => number(packet.tcp_flags),
            Field::Ttl => number(packet.ttl),
            Field::RoutingType
                if packet.routing_header == Some(false) || packet.is_ipv6() == Some(false) =>
            {
                Seen::Absent
            }
            Field::RoutingType => Seen::Unknown,
            Field::Mark => number(self.mark),
            Field::PktType => number(packet.pkt_type),
            Field::SaddrType => self.kind(packet.src),
            Field::DaddrType => self.kind(packet.dst),
            Field::SaddrTypeIif => self.kind_on_iif(packet.src),
            Field::DaddrTypeIif => self.kind_on_iif(packet.dst),
            Field::CtState => Seen::OneOf(packet.ct_state.0.into()),
            _ => self.flow(field),
        }
    }

    /// Fields of the packet's flow.
    fn flow(&self, field: Field) -> Seen<'_> {
        let packet = self.packet;
        if packet.ct_state.0 & !CtState::NO_FLOW.0 == 0 {
            return Seen::Absent;
        }
        // That the packet may have no flow after all makes nothing that is known of its flow unknown: the tuples
        // are given only where there is one.
        let (original, answer) = packet.tuples();
        match field {
            Field::CtStatus => Seen::Bits {
                known: packet.ct_status.0.into(),
                value: packet.ct_status.1.into(),
            },
            Field::CtDir => number(packet.ct_reply.map(u8::from)),
            Field::CtMark => number(self.ct_mark),
            // The flow of an ICMP error is the one that it is about.
            Field::CtProto
                if packet.ct_state.0 & CtState::RELATED.0 != 0 && !self.without(&[1, 58]) =>
            {
                Seen::Unknown
            }
            // The packet's protocol is the flow's, if there is a flow.
            Field::CtProto if packet.ct_state.0 & CtState::NO_FLOW.0 != 0 => Seen::Unknown,
            Field::CtProto => number(packet.proto),
            Field::CtOrigSaddr => address(original.map(|tuple| tuple.src)),
            Field::CtOrigDaddr => address(original.map(|tuple| tuple.dst)),
            Field::CtOrigSport => number(original.and_then(|tuple| tuple.sport)),
            Field::CtOrigDport => number(original.and_then(|tuple| tuple.dport)),
            Field::CtReplSaddr => address(answer.map(|tuple| tuple.src)),
            Field::CtReplDaddr => address(answer.map(|tuple| tuple.dst)),
            Field::CtReplSport => number(answer.and_then(|tuple| tuple.sport)),
            Field::CtReplDport => number(answer.and_then(|tuple| tuple.dport)),
            _ => Seen::Unknown,
        }
    }

    fn without(&self, protocols: &[u8]) -> bool {
        self.packet
            .proto
            .is_some_and(|proto| !protocols.contains(&proto))
    }

    fn with(&self, protocols: &[u8]) -> bool {
        self.packet
            .proto
            .is_some_and(|proto| protocols.contains(&proto))
    }

    /// As `inet_addr_type` and `ipv6_chk_addr` see an address.
    fn kind(&self, address: Option<IpAddr>) -> Seen<'_> {
        use address_kind::{ANYCAST, BROADCAST, LOCAL, MULTICAST, REJECTED, UNICAST, UNSPECIFIED};
        let Some(address) = address else {
            return Seen::Unknown;
        };
        if address.is_multicast() {
            return Seen::OneOf(MULTICAST);
        }
        let foreign = match address {
            IpAddr::V4(v4) if v4.is_broadcast() || v4.is_unspecified() => {
                return Seen::OneOf(BROADCAST);
            }
            // 0.0.0.0/8 as a whole before 5.3.
            IpAddr::V4(v4) if v4.octets()[0] == 0 => return Seen::OneOf(BROADCAST | UNICAST),
            // `inet_dev_addr_type` looks into the table of local addresses only, and IPv6 asks for a route.
            IpAddr::V4(_) => UNICAST,
            IpAddr::V6(v6) if v6.is_unspecified() => return Seen::OneOf(UNSPECIFIED),
            IpAddr::V6(_) => UNICAST | ANYCAST | REJECTED,
        };
        let local = if address.is_loopback() {
            Some(true)
        } else {
            self.env.is_local(address)
        };
        let broadcast = if address.is_ipv6() {
            Some(false)
        } else {
            self.env.is_broadcast(address)
        };
        Seen::OneOf(match (local, broadcast) {
            (Some(true), _) => LOCAL,
            (_, Some(true)) => BROADCAST,
            (Some(false), Some(false)) => foreign,
            (Some(false), None) => foreign | BROADCAST,
            (None, Some(false)) => foreign | LOCAL,
            (None, None) => foreign | LOCAL | BROADCAST,
        })
    }

    /// The kind as far as the incoming interface goes: another one's address is no local one.
    fn kind_on_iif(&self, address: Option<IpAddr>) -> Seen<'_> {
        use address_kind::{ANYCAST, BROADCAST, LOCAL, REJECTED, UNICAST};
        let known = self.kind(address);
        let (Some(address), Seen::OneOf(kinds)) = (address, known) else {
            return known;
        };
        if kinds & (LOCAL | BROADCAST) == 0 {
            return known;
        }
        let foreign = match address {
            IpAddr::V4(_) => UNICAST,
            IpAddr::V6(_) => UNICAST | ANYCAST | REJECTED,
        };
        let here = self.packet.iif.as_deref();
        match here.and_then(|iif| self.env.is_local_on(address, iif)) {
            Some(true) => Seen::OneOf(LOCAL),
            Some(false) if kinds & BROADCAST == 0 => Seen::OneOf(foreign),
            Some(false) => Seen::OneOf(foreign | BROADCAST),
            None => Seen::OneOf(foreign | kinds),
        }
    }
}

/// Protocols that begin with two ports.
const PORTED: &[u8] = &[6, 17, 33, 132, 136];

fn number<'a>(value: Option<impl Into<u64>>) -> Seen<'a> {
    value.map_or(Seen::Unknown, |value| Seen::Number(value.into()))
}

fn address<'a>(value: Option<IpAddr>) -> Seen<'a> {
    value.map_or(Seen::Unknown, Seen::Address)
}

fn text(value: Option<&str>) -> Seen<'_> {
    value.map_or(Seen::Unknown, Seen::Name)
}

fn holds(keys: &[Key], seen: &[Seen<'_>], element: &Elements) -> Truth {
    if element.len() != keys.len() {
        return Truth::Maybe;
    }
    keys.iter()
        .zip(seen)
        .zip(element)
        .fold(Truth::Yes, |truth, ((key, seen), item)| {
            truth.and(compare(key.mask, *seen, item))
        })
}

fn compare(mask: u64, seen: Seen<'_>, item: &Item) -> Truth {
    match (item, seen) {
        (_, Seen::Absent) => Truth::No,
        (Item::Any, _) => Truth::Yes,
        (Item::Unknown(_), _) | (_, Seen::Unknown) => Truth::Maybe,
        (Item::Number(low, high), Seen::Number(value)) => {
            (*low..=*high).contains(&(value & mask)).into()
        }
        (Item::Number(low, high), Seen::Bits { known, value }) if low == high => {
            if (value ^ low) & known & mask != 0 {
                Truth::No
            } else if mask & !known == 0 {
                Truth::Yes
            } else {
                Truth::Maybe
            }
        }
        (Item::Bits(bits), Seen::Number(value)) => (value & mask & bits != 0).into(),
        (Item::Bits(bits), Seen::Bits { known, value }) => {
            let wanted = bits & mask;
            if value & known & wanted != 0 {
                Truth::Yes
            } else if wanted & !known == 0 {
                Truth::No
            } else {
                Truth::Maybe
            }
        }
        (Item::Bits(bits), Seen::OneOf(possible)) => among(possible, *bits),
        (Item::Number(low, high), Seen::OneOf(possible)) if low == high => among(possible, *low),
        (Item::Address(low, high), Seen::Address(address)) => {
            (low.is_ipv4() == address.is_ipv4() && *low <= address && address <= *high).into()
        }
        (Item::Name(name), Seen::Name(seen)) => (name == seen).into(),
        (Item::Prefix(start), Seen::Name(seen)) => seen.starts_with(start.as_str()).into(),
        _ => Truth::Maybe,
    }
}

fn among(possible: u64, wanted: u64) -> Truth {
    if possible & wanted == 0 {
        Truth::No
    } else if possible & !wanted == 0 {
        Truth::Yes
    } else {
        Truth::Maybe
    }
}
