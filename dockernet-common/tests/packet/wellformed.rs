//! Well-formed packets: a description each, and its bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use dockernet_common::packet::{Start, ethertype};

/// A whole frame.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Destination and source MAC address.
    pub(crate) link: Option<([u8; 6], [u8; 6])>,
    /// TPID and TCI; only with a link header.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) ip: IpPacket,
    /// Behind the packet's end, as Ethernet adds it to short frames.
    pub(crate) padding: Vec<u8>,
    /// Whether the skb has a network header, and with tags whether it points at the first of them.
    pub(crate) network: Option<bool>,
}

/// An IP header and what it carries.
#[derive(Clone, Debug)]
pub(crate) struct IpPacket {
    pub(crate) ip: Header,
    /// Identification, offset in bytes, more.
    pub(crate) fragment: Option<(u32, u16, bool)>,
    pub(crate) payload: Payload,
}

#[derive(Clone, Debug)]
pub(crate) enum Header {
    V4 {
        src: Ipv4Addr,
        dst: Ipv4Addr,
        ttl: u8,
        tos: u8,
        dont_fragment: bool,
        checksum: u16,
        options: Vec<[u8; 4]>,
    },
    V6 {
        src: Ipv6Addr,
        dst: Ipv6Addr,
        hop_limit: u8,
        traffic_class: u8,
        flow_label: u32,
        /// Number, and data in units of four bytes (AH) or eight.
        extensions: Vec<(u8, usize)>,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Tcp {
        ports: (u16, u16),
        seq: u32,
        ack: u32,
        flags: u8,
        window: u16,
    },
    Udp {
        ports: (u16, u16),
        length: u16,
    },
    /// Protocol number: SCTP, UDP-Lite or DCCP.
    Ports {
        protocol: u8,
        ports: (u16, u16),
    },
    Echo {
        reply: bool,
        id: u16,
        seq: u16,
    },
    /// "Fragmentation needed" or "packet too big".
    TooBig {
        mtu: u16,
        original: Box<IpPacket>,
    },
    Unreachable {
        code: u8,
        original: Box<IpPacket>,
    },
    /// Another protocol.
    Other(u8),
}

pub(crate) const AH: u8 = 51;
const FRAGMENT: u8 = 44;

impl Packet {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some((dst, src)) = self.link {
            bytes.extend(dst);
            bytes.extend(src);
            for (tpid, tci) in &self.tags {
                bytes.extend(tpid.to_be_bytes());
                bytes.extend(tci.to_be_bytes());
            }
            bytes.extend(self.inner_ethertype().to_be_bytes());
        }
        bytes.extend(self.ip.bytes());
        bytes.extend(&self.padding);
        bytes
    }

    pub(crate) fn start(&self) -> Start {
        let network = match self.network {
            _ if self.link.is_none() => Some(0),
            None => None,
            Some(at_first_tag) if at_first_tag && !self.tags.is_empty() => Some(14),
            Some(_) => Some(self.network_offset()),
        };
        Start {
            mac: self.link.map(|_| 0),
            network,
            // What it is before ip_rcv().
            transport: network,
            protocol: None,
        }
    }

    /// `skb->protocol`.
    pub(crate) fn ethertype(&self) -> u16 {
        let tag = self.tags.first().map(|(tpid, _)| *tpid);
        tag.unwrap_or(self.inner_ethertype())
    }

    pub(crate) fn inner_ethertype(&self) -> u16 {
        match self.ip.ip {
            Header::V4 { .. } => ethertype::IPV4,
            Header::V6 { .. } => ethertype::IPV6,
        }
    }

    pub(crate) fn network_offset(&self) -> usize {
        self.link.map_or(0, |_| 14 + 4 * self.tags.len())
    }
}

impl IpPacket {
    pub(crate) fn is_v4(&self) -> bool {
        matches!(self.ip, Header::V4 { .. })
    }

