//! ctnetlink's attributes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Entry;
use crate::model::Tuple;

/// `enum ctattr_type`.
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const TIMEOUT: u16 = 7;
/// `enum ctattr_tuple`.
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
/// `enum ctattr_ip`: source and destination, of IPv4 and of IPv6.
const V4: [u16; 2] = [1, 2];
const V6: [u16; 2] = [3, 4];
/// `enum ctattr_l4proto`.
const PROTO_NUM: u16 = 1;
const SRC_PORT: u16 = 2;
const DST_PORT: u16 = 3;
const ICMP_ID: u16 = 4;
const ICMPV6_ID: u16 = 7;
/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` are no part of an attribute's type.
const TYPE: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

/// The body that asks for the flow with this tuple; `None` for a tuple without ports or with two families.
pub(super) fn request(protocol: u8, tuple: &Tuple) -> Option<Vec<u8>> {
    let (family, kinds) = match tuple.src {
        IpAddr::V4(_) => (libc::AF_INET, V4),
        IpAddr::V6(_) => (libc::AF_INET6, V6),
    };
    if tuple.src.is_ipv4() != tuple.dst.is_ipv4() {
        return None;
    }
    let mut addresses = attribute(kinds[0], &octets(tuple.src));
    addresses.extend(attribute(kinds[1], &octets(tuple.dst)));
    let mut proto = attribute(PROTO_NUM, &[protocol]);
    proto.extend(attribute(SRC_PORT, &tuple.src_port?.to_be_bytes()));
    proto.extend(attribute(DST_PORT, &tuple.dst_port?.to_be_bytes()));
    let mut inside = attribute(TUPLE_IP | NESTED, &addresses);
    inside.extend(attribute(TUPLE_PROTO | NESTED, &proto));
    // struct nfgenmsg: family, version, resource id.
    let mut body = vec![u8::try_from(family).ok()?, 0, 0, 0];
    body.extend(attribute(TUPLE_ORIG | NESTED, &inside));
    Some(body)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(usize::from(length).next_multiple_of(4));
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An answer's body as a flow; `None` where something essential is missing.
pub(super) fn entry(body: &[u8]) -> Option<Entry> {
    let attributes = body.get(4..)?;
    let (protocol, original) = tuple(find(attributes, TUPLE_ORIG)?)?;
    let (_, reply) = tuple(find(attributes, TUPLE_REPLY)?)?;
    Some(Entry {
        protocol,
        original,
        reply,
        status: number(attributes, STATUS).unwrap_or(0),
        timeout: number(attributes, TIMEOUT),
    })
}

fn tuple(attributes: &[u8]) -> Option<(u8, Tuple)> {
    let addresses = find(attributes, TUPLE_IP)?;
    let proto = find(attributes, TUPLE_PROTO)?;
    let address = |at: usize| {
        let v4 = || {
            let bytes: [u8; 4] = find(addresses, V4[at])?.try_into().ok()?;
            Some(IpAddr::from(Ipv4Addr::from(bytes)))
        };
        let v6 = || {
            let bytes: [u8; 16] = find(addresses, V6[at])?.try_into().ok()?;
            Some(IpAddr::from(Ipv6Addr::from(bytes)))
        };
        v4().or_else(v6)
    };
    let port = |kind: u16| {
        let bytes: [u8; 2] = find(proto, kind)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    };
    let echo = port(ICMP_ID).or_else(|| port(ICMPV6_ID));
    let tuple = Tuple {
        src: address(0)?,
        src_port: port(SRC_PORT).or(echo),
        dst: address(1)?,
        dst_port: port(DST_PORT).or(echo),
    };
    Some((*find(proto, PROTO_NUM)?.first()?, tuple))
}

fn number(attributes: &[u8], kind: u16) -> Option<u32> {
    let bytes: [u8; 4] = find(attributes, kind)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// The value of the first attribute of a type.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (head, _) = attributes.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE;
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn sample() -> Tuple {
        Tuple {
            src: "198.51.100.20".parse().unwrap(),
            src_port: Some(40_000),
            dst: "198.51.100.10".parse().unwrap(),
            dst_port: Some(53),
        }
    }

    #[test]
    fn what_is_asked_can_be_read_back() {
        let mut body = request(17, &sample()).unwrap();
        // An answer names both directions.
        let (_, attributes) = body.split_at(4);
        let reply = attribute(TUPLE_REPLY | NESTED, find(attributes, TUPLE_ORIG).unwrap());
        body.extend(reply);
        body.extend(attribute(STATUS, &0x28_u32.to_be_bytes()));
        body.extend(attribute(TIMEOUT, &30_u32.to_be_bytes()));
        let entry = entry(&body).unwrap();
        assert_eq!(entry.protocol, 17);
        assert_eq!((entry.original.clone(), entry.reply), (sample(), sample()));
        assert_eq!((entry.status, entry.timeout), (0x28, Some(30)));
    }

    #[test]
    fn hostile_bytes_are_no_flow() {
        let body = request(17, &sample()).unwrap();
        for cut in 0..body.len() {
            assert_eq!(entry(&body[..cut]), None);
        }
        for length in [0_u8, 1, 3, 255] {
            let mut bent = body.clone();
            bent[4] = length;
            assert_eq!(entry(&bent), None);
        }
        assert_eq!(entry(&[0xff; 64]), None);
        assert_eq!(
            request(
                1,
                &Tuple {
                    src_port: None,
                    ..sample()
                }
            ),
            None
        );
    }
}
