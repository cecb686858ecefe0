//! What a VXLAN packet carries (RFC 7348).

use std::net::{IpAddr, Ipv4Addr};

use dockernet_common::record::DropRecord;

/// UDP's header, bytes.
const UDP: usize = 8;
/// VXLAN's header, bytes.
const VXLAN: usize = 8;
/// Ethernet's header, bytes.
const ETHERNET: usize = 14;

/// A VXLAN header and the ends of the packet behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The network's number (VNI).
    pub id: u32,
    /// Source and destination of an IPv4 packet or of an ARP request inside.
    pub ends: Option<(IpAddr, IpAddr)>,
}

/// Reads the VXLAN header of a UDP packet; none where it is no such packet.
#[must_use]
pub fn carried(record: &DropRecord) -> Option<Carried> {
    let captured = record.headers.get(..usize::from(record.header_len))?;
    let ip = captured.get(usize::from(record.network)..)?;
    let udp = match (record.ethertype, ip.first()?) {
        (0x0800, first) if first >> 4 == 4 && *ip.get(9)? == 17 => {
            usize::from(first & 0xf).checked_mul(4)?
        }
        (0x86dd, first) if first >> 4 == 6 && *ip.get(6)? == 17 => 40,
        _ => return None,
    };
    let header = ip.get(udp.checked_add(UDP)?..)?;
    // Flags: only the I bit, and everything reserved zero, is what all senders write.
    let [8, 0, 0, 0, a, b, c, 0] = *header.first_chunk::<VXLAN>()? else {
        return None;
    };
    Some(Carried {
        id: u32::from_be_bytes([0, a, b, c]),
        ends: header.get(VXLAN..).and_then(ends),
    })
}

fn ends(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let ethertype = u16::from_be_bytes(*frame.get(12..)?.first_chunk()?);
    let rest = frame.get(ETHERNET..)?;
    let (source, destination) = match ethertype {
        0x0800 => (12, 16),
        0x0806 => (14, 24),
        _ => return None,
    };
    Some((v4(rest, source)?, v4(rest, destination)?))
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let [a, b, c, d] = *bytes.get(at..)?.first_chunk()?;
    Some(Ipv4Addr::new(a, b, c, d).into())
}
