//! ARP for IPv4 over Ethernet.

use core::{mem::offset_of, net::Ipv4Addr};

use network_types::arp::ArpHdr;

use super::{ByteSource, ethertype, source::be16};

/// ARP message. The addresses are there only for IPv4 over six-byte MAC addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arp {
    /// 1 request, 2 reply; others are rare.
    pub operation: u16,
    /// Who asks or answers.
    pub sender_mac: Option<[u8; 6]>,
    /// Address of who asks or answers; 0.0.0.0 in a probe.
    pub sender_ip: Option<Ipv4Addr>,
    /// All zero in a request.
    pub target_mac: Option<[u8; 6]>,
    /// Address asked for.
    pub target_ip: Option<Ipv4Addr>,
}

/// Reads the ARP message that `bytes` begin with.
pub(super) fn parse(bytes: &[u8]) -> Option<Arp> {
    let operation = be16(bytes, offset_of!(ArpHdr, oper))?;
    let known = be16(bytes, offset_of!(ArpHdr, ptype)) == Some(ethertype::IPV4)
        && bytes.read(offset_of!(ArpHdr, hlen)) == Some([6, 4]);
    let body = if known { bytes } else { &[] };
    Some(Arp {
        operation,
        sender_mac: body.read(offset_of!(ArpHdr, sha)),
        sender_ip: body.read(offset_of!(ArpHdr, spa)).map(<[u8; 4]>::into),
        target_mac: body.read(offset_of!(ArpHdr, tha)),
        target_ip: body.read(offset_of!(ArpHdr, tpa)).map(<[u8; 4]>::into),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Who has 172.17.0.2, tell 172.17.0.1.
    const REQUEST: [u8; 28] = [
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0x42, 1, 2, 3, 4, 172, 17, 0, 1, 0, 0, 0, 0, 0, 0, 172, 17, 0, 2,
    ];

    #[test]
    fn request() {
        assert_eq!(
            parse(&REQUEST),
            Some(Arp {
                operation: 1,
                sender_mac: Some([2, 0x42, 1, 2, 3, 4]),
                sender_ip: Some(Ipv4Addr::new(172, 17, 0, 1)),
                target_mac: Some([0; 6]),
                target_ip: Some(Ipv4Addr::new(172, 17, 0, 2)),
            })
        );
    }

    #[test]
    fn cut_and_foreign() {
        let cut = parse(&REQUEST[..20]).unwrap();
        assert_eq!(cut.sender_ip, Some(Ipv4Addr::new(172, 17, 0, 1)));
        assert_eq!((cut.target_mac, cut.target_ip), (None, None));
        assert_eq!(parse(&REQUEST[..7]), None);
        let mut infiniband = REQUEST;
        infiniband[4] = 20;
        let arp = parse(&infiniband).unwrap();
        assert_eq!(
            (arp.operation, arp.sender_mac, arp.target_ip),
            (1, None, None)
        );
    }
}