    pub(crate) fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|(_, offset, _)| offset != 0)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let payload = self.payload.bytes(self.is_v4());
        let protocol = self.payload.protocol(self.is_v4());
        let mut bytes = Vec::new();
        match &self.ip {
            Header::V4 {
                src,
                dst,
                ttl,
                tos,
                dont_fragment,
                checksum,
                options,
            } => {
                let header_len = 20 + 4 * options.len();
                let (id, offset, more) = self.fragment.unwrap_or((0, 0, false));
                let flags = u16::from(*dont_fragment) << 14 | u16::from(more) << 13;
                bytes.extend([0x40 | u8::try_from(header_len / 4).unwrap(), *tos]);
                bytes.extend(be16_len(header_len + payload.len()));
                bytes.extend(u16::try_from(id).unwrap().to_be_bytes());
                bytes.extend((flags | (offset / 8)).to_be_bytes());
                bytes.extend([*ttl, protocol]);
                bytes.extend(checksum.to_be_bytes());
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
                bytes.extend(options.as_flattened());
            }
            Header::V6 {
                src,
                dst,
                hop_limit,
                traffic_class,
                flow_label,
                ..
            } => {
                let numbers = self.extension_numbers();
                let chain = self.chain(&numbers, protocol);
                let first = 6 << 28 | u32::from(*traffic_class) << 20 | flow_label;
                bytes.extend(first.to_be_bytes());
                bytes.extend(be16_len(chain.len() + payload.len()));
                bytes.extend([numbers.first().copied().unwrap_or(protocol), *hop_limit]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
                bytes.extend(chain);
            }
        }
        bytes.extend(payload);
        bytes
    }

    /// IPv6 extension headers, the fragment header last.
    pub(crate) fn extension_numbers(&self) -> Vec<u8> {
        let Header::V6 { extensions, .. } = &self.ip else {
            return Vec::new();
        };
        let numbers = extensions.iter().map(|(number, _)| *number);
        numbers.chain(self.fragment.map(|_| FRAGMENT)).collect()
    }

    fn chain(&self, numbers: &[u8], protocol: u8) -> Vec<u8> {
        let Header::V6 { extensions, .. } = &self.ip else {
            return Vec::new();
        };
        let mut bytes = Vec::new();
        let mut following = numbers.iter().skip(1).copied().chain([protocol]);
        for (number, units) in extensions {
            let units_len = u8::try_from(*units).unwrap();
            bytes.push(following.next().unwrap());
            if *number == AH {
                // RFC 4302: the length in words less two; 12 bytes without check value.
                bytes.push(units_len + 1);
                bytes.extend(vec![0xa5; 10 + 4 * units]);
            } else {
                bytes.push(units_len);
                bytes.extend(vec![0xa5; 6 + 8 * units]);
            }
        }
        if let Some((id, offset, more)) = self.fragment {
            bytes.extend([following.next().unwrap(), 0]);
            bytes.extend((offset | u16::from(more)).to_be_bytes());
            bytes.extend(id.to_be_bytes());
        }
        bytes
    }
}

impl Payload {
    pub(crate) fn protocol(&self, v4: bool) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Ports { protocol, .. } | Self::Other(protocol) => *protocol,
            Self::Echo { .. } | Self::TooBig { .. } | Self::Unreachable { .. } if v4 => 1,
            Self::Echo { .. } | Self::TooBig { .. } | Self::Unreachable { .. } => 58,
        }
    }

    fn bytes(&self, v4: bool) -> Vec<u8> {
        match self {
            Self::Tcp {
                ports,
                seq,
                ack,
                flags,
                window,
            } => {
                let mut bytes = be_ports(*ports);
                bytes.extend(seq.to_be_bytes());
                bytes.extend(ack.to_be_bytes());
                bytes.extend([0x50, *flags]);
                bytes.extend(window.to_be_bytes());
                bytes.extend([0; 4]);
                bytes
            }
            Self::Udp { ports, length } => {
                let mut bytes = be_ports(*ports);
                bytes.extend(length.to_be_bytes());
                bytes.extend([0; 2]);
                bytes
            }
            Self::Ports { ports, .. } => {
                let mut bytes = be_ports(*ports);
                bytes.extend([0; 8]);
                bytes
            }
            Self::Echo { reply, id, seq } => {
                let icmp_type = match (v4, reply) {
                    (true, false) => 8,
                    (true, true) => 0,
                    (false, false) => 128,
                    (false, true) => 129,
                };
                let mut bytes = vec![icmp_type, 0, 0, 0];
                bytes.extend(id.to_be_bytes());
                bytes.extend(seq.to_be_bytes());
                bytes
            }
            Self::TooBig { mtu, original } => {
                let [high, low] = mtu.to_be_bytes();
                let (icmp_type, code) = if v4 { (3, 4) } else { (2, 0) };
                let mut bytes = vec![icmp_type, code, 0, 0, 0, 0, high, low];
                bytes.extend(original.bytes());
                bytes
            }
            Self::Unreachable { code, original } => {
                let mut bytes = vec![if v4 { 3 } else { 1 }, *code, 0, 0, 0, 0, 0, 0];
                bytes.extend(original.bytes());
                bytes
            }
            Self::Other(_) => vec![0x5a; 12],
        }
    }
}

fn be16_len(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap().to_be_bytes()
}

fn be_ports((src, dst): (u16, u16)) -> Vec<u8> {
    [src.to_be_bytes(), dst.to_be_bytes()].concat()
}
