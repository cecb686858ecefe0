//! Transport headers.

use core::mem::offset_of;

use network_types::udp::UdpHdr;

use super::{
    ByteSource,
    icmp::{self, Icmp},
    protocol::{DCCP, ICMP, ICMPV6, SCTP, TCP, UDP, UDP_LITE},
    source::be16,
    tcp::{self, Tcp},
};

/// The two ports, host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
}

/// UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Udp {
    /// Ports.
    pub ports: Ports,
    /// Bytes of header and data, as the header says; 0 in jumbograms.
    pub length: Option<u16>,
}

/// A transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// UDP-Lite.
    UdpLite(Ports),
    /// SCTP.
    Sctp(Ports),
    /// DCCP.
    Dccp(Ports),
    /// ICMP.
    Icmp(Icmp),
    /// ICMPv6.
    Icmpv6(Icmp),
}

impl Transport {
    /// Ports, if the protocol has them.
    pub const fn ports(&self) -> Option<Ports> {
        match self {
            Self::Tcp(tcp) => Some(tcp.ports),
            Self::Udp(udp) => Some(udp.ports),
            Self::UdpLite(ports) | Self::Sctp(ports) | Self::Dccp(ports) => Some(*ports),
            Self::Icmp(_) | Self::Icmpv6(_) => None,
        }
    }

    /// ICMP or ICMPv6.
    pub const fn icmp(&self) -> Option<&Icmp> {
        match self {
            Self::Icmp(icmp) | Self::Icmpv6(icmp) => Some(icmp),
            _ => None,
        }
    }

    /// TCP.
    pub const fn tcp(&self) -> Option<&Tcp> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }
}

/// Reads the header that `bytes` begin with; `None` for other protocols, and if not even ports (or type and code) are there.
pub(super) fn parse(bytes: &[u8], protocol: u8) -> Option<Transport> {
    match protocol {
        TCP => tcp::parse(bytes).map(Transport::Tcp),
        UDP => udp(bytes).map(Transport::Udp),
        UDP_LITE => ports(bytes).map(Transport::UdpLite),
        SCTP => ports(bytes).map(Transport::Sctp),
        DCCP => ports(bytes).map(Transport::Dccp),
        ICMP => icmp::parse_v4(bytes).map(Transport::Icmp),
        ICMPV6 => icmp::parse_v6(bytes).map(Transport::Icmpv6),
        _ => None,
    }
}

/// The ports all these protocols begin with.
pub(super) fn ports(bytes: &[u8]) -> Option<Ports> {
    let [a, b, c, d] = bytes.read(0)?;
    Some(Ports {
        src: u16::from_be_bytes([a, b]),
        dst: u16::from_be_bytes([c, d]),
    })
}

fn udp(bytes: &[u8]) -> Option<Udp> {
    Some(Udp {
        ports: ports(bytes)?,
        length: be16(bytes, offset_of!(UdpHdr, len)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 8] = [0x14, 0xe9, 0, 53, 0, 40, 0x12, 0x34];
    const PORTS: Ports = Ports { src: 5353, dst: 53 };

    #[test]
    fn udp_header() {
        let udp = |length| {
            Some(Transport::Udp(Udp {
                ports: PORTS,
                length,
            }))
        };
        assert_eq!(parse(&HEADER, 17), udp(Some(40)));
        assert_eq!(parse(&HEADER[..5], 17), udp(None));
        assert_eq!(parse(&HEADER[..3], 17), None);
    }

    #[test]
    fn ports_only() {
        assert_eq!(parse(&HEADER, 132), Some(Transport::Sctp(PORTS)));
        assert_eq!(parse(&HEADER, 136), Some(Transport::UdpLite(PORTS)));
        assert_eq!(parse(&HEADER, 33), Some(Transport::Dccp(PORTS)));
        for protocol in [17, 132, 136, 33, 6] {
            let transport = parse(&HEADER, protocol);
            assert_eq!(transport.and_then(|t| t.ports()), Some(PORTS));
        }
    }

    #[test]
    fn others() {
        for protocol in [0, 2, 47, 50, 89, 255] {
            assert_eq!(parse(&HEADER, protocol), None);
        }
    }
}
