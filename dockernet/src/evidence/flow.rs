//! Conntrack's tuples, and one id for a flow.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use dockernet_common::conntrack::RawTuple;

use crate::model::Tuple;

/// A raw tuple in the model's form.
pub(crate) fn tuple(raw: &RawTuple, icmp: bool) -> Option<Tuple> {
    let port = |bytes: [u8; 2]| Some(u16::from_be_bytes(bytes));
    Some(Tuple {
        src: address(raw.family, raw.src)?,
        src_port: port(raw.src_port),
        dst: address(raw.family, raw.dst)?,
        // For ICMP these bytes are type and code.
        dst_port: if icmp {
            port(raw.src_port)
        } else {
            port(raw.dst_port)
        },
    })
}

/// An address of family `AF_INET` or `AF_INET6`.
pub(crate) fn address(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, ..] = bytes;
    match family {
        2 => Some(Ipv4Addr::new(a, b, c, d).into()),
        10 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// One id for all packets of a flow, given its two outer ends: both directions and both sides of NAT share them.
pub(crate) fn flow_id(protocol: &str, mut ends: [(IpAddr, u16); 2]) -> String {
    ends.sort_unstable();
    // Fixed keys: the same flow has the same id in every run.
    let mut hasher = DefaultHasher::new();
    protocol.hash(&mut hasher);
    ends.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
