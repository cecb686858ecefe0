//! A hop record with its headers read: which flow, which packet of it, where.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
};

use dockernet_common::{
    conntrack::{RawTuple, info, status},
    hop::{HOP_BYTES, HopRecord, kind},
    packet::{Icmp, Ip, Parsed, Start, Transport, parse},
};

use crate::{
    evidence::packet::{described, protocol_name},
    model::{NetnsKey, Packet, Passage, address},
};

/// One direction of a flow as it is on the wire at some place. Ports are ids for ICMP echo, 0 where there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wire {
    pub protocol: u8,
    pub src: (IpAddr, u16),
    pub dst: (IpAddr, u16),
}

impl Wire {
    /// An end of it is a loopback address.
    pub(crate) fn is_loopback(&self) -> bool {
        self.src.0.is_loopback() || self.dst.0.is_loopback()
    }

    /// Without ports: what a later fragment shows of it.
    pub(crate) fn portless(self) -> Self {
        Self {
            protocol: self.protocol,
            src: (self.src.0, 0),
            dst: (self.dst.0, 0),
        }
    }

    /// What an answer looks like here.
    pub(crate) fn reversed(self) -> Self {
        Self {
            protocol: self.protocol,
            src: self.dst,
            dst: self.src,
        }
    }
}

/// What makes one packet of a flow that packet, and no router changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ident {
    /// IPv4 identification, or that of a fragment; 0 where there is none.
    pub ip_id: u32,
    /// Where a fragment belongs, in bytes.
    pub fragment: u16,
    /// TCP: sequence number, acknowledgement number, flags.
    pub tcp: Option<(u32, u32, u8)>,
    /// Payload bytes of the transport.
    pub payload: u32,
    /// Of what follows the ports: payload, ICMP type, code, sequence number, quoted packet.
    pub sum: u64,
}

/// The packet's conntrack entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tracked {
    pub original: Wire,
    pub reply: Wire,
    /// Bits of [`status`].
    pub status: u32,
    /// The packet goes the way of the answer.
    pub is_reply: bool,
    /// It speaks of the flow (an ICMP error) and is not of it.
    pub related: bool,
}

impl Tracked {
    pub(crate) fn is_translated(&self) -> bool {
        self.status & (status::SRC_NAT | status::DST_NAT) != 0
    }
}

/// A packet at a device.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub ktime_ns: u64,
    pub skb: u64,
    pub netns: NetnsKey,
    pub netns_inum: u32,
    pub ifindex: u32,
    pub device: String,
    pub passage: Passage,
    pub wire: Wire,
    /// The flow that an ICMP error speaks of, as the error quotes it.
    pub quoted: Option<Wire>,
    pub ident: Ident,
    pub tracked: Option<Tracked>,
    pub packet: Packet,
}

impl Observation {
    /// Multicast, and what IPv6 neighbours tell each other (RFC 4861): part of no flow between two ends.
    pub(crate) fn is_housekeeping(&self) -> bool {
        let discovery =
            self.packet.icmp.as_ref().is_some_and(|icmp| {
                self.wire.protocol == 58 && (133..=137).contains(&icmp.icmp_type)
            });
        discovery || self.wire.dst.0.is_multicast()
    }
}

/// Reads a record; none for what is no IP packet.
pub(crate) fn observation(record: &HopRecord) -> Option<Observation> {
    let bytes = record
        .headers
        .get(..usize::from(record.header_len))
        .unwrap_or(&record.headers);
    let start = Start {
        network: Some(0),
        ..Start::default()
    };
    let parsed = parse(bytes, start, record.ethertype);
    let ip = parsed.ip()?;
    let mut packet = described(&parsed);
    packet.length = total_length(ip).unwrap_or(record.len);
    packet.ethertype = format!("0x{:04x}", record.ethertype);
    Some(Observation {
        ktime_ns: record.ktime_ns,
        skb: record.skb,
        netns: NetnsKey(record.netns),
        netns_inum: record.netns_inum,
        ifindex: record.ifindex,
        device: device(&record.device),
        passage: if record.kind == kind::SENT {
            Passage::Out
        } else {
            Passage::In
        },
        wire: wire(ip, parsed.transport.as_ref())?,
        quoted: parsed
            .original
            .as_ref()
            .and_then(|original| wire(&original.ip, original.transport.as_ref())),
        ident: ident(&parsed, ip, bytes, packet.length),
        tracked: tracked(record),
        packet,
    })
}

/// Headers of a drop's packet in the same terms.
pub(crate) fn of_drop(
    record: &dockernet_common::record::DropRecord,
) -> Option<(Wire, Option<Wire>, Ident)> {
    let bytes = record
        .headers
        .get(..usize::from(record.header_len))
        .unwrap_or(&record.headers);
    let bytes = bytes.get(usize::from(record.network)..)?;
    // No more than a hop shows, or the sums over the payload would differ.
    let bytes = bytes.get(..HOP_BYTES).unwrap_or(bytes);
    let start = Start {
        network: Some(0),
        ..Start::default()
    };
    let parsed = parse(bytes, start, record.ethertype);
    let ip = parsed.ip()?;
    let length = total_length(ip).unwrap_or(record.len);
    let quoted = parsed
        .original
        .as_ref()
        .and_then(|original| wire(&original.ip, original.transport.as_ref()));
    Some((
        wire(ip, parsed.transport.as_ref())?,
        quoted,
        ident(&parsed, ip, bytes, length),
    ))
}

