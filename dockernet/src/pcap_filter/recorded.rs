//! A packet of a recording as the kernel half's expression saw it when it died.
//!
//! What `replay --filter` accepts is what the kernel would have accepted, up to what a recording keeps of a packet: its first
//! bytes. Of packets that were only counted there are the ends alone.

use std::net::IpAddr;

use super::Expression;
use crate::model::{Capture, Drop, LinkType, Packet, Tuple};

const ETHERNET: usize = 14;
/// EtherTypes of VLAN tags (802.1Q, 802.1ad).
const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

impl Expression {
    /// Whether it accepts a dropped packet as it was, or with the addresses and ports that it had before NAT or has after.
    #[must_use]
    pub fn accepts_drop(&self, drop: &Drop) -> bool {
        let Some(packet) = &drop.packet else {
            return false;
        };
        let forms = forms(drop, packet);
        let Some(capture) = &drop.capture else {
            let own = ends(packet);
            return own
                .iter()
                .chain(&forms)
                .any(|ends| self.accepts_opening(&packet.protocol, ends));
        };
        let (mut frame, network, added) = framed(capture, packet);
        let length = capture
            .length
            .saturating_add(u32::try_from(added).unwrap_or(0));
        self.accepts(&frame, length)
            || forms.iter().any(|form| {
                wear(&mut frame, network, form);
                self.accepts(&frame, length)
            })
    }
}

/// A packet's own ends, if it has addresses.
fn ends(packet: &Packet) -> Option<Tuple> {
    Some(Tuple {
        src: packet.src?,
        src_port: packet.src_port,
        dst: packet.dst?,
        dst_port: packet.dst_port,
    })
}

/// The ends that NAT gives the packet, or took from it; none for an ICMP error, which carries the entry of another flow.
fn forms(drop: &Drop, packet: &Packet) -> Vec<Tuple> {
    let (Some(nat), Some(own)) = (&drop.nat, ends(packet)) else {
        return Vec::new();
    };
    // The container that the flow was for may have sent it.
    if packet
        .icmp
        .as_ref()
        .is_some_and(|icmp| icmp.inner.is_some())
    {
        return Vec::new();
    }
    [
        [nat.original.clone(), nat.reply.turned()],
        [nat.reply.clone(), nat.original.turned()],
    ]
    .into_iter()
    .filter(|[before, after]| {
        // Each end is translated at a place of its own: the packet may have one end of each.
        [before.src, after.src].contains(&own.src) && [before.dst, after.dst].contains(&own.dst)
    })
    .flatten()
    .collect()
}

/// The packet as an Ethernet frame, where its network header is, and how many bytes were put before it: a header where it had
/// none, and the tag that the device had taken out.
fn framed(capture: &Capture, packet: &Packet) -> (Vec<u8>, usize, usize) {
    let mut frame = match capture.link {
        LinkType::Ethernet => capture.bytes.clone(),
        LinkType::Ip | LinkType::Other => {
            let mut frame = vec![0; ETHERNET];
            let ethertype = packet
                .ethertype
                .strip_prefix("0x")
                .and_then(|digits| u16::from_str_radix(digits, 16).ok())
                .unwrap_or(0);
            frame[12..].copy_from_slice(&ethertype.to_be_bytes());
            frame.extend_from_slice(&capture.bytes);
            frame
        }
    };
    let tags = |frame: &[u8]| {
        let types = frame.get(12..).unwrap_or_default().chunks(4);
        types
            .take_while(|tag| TAGS.iter().any(|kind| tag.starts_with(kind)))
            .count()
    };
    if let Some(vlan) = packet.vlan
        && tags(&frame) == 0
        && frame.len() >= ETHERNET
    {
        let [high, low] = vlan.to_be_bytes();
        frame.splice(12..12, [0x81, 0x00, high, low]);
    }
    let network = ETHERNET + 4 * tags(&frame);
    let added = frame.len().saturating_sub(capture.bytes.len());
    (frame, network, added)
}

/// Puts other ends into a frame.
fn wear(frame: &mut [u8], network: usize, ends: &Tuple) {
    let Some(header) = frame.get_mut(network..) else {
        return;
    };
    let first = header.first().copied().unwrap_or(0);
    let (at, protocol, transport, has_ports) = match (first >> 4, ends.src) {
        (4, IpAddr::V4(_)) => {
            let fragment = header
                .get(6..8)
                .is_some_and(|bytes| bytes[0] & 0x1f != 0 || bytes[1] != 0);
            (12, header.get(9), usize::from(first & 0xf) * 4, !fragment)
        }
        (6, IpAddr::V6(_)) => (8, header.get(6), 40, true),
        _ => return,
    };
    let has_ports =
        has_ports && protocol.is_some_and(|&number| dockernet_common::packet::has_ports(number));
    let addresses = [ends.src, ends.dst].map(|address| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    });
    put(header, at, &addresses.concat());
    if has_ports {
        let ports = [ends.src_port, ends.dst_port].map(|port| port.unwrap_or(0).to_be_bytes());
        put(header, transport, &ports.concat());
    }
}

/// As much of it as there is room for.
fn put(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(with) {
        *place = *byte;
    }
}
