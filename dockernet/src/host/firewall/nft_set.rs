//! Keys and elements of nft's JSON.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    eval::address_kind,
    iptables_match::{icmp_code, icmp_name, protocol_number},
    matching::{Elements, Field, Item, Key, Match},
    packet::CtState,
};

/// The left side of a condition.
pub(super) struct LeftSide {
    /// What is looked at; `None` stands for what cannot be read.
    pub(super) keys: Vec<Option<Key>>,
    /// ICMPv6 rather than ICMP, for names.
    pub(super) v6: bool,
    /// Conditions that nft implies: `tcp dport` asks for TCP.
    pub(super) implied: Vec<Match>,
}

impl LeftSide {
    /// All keys, if all could be read.
    pub(super) fn all(&self) -> Option<Vec<Key>> {
        self.keys.iter().copied().collect()
    }
}

/// Reads the left side of a match, or the key of a map.
pub(super) fn left(value: &Value) -> LeftSide {
    let mut side = LeftSide {
        keys: Vec::new(),
        v6: false,
        implied: Vec::new(),
    };
    match value.get("concat").and_then(Value::as_array) {
        Some(parts) => {
            for part in parts {
                let key = one_key(part, &mut side);
                side.keys.push(key);
            }
        }
        None => {
            let key = one_key(value, &mut side);
            side.keys.push(key);
        }
    }
    side
}

fn one_key(value: &Value, side: &mut LeftSide) -> Option<Key> {
    if let Some([inner, mask]) = value.get("&").and_then(Value::as_array).map(Vec::as_slice) {
        let key = one_key(inner, side)?;
        let mask = number(key.field, mask, side.v6)?;
        return Some(Key {
            mask: key.mask & mask,
            ..key
        });
    }
    let text = |value: &Value, name: &str| Some(value.get(name)?.as_str()?.to_owned());
    if let Some(meta) = value.get("meta") {
        return meta_field(&text(meta, "key")?).map(Key::from);
    }
    if let Some(ct) = value.get("ct") {
        let key = text(ct, "key")?;
        // The flow of the other IP version has no such address: nothing to compare with (`nft_ct_get_eval`).
        side.implied.extend(match key.split(' ').next() {
            Some("ip") => Some(is(Field::EtherType, 0x0800)),
            Some("ip6") => Some(is(Field::EtherType, 0x86dd)),
            _ => None,
        });
        return ct_field(&key, text(ct, "dir").as_deref()).map(Key::from);
    }
    if let Some(payload) = value.get("payload") {
        let (protocol, field) = (text(payload, "protocol")?, text(payload, "field")?);
        return payload_field(&protocol, &field, side).map(Key::from);
    }
    if let Some(fib) = value.get("fib") {
        if fib.get("result")? != "type" {
            return None;
        }
        let flags: Vec<&str> = match fib.get("flags")? {
            Value::Array(flags) => flags.iter().filter_map(Value::as_str).collect(),
            one => vec![one.as_str()?],
        };
        return match flags.as_slice() {
            ["daddr"] => Some(Field::DaddrType.into()),
            ["saddr"] => Some(Field::SaddrType.into()),
            ["daddr", "iif"] | ["iif", "daddr"] => Some(Field::DaddrTypeIif.into()),
            ["saddr", "iif"] | ["iif", "saddr"] => Some(Field::SaddrTypeIif.into()),
            _ => None,
        };
    }
    None
}

fn meta_field(key: &str) -> Option<Field> {
    Some(match key {
        "iif" | "iifname" => Field::Iif,
        "oif" | "oifname" => Field::Oif,
        "l4proto" => Field::L4Proto,
        "nfproto" => Field::NfProto,
        "protocol" => Field::EtherType,
        "mark" => Field::Mark,
        "pkttype" => Field::PktType,
        _ => return None,
    })
}

