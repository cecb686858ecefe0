//! ICMP and ICMPv6 messages.

use core::{
    mem::offset_of,
    net::{IpAddr, Ipv6Addr},
};

use network_types::icmp::{Icmpv4Hdr, Icmpv4Type, Icmpv6Hdr, Icmpv6Type};

use super::{
    ByteSource, ethertype,
    ip::{self, Ip},
    source::{be16, be32},
    transport::{self, Transport},
};

const V4_ECHO_REPLY: u8 = Icmpv4Type::EchoReply as u8;
const V4_UNREACHABLE: u8 = Icmpv4Type::DestinationUnreachable as u8;
// network-types lacks the next two (RFC 792).
const V4_SOURCE_QUENCH: u8 = 4;
const V4_TIME_EXCEEDED: u8 = 11;
const V4_REDIRECT: u8 = Icmpv4Type::Redirect as u8;
const V4_ECHO: u8 = Icmpv4Type::Echo as u8;
const V4_PARAMETER_PROBLEM: u8 = Icmpv4Type::ParameterProblem as u8;
const V4_TIMESTAMP: u8 = Icmpv4Type::Timestamp as u8;
const V4_ADDRESS_MASK_REPLY: u8 = Icmpv4Type::AddressMaskReply as u8;
/// Code of [`V4_UNREACHABLE`]: fragmentation needed and "don't fragment" set.
const V4_FRAGMENTATION_NEEDED: u8 = 4;

// network-types lacks these too (RFC 4443, RFC 4861).
const V6_UNREACHABLE: u8 = 1;
const V6_NEIGHBOUR_SOLICITATION: u8 = 135;
const V6_NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const V6_PACKET_TOO_BIG: u8 = Icmpv6Type::PacketTooBig as u8;
const V6_PARAMETER_PROBLEM: u8 = Icmpv6Type::ParameterProblem as u8;
const V6_ECHO_REQUEST: u8 = Icmpv6Type::EchoRequest as u8;
const V6_ECHO_REPLY: u8 = Icmpv6Type::EchoReply as u8;
const V6_REDIRECT: u8 = Icmpv6Type::RedirectMessage as u8;

/// Where the four bytes begin whose meaning depends on the type.
const DATA: usize = offset_of!(Icmpv4Hdr, data);
/// Where the quoted packet, or neighbour discovery's target, begins.
const BODY: usize = Icmpv4Hdr::LEN;
const _: () = assert!(DATA == offset_of!(Icmpv6Hdr, data) && BODY == Icmpv6Hdr::LEN);

/// ICMP or ICMPv6 header. What the type does not have, or is cut off, is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Icmp {
    /// Type number.
    pub icmp_type: u8,
    /// Code number.
    pub code: u8,
    /// Identifier of echo, timestamp, information and address mask messages.
    pub id: Option<u16>,
    /// Sequence number of the same.
    pub seq: Option<u16>,
    /// Next hop's MTU in bytes: "fragmentation needed" (0 from very old routers) and "packet too big".
    pub mtu: Option<u32>,
    /// Redirect: the better gateway.
    pub gateway: Option<IpAddr>,
    /// Neighbour solicitation and advertisement: the address asked for.
    pub target: Option<Ipv6Addr>,
}

/// The packet an ICMP error complains about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Original {
    /// Its IP header.
    pub ip: Ip,
    /// As much of its transport header as is quoted. An error within an error is not opened again.
    pub transport: Option<Transport>,
}

/// Reads the ICMP message that `bytes` begin with.
pub(super) fn parse_v4(bytes: &[u8]) -> Option<Icmp> {
    let [icmp_type, code] = bytes.read(0)?;
    let mut icmp = Icmp {
        icmp_type,
        code,
        ..Icmp::default()
    };
    match (icmp_type, code) {
        (V4_ECHO_REPLY | V4_ECHO | V4_TIMESTAMP..=V4_ADDRESS_MASK_REPLY, _) => {
            echo(bytes, &mut icmp);
        }
        (V4_UNREACHABLE, V4_FRAGMENTATION_NEEDED) => {
            icmp.mtu = be16(bytes, DATA + 2).map(u32::from);
        }
        (V4_REDIRECT, _) => icmp.gateway = bytes.read::<4>(DATA).map(IpAddr::from),
        _ => {}
    }
    Some(icmp)
}

/// Reads the ICMPv6 message that `bytes` begin with.
pub(super) fn parse_v6(bytes: &[u8]) -> Option<Icmp> {
    let [icmp_type, code] = bytes.read(0)?;
    let mut icmp = Icmp {
        icmp_type,
        code,
        ..Icmp::default()
    };
    match icmp_type {
        V6_ECHO_REQUEST | V6_ECHO_REPLY => echo(bytes, &mut icmp),
        V6_PACKET_TOO_BIG => icmp.mtu = be32(bytes, DATA),
        V6_REDIRECT => icmp.gateway = bytes.read::<16>(BODY).map(IpAddr::from),
        V6_NEIGHBOUR_SOLICITATION | V6_NEIGHBOUR_ADVERTISEMENT => {
            icmp.target = bytes.read::<16>(BODY).map(Ipv6Addr::from);
        }
        _ => {}
    }
    Some(icmp)
}