/// A tuple of conntrack's in the same terms.
pub(crate) fn of_tuple(raw: &RawTuple) -> Option<Wire> {
    let port = u16::from_be_bytes;
    let (src_port, dst_port) = if is_icmp(raw.protocol) {
        // The other two bytes are type and code.
        (port(raw.src_port), port(raw.src_port))
    } else {
        (port(raw.src_port), port(raw.dst_port))
    };
    Some(Wire {
        protocol: raw.protocol,
        src: (address(raw.family, raw.src)?, src_port),
        dst: (address(raw.family, raw.dst)?, dst_port),
    })
}

/// Name of a wire's protocol.
pub(crate) fn protocol(wire: &Wire) -> String {
    protocol_name(wire.protocol).into_owned()
}

fn is_icmp(protocol: u8) -> bool {
    matches!(protocol, 1 | 58)
}

fn tracked(record: &HopRecord) -> Option<Tracked> {
    let entry = &record.conntrack;
    if record.tracked == 0 || entry.info == info::UNTRACKED {
        return None;
    }
    Some(Tracked {
        original: of_tuple(&entry.original)?,
        reply: of_tuple(&entry.reply)?,
        status: entry.status,
        is_reply: entry.info >= info::IS_REPLY,
        related: matches!(entry.info % info::IS_REPLY, info::RELATED),
    })
}

fn wire(ip: &Ip, transport: Option<&Transport>) -> Option<Wire> {
    let ports = match transport {
        Some(Transport::Icmp(icmp) | Transport::Icmpv6(icmp)) => icmp.id.map(|id| (id, id)),
        Some(transport) => transport.ports().map(|ports| (ports.src, ports.dst)),
        None => None,
    };
    let (src_port, dst_port) = ports.unwrap_or((0, 0));
    Some(Wire {
        protocol: ip.protocol()?,
        src: (ip.src(), src_port),
        dst: (ip.dst(), dst_port),
    })
}

fn ident(parsed: &Parsed, ip: &Ip, bytes: &[u8], length: u32) -> Ident {
    let mut sum = DefaultHasher::new();
    let begin = transport_begin(ip, bytes);
    let behind = |header: usize| bytes.get(begin + header..).unwrap_or(&[]);
    let (tcp, header) = match parsed.transport.as_ref() {
        Some(Transport::Tcp(tcp)) => {
            let words = bytes.get(begin + 12).map_or(5, |byte| byte >> 4);
            let flags = tcp.flags.map_or(0, |flags| flags.0);
            let numbers = (tcp.seq.unwrap_or(0), tcp.ack.unwrap_or(0), flags);
            (Some(numbers), usize::from(words) * 4)
        }
        Some(Transport::Udp(_) | Transport::UdpLite(_)) => {
            behind(8).hash(&mut sum);
            (None, 8)
        }
        Some(Transport::Icmp(icmp) | Transport::Icmpv6(icmp)) => {
            message(icmp, parsed, &mut sum);
            (None, 8)
        }
        _ => (None, 0),
    };
    let fragment = match ip {
        Ip::V4(ip) => ip.fragment(),
        Ip::V6(ip) => ip.fragment,
    };
    let taken = u32::try_from(begin + header).unwrap_or(u32::MAX);
    Ident {
        ip_id: match ip {
            Ip::V4(ip) => ip.id.into(),
            Ip::V6(_) => fragment.map_or(0, |fragment| fragment.id),
        },
        fragment: fragment.map_or(0, |fragment| fragment.offset),
        tcp,
        payload: length.saturating_sub(taken),
        sum: sum.finish(),
    }
}

/// A quoted packet's addresses are translated with the message: only what stays the same counts.
fn message(icmp: &Icmp, parsed: &Parsed, sum: &mut DefaultHasher) {
    (icmp.icmp_type, icmp.code, icmp.seq).hash(sum);
    if let Some(original) = &parsed.original {
        if let Ip::V4(ip) = &original.ip {
            ip.id.hash(sum);
        }
        if let Some(Transport::Tcp(tcp)) = &original.transport {
            tcp.seq.hash(sum);
        }
    }
}

/// Offset of the transport header.
fn transport_begin(ip: &Ip, bytes: &[u8]) -> usize {
    match ip {
        Ip::V4(ip) => usize::from(ip.header_len),
        Ip::V6(ip) => {
            // Extension headers say their own length; each was read by the parser already.
            let (mut at, mut next) = (40, ip.next_header);
            for _ in ip.extensions.as_slice() {
                let Some(&[following, length]) =
                    bytes.get(at..at + 2).and_then(|two| two.first_chunk::<2>())
                else {
                    break;
                };
                at += match next {
                    44 => 8,
                    51 => (usize::from(length) + 2) * 4,
                    _ => (usize::from(length) + 1) * 8,
                };
                next = following;
            }
            at
        }
    }
}

/// From the IP header on; none where the header does not say (packets above 64 KiB).
fn total_length(ip: &Ip) -> Option<u32> {
    match ip {
        Ip::V4(ip) => (ip.total_len > 0).then_some(ip.total_len.into()),
        Ip::V6(ip) => (ip.payload_len > 0).then(|| u32::from(ip.payload_len) + 40),
    }
}

fn device(name: &[u8; 16]) -> String {
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    String::from_utf8_lossy(name.get(..end).unwrap_or(name)).into_owned()
}
