//! One direction of a flow, as conntrack tells flows apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dockernet_common::conntrack::{AF_INET, AF_INET6, RawTuple};
use serde::{Deserialize, Serialize};

/// IP protocol numbers of ICMP and ICMPv6: conntrack's "ports" are an id, a type and a code there.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Echo requests.
const ECHO: u8 = 8;
const ECHO_V6: u8 = 128;

/// One direction of a conntrack entry. Ports are ids for ICMP echo.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Source port.
    pub src_port: Option<u16>,
    /// Destination address.
    pub dst: IpAddr,
    /// Destination port.
    pub dst_port: Option<u16>,
}

impl Tuple {
    /// A raw tuple; none for a family that is not IP.
    pub(crate) fn of(raw: &RawTuple) -> Option<Self> {
        let port = |bytes: [u8; 2]| Some(u16::from_be_bytes(bytes));
        let is_icmp = matches!(raw.protocol, ICMP | ICMPV6);
        Some(Self {
            src: address(raw.family, raw.src)?,
            src_port: port(raw.src_port),
            dst: address(raw.family, raw.dst)?,
            dst_port: port(if is_icmp { raw.src_port } else { raw.dst_port }),
        })
    }

    /// The other way round.
    #[must_use]
    pub(crate) fn turned(&self) -> Self {
        Self {
            src: self.dst,
            src_port: self.dst_port,
            dst: self.src,
            dst_port: self.src_port,
        }
    }

    /// As conntrack holds it, an ICMP one as that of an echo request. None without ports, or with two families.
    pub(crate) fn raw(&self, protocol: u8) -> Option<RawTuple> {
        let family = match (self.src, self.dst) {
            (IpAddr::V4(_), IpAddr::V4(_)) => AF_INET,
            (IpAddr::V6(_), IpAddr::V6(_)) => AF_INET6,
            _ => return None,
        };
        Some(RawTuple {
            family,
            protocol,
            src: bytes(self.src),
            dst: bytes(self.dst),
            src_port: self.src_port?.to_be_bytes(),
            dst_port: match protocol {
                ICMP => [ECHO, 0],
                ICMPV6 => [ECHO_V6, 0],
                _ => self.dst_port?.to_be_bytes(),
            },
            ..RawTuple::default()
        })
    }
}

/// An address of family `AF_INET` or `AF_INET6`.
pub(crate) fn address(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, ..] = bytes;
    match family {
        AF_INET => Some(Ipv4Addr::new(a, b, c, d).into()),
        AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn there_and_back() {
        for (src, dst) in [
            ("198.51.100.20", "198.51.100.10"),
            ("2001:db8::1", "2001:db8::2"),
        ] {
            for protocol in [6, 17, ICMP, ICMPV6] {
                let is_icmp = matches!(protocol, ICMP | ICMPV6);
                let tuple = Tuple {
                    src: src.parse().unwrap(),
                    src_port: Some(40_000),
                    dst: dst.parse().unwrap(),
                    dst_port: Some(if is_icmp { 40_000 } else { 53 }),
                };
                let raw = tuple.raw(protocol).unwrap();
                assert_eq!(Tuple::of(&raw).unwrap(), tuple);
            }
        }
    }

    #[test]
    fn what_is_no_tuple() {
        let tuple = Tuple {
            src: "198.51.100.20".parse().unwrap(),
            src_port: None,
            dst: "198.51.100.10".parse().unwrap(),
            dst_port: Some(53),
        };
        assert_eq!(tuple.raw(17), None);
        let mixed = Tuple {
            src: "2001:db8::1".parse().unwrap(),
            src_port: Some(1),
            ..tuple
        };
        assert_eq!(mixed.raw(17), None);
        assert_eq!(Tuple::of(&RawTuple::default()), None);
    }
}