fn echo(bytes: &[u8], icmp: &mut Icmp) {
    icmp.id = be16(bytes, DATA);
    icmp.seq = be16(bytes, DATA + 2);
}

/// Reads the packet that the message `bytes` begin with complains about, if `transport` is an error message.
pub(super) fn original(bytes: &[u8], transport: &Transport) -> Option<Original> {
    let ethertype = match transport {
        Transport::Icmp(icmp) => match icmp.icmp_type {
            V4_UNREACHABLE | V4_SOURCE_QUENCH | V4_REDIRECT | V4_TIME_EXCEEDED
            | V4_PARAMETER_PROBLEM => ethertype::IPV4,
            _ => return None,
        },
        Transport::Icmpv6(icmp) => match icmp.icmp_type {
            V6_UNREACHABLE..=V6_PARAMETER_PROBLEM => ethertype::IPV6,
            _ => return None,
        },
        _ => return None,
    };
    let (ip, payload) = ip::parse(bytes.get(BODY..)?, ethertype)?;
    let transport = ip
        .protocol()
        .and_then(|protocol| transport::parse(payload?, protocol));
    Some(Original { ip, transport })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn echo_has_id_and_sequence() {
        let icmp = parse_v4(&[8, 0, 0x12, 0x34, 0xab, 0xcd, 0, 7]).unwrap();
        assert_eq!((icmp.icmp_type, icmp.code), (8, 0));
        assert_eq!((icmp.id, icmp.seq), (Some(0xabcd), Some(7)));
        let icmp = parse_v6(&[129, 0, 0x12, 0x34, 0xab, 0xcd]).unwrap();
        assert_eq!((icmp.id, icmp.seq), (Some(0xabcd), None));
        assert_eq!(parse_v4(&[8]), None);
    }

    #[test]
    fn mtu() {
        let bytes = [3, 4, 0, 0, 0, 0, 0x05, 0x78];
        assert_eq!(parse_v4(&bytes).unwrap().mtu, Some(1400));
        let port_unreachable = [3, 3, 0, 0, 0, 0, 0x05, 0x78];
        let icmp = parse_v4(&port_unreachable).unwrap();
        assert_eq!((icmp.mtu, icmp.id, icmp.gateway), (None, None, None));
        let bytes = [2, 0, 0, 0, 0, 0, 0x05, 0];
        assert_eq!(parse_v6(&bytes).unwrap().mtu, Some(1280));
    }

    #[test]
    fn gateway_and_target() {
        let icmp = parse_v4(&[5, 1, 0, 0, 192, 0, 2, 254]).unwrap();
        assert_eq!(icmp.gateway, Some(Ipv4Addr::new(192, 0, 2, 254).into()));
        let address: Ipv6Addr = "2001:db8::fe".parse().unwrap();
        let mut bytes = vec![135, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(address.octets());
        let icmp = parse_v6(&bytes).unwrap();
        assert_eq!((icmp.target, icmp.gateway), (Some(address), None));
        bytes[0] = 137;
        let icmp = parse_v6(&bytes).unwrap();
        assert_eq!((icmp.target, icmp.gateway), (None, Some(address.into())));
        assert_eq!(parse_v6(&bytes[..23]).unwrap().gateway, None);
    }

    /// Port unreachable for UDP 192.0.2.1:5353 → 198.51.100.2:53.
    const PORT_UNREACHABLE: [u8; 36] = [
        3, 3, 0, 0, 0, 0, 0, 0, // the message
        0x45, 0, 0, 68, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, // what it
        0x14, 0xe9, 0, 53, 0, 48, 0, 0, // quotes
    ];

    #[test]
    fn quoted_packet() {
        let transport = Transport::Icmp(parse_v4(&PORT_UNREACHABLE).unwrap());
        let quoted = original(&PORT_UNREACHABLE, &transport).unwrap();
        assert_eq!(quoted.ip.src(), Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(quoted.ip.dst(), Ipv4Addr::new(198, 51, 100, 2));
        let ports = quoted.transport.unwrap().ports().unwrap();
        assert_eq!((ports.src, ports.dst), (5353, 53));
        let cut = original(&PORT_UNREACHABLE[..30], &transport).unwrap();
        assert_eq!(cut.transport, None);
        assert_eq!(original(&PORT_UNREACHABLE[..27], &transport), None);
        let mut echo = PORT_UNREACHABLE;
        echo[0] = 8;
        let transport = Transport::Icmp(parse_v4(&echo).unwrap());
        assert_eq!(original(&echo, &transport), None);
    }
}