fn ct_field(key: &str, direction: Option<&str>) -> Option<Field> {
    Some(match (direction, key) {
        (None, "state") => Field::CtState,
        (None, "status") => Field::CtStatus,
        (None, "direction") => Field::CtDir,
        (None, "mark") => Field::CtMark,
        (_, "protocol") => Field::CtProto,
        (Some("original"), "saddr" | "ip saddr" | "ip6 saddr") => Field::CtOrigSaddr,
        (Some("original"), "daddr" | "ip daddr" | "ip6 daddr") => Field::CtOrigDaddr,
        (Some("original"), "proto-src") => Field::CtOrigSport,
        (Some("original"), "proto-dst") => Field::CtOrigDport,
        (Some("reply"), "saddr" | "ip saddr" | "ip6 saddr") => Field::CtReplSaddr,
        (Some("reply"), "daddr" | "ip daddr" | "ip6 daddr") => Field::CtReplDaddr,
        (Some("reply"), "proto-src") => Field::CtReplSport,
        (Some("reply"), "proto-dst") => Field::CtReplDport,
        _ => return None,
    })
}

fn payload_field(protocol: &str, field: &str, side: &mut LeftSide) -> Option<Field> {
    let needed = match protocol {
        "ip" => Some((Field::EtherType, 0x0800)),
        "ip6" => Some((Field::EtherType, 0x86dd)),
        "th" | "ether" => None,
        other => Some((Field::L4Proto, u64::from(protocol_number(other)?))),
    };
    side.v6 |= matches!(protocol, "ip6" | "icmpv6");
    side.implied
        .extend(needed.map(|(field, value)| is(field, value)));
    Some(match (protocol, field) {
        ("ip" | "ip6", "saddr") => Field::Saddr,
        ("ip" | "ip6", "daddr") => Field::Daddr,
        ("ip", "protocol") => Field::L4Proto,
        ("ip", "ttl") | ("ip6", "hoplimit") => Field::Ttl,
        ("tcp" | "udp" | "sctp" | "dccp" | "udplite", "sport") => Field::Sport,
        ("tcp" | "udp" | "sctp" | "dccp" | "udplite", "dport") => Field::Dport,
        ("th", "sport") => Field::ThSport,
        ("th", "dport") => Field::ThDport,
        ("tcp", "flags") => Field::TcpFlags,
        ("icmp" | "icmpv6", "type") => Field::IcmpType,
        ("icmp" | "icmpv6", "code") => Field::IcmpCode,
        ("ether", "type") => Field::EtherType,
        _ => return None,
    })
}

/// A condition that a field has just this value.
pub(super) fn is(field: Field, value: u64) -> Match {
    Match::Test {
        keys: vec![field.into()],
        negated: false,
        elements: vec![vec![Item::number(value)]],
    }
}

/// One element of a set, or a right side that is no set.
pub(super) fn element(side: &LeftSide, value: &Value) -> Elements {
    let value = value
        .get("elem")
        .and_then(|elem| elem.get("val"))
        .unwrap_or(value);
    let parts: Vec<&Value> = match value.get("concat").and_then(Value::as_array) {
        Some(parts) => parts.iter().collect(),
        None => vec![value],
    };
    parts
        .iter()
        .enumerate()
        .map(|(at, part)| match side.keys.get(at).copied().flatten() {
            Some(key) => item(key.field, part, side.v6),
            None => Item::Unknown(part.to_string()),
        })
        .collect()
}

fn item(field: Field, value: &Value, v6: bool) -> Item {
    read_item(field, value, v6).unwrap_or_else(|| Item::Unknown(value.to_string()))
}

fn read_item(field: Field, value: &Value, v6: bool) -> Option<Item> {
    if let Some(prefix) = value.get("prefix") {
        let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        let address: IpAddr = prefix.get("addr")?.as_str()?.parse().ok()?;
        return Some(Item::prefix(ipnet::IpNet::new(address, length).ok()?));
    }
    if let Some([low, high]) = value
        .get("range")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        return match (read_item(field, low, v6)?, read_item(field, high, v6)?) {
            (Item::Number(low, _), Item::Number(_, high)) => Some(Item::Number(low, high)),
            (Item::Address(low, _), Item::Address(_, high)) => Some(Item::Address(low, high)),
            _ => None,
        };
    }
    match field {
        Field::Iif | Field::Oif | Field::PhysIn | Field::PhysOut => {
            // A number is the index of a device that is gone.
            let name = value.as_str()?;
            (name != "*").then(|| Item::interface(name, '*'))
        }
        Field::Saddr
        | Field::Daddr
        | Field::CtOrigSaddr
        | Field::CtOrigDaddr
        | Field::CtReplSaddr
        | Field::CtReplDaddr => {
            let address = value.as_str()?.parse().ok()?;
            Some(Item::Address(address, address))
        }
        Field::CtState
        | Field::SaddrType
        | Field::DaddrType
        | Field::SaddrTypeIif
        | Field::DaddrTypeIif => number(field, value, v6).map(Item::Bits),
        _ => number(field, value, v6).map(Item::number),
    }
}

