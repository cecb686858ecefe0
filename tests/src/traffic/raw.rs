//! Datagrams written by hand: any source, any checksum.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Outcome, Probe};

/// The Internet checksum (RFC 1071).
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

pub(super) fn probe(probe: &Probe, good_checksum: bool) -> Result<Outcome> {
    let (IpAddr::V4(to), IpAddr::V4(source)) = (
        probe.to.ip(),
        probe.source.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    ) else {
        bail!("raw datagrams are IPv4 only, not to {}", probe.to);
    };
    // IPPROTO_RAW: the packet brings its own header; the kernel fills in length, checksum and id.
    let socket = Socket::new(
        Domain::IPV4,
        Type::RAW,
        Some(Protocol::from(libc::IPPROTO_RAW)),
    )?;
    let packet = datagram(probe, source, to, good_checksum);
    for _ in 0..probe.count {
        if let Err(error) = socket.send_to(&packet, &probe.to.into()) {
            return Ok(Outcome::of_error(&error));
        }
    }
    Ok(Outcome::Sent)
}

fn datagram(probe: &Probe, source: Ipv4Addr, to: Ipv4Addr, good_checksum: bool) -> Vec<u8> {
    let length = u16::try_from(8 + probe.size)
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let ttl = u8::try_from(probe.ttl.unwrap_or(64)).unwrap_or(u8::MAX);
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, ttl, 17, 0, 0];
    packet.extend(source.octets());
    packet.extend(to.octets());
    let start = packet.len();
    packet.extend(40_000_u16.to_be_bytes());
    packet.extend(probe.to.port().to_be_bytes());
    packet.extend(length);
    packet.extend([0, 0]);
    packet.resize(start + 8 + probe.size, b'r');
    let mut pseudo = Vec::new();
    pseudo.extend(source.octets());
    pseudo.extend(to.octets());
    pseudo.extend([0, 17]);
    pseudo.extend(length);
    pseudo.extend(&packet[start..]);
    let mut sum = checksum(&pseudo);
    if !good_checksum {
        sum = sum.wrapping_add(1).max(1);
    }
    packet[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
    packet
}