/// A number, a name that stands for one, or a list of flags.
pub(super) fn number(field: Field, value: &Value, v6: bool) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::Array(flags) => flags
            .iter()
            .try_fold(0, |bits, flag| Some(bits | number(field, flag, v6)?)),
        Value::Object(_) => {
            let parts = value.get("|")?.as_array()?;
            parts
                .iter()
                .try_fold(0, |bits, flag| Some(bits | number(field, flag, v6)?))
        }
        Value::String(text) => match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok().or_else(|| named(field, text, v6)),
        },
        _ => None,
    }
}

fn named(field: Field, text: &str, v6: bool) -> Option<u64> {
    Some(match (field, text) {
        (Field::L4Proto | Field::CtProto, name) => protocol_number(name)?.into(),
        (Field::NfProto, "ipv4") => 2,
        (Field::NfProto, "ipv6") => 10,
        (Field::EtherType, "ip") => 0x0800,
        (Field::EtherType, "ip6") => 0x86dd,
        (Field::EtherType, "arp") => 0x0806,
        (Field::EtherType, "vlan" | "8021q") => 0x8100,
        (Field::PktType, "host" | "unicast") => 0,
        (Field::PktType, "broadcast") => 1,
        (Field::PktType, "multicast") => 2,
        (Field::PktType, "other") => 3,
        (Field::CtDir, "original") => 0,
        (Field::CtDir, "reply") => 1,
        (Field::CtState, "invalid") => CtState::INVALID.0.into(),
        (Field::CtState, "established") => CtState::ESTABLISHED.0.into(),
        (Field::CtState, "related") => CtState::RELATED.0.into(),
        (Field::CtState, "new") => CtState::NEW.0.into(),
        (Field::CtState, "untracked") => CtState::UNTRACKED.0.into(),
        (Field::CtStatus, "expected") => 0x01,
        (Field::CtStatus, "seen-reply") => 0x02,
        (Field::CtStatus, "assured") => 0x04,
        (Field::CtStatus, "confirmed") => 0x08,
        (Field::CtStatus, "snat") => 0x10,
        (Field::CtStatus, "dnat") => 0x20,
        (Field::CtStatus, "dying") => 0x200,
        (Field::TcpFlags, "fin") => 0x01,
        (Field::TcpFlags, "syn") => 0x02,
        (Field::TcpFlags, "rst") => 0x04,
        (Field::TcpFlags, "psh") => 0x08,
        (Field::TcpFlags, "ack") => 0x10,
        (Field::TcpFlags, "urg") => 0x20,
        (Field::TcpFlags, "ecn") => 0x40,
        (Field::TcpFlags, "cwr") => 0x80,
        (Field::IcmpType, name) => icmp_name(name, v6)?.0,
        (Field::IcmpCode, name) => icmp_code(name, v6)?,
        (Field::SaddrType | Field::DaddrType | Field::SaddrTypeIif | Field::DaddrTypeIif, name) => {
            match name {
                "unicast" => address_kind::UNICAST,
                "local" => address_kind::LOCAL,
                "broadcast" => address_kind::BROADCAST,
                "anycast" => address_kind::ANYCAST,
                "multicast" => address_kind::MULTICAST,
                "blackhole" => 1 << 6,
                "unreachable" => 1 << 7,
                "prohibit" => 1 << 8,
                _ => return None,
            }
        }
        _ => return None,
    })
}
