//! Parsed headers to what is shown.

use std::{borrow::Cow, net::IpAddr};

use dockernet_common::{
    packet::{Icmp as ParsedIcmp, Ip, Network, Original, Parsed, Start, Transport, parse},
    record::{DropRecord, UNSET},
};

use crate::model::{Icmp, Packet};

/// Parses what the record carries.
pub(super) fn parsed(record: &DropRecord) -> Parsed {
    let bytes = record
        .headers
        .get(..usize::from(record.header_len))
        .unwrap_or(&record.headers);
    let offset = |at: u16| (at != UNSET).then_some(usize::from(at));
    let whole = parse(
        bytes,
        Start {
            mac: offset(record.mac),
            network: offset(record.network),
            ..Start::default()
        },
        record.ethertype,
    );
    if whole.network.is_some() || offset(record.transport).is_none() {
        return whole;
    }
    // It died before it got its IP header: only the socket's part is there.
    let transport = parse(
        bytes,
        Start {
            transport: offset(record.transport),
            protocol: (record.key.protocol != 0).then_some(record.key.protocol),
            ..Start::default()
        },
        record.ethertype,
    );
    if transport.transport.is_some() {
        transport
    } else {
        whole
    }
}

/// The packet as it is shown.
pub(super) fn shown(record: &DropRecord, parsed: &Parsed) -> Packet {
    let mut packet = described(parsed);
    packet.length = length(record, parsed);
    packet.mark = record.mark;
    packet.pkt_type = pkt_type(record.pkt_type).into();
    if let Some(link) = &parsed.link {
        packet.src_mac = Some(mac(link.src));
        packet.dst_mac = Some(mac(link.dst));
    }
    packet.ethertype = format!("0x{:04x}", record.ethertype);
    packet.vlan = if record.vlan_proto == 0 {
        parsed.vlans.as_slice().first().map(|tag| tag.id())
    } else {
        Some(record.vlan_tci & 0xfff)
    };
    packet
}

/// What the headers alone tell.
pub(crate) fn described(parsed: &Parsed) -> Packet {
    let mut packet = headers(parsed.network.as_ref(), parsed.transport.as_ref());
    if let Some(Transport::Icmp(icmp) | Transport::Icmpv6(icmp)) = &parsed.transport {
        packet.icmp = Some(shown_icmp(icmp, parsed.original.as_ref()));
    }
    packet
}

/// From the network header on: the IP header says so; `skb->len` may still count the link header.
pub(super) fn length(record: &DropRecord, parsed: &Parsed) -> u32 {
    match &parsed.network {
        Some(Network::Ip(Ip::V4(ip))) if ip.total_len > 0 => ip.total_len.into(),
        Some(Network::Ip(Ip::V6(ip))) if ip.payload_len > 0 => u32::from(ip.payload_len) + 40,
        _ => record.len,
    }
}

fn headers(network: Option<&Network>, transport: Option<&Transport>) -> Packet {
    let mut packet = Packet {
        family: "other".into(),
        protocol: "other".into(),
        ..Packet::default()
    };
    match network {
        Some(Network::Ip(ip)) => ip_fields(&mut packet, ip, transport),
        Some(Network::Arp(arp)) => {
            packet.family = "arp".into();
            packet.protocol = "arp".into();
            packet.src = arp.sender_ip.map(IpAddr::V4);
            packet.dst = arp.target_ip.map(IpAddr::V4);
        }
        None => {}
    }
    if let Some(ports) = transport.and_then(Transport::ports) {
        packet.src_port = Some(ports.src);
        packet.dst_port = Some(ports.dst);
        if network.is_none() {
            packet.protocol = transport.map_or("other", transport_name).into();
        }
    }
    packet.tcp_flags = transport
        .and_then(Transport::tcp)
        .and_then(|tcp| tcp.flags)
        .map(|flags| flags.to_string());
    packet
}

fn ip_fields(packet: &mut Packet, ip: &Ip, transport: Option<&Transport>) {
    packet.family = match ip {
        Ip::V4(_) => "ipv4",
        Ip::V6(_) => "ipv6",
    }
    .into();
    packet.src = Some(ip.src());
    packet.dst = Some(ip.dst());
    packet.ttl = Some(ip.ttl());
    packet.protocol = match (transport, ip.protocol()) {
        (Some(transport), _) => transport_name(transport).into(),
        (None, Some(number)) => protocol_name(number),
        (None, None) => "other".into(),
    };
}

fn shown_icmp(icmp: &ParsedIcmp, original: Option<&Original>) -> Icmp {
    Icmp {
        icmp_type: icmp.icmp_type,
        code: icmp.code,
        id: icmp.id,
        inner: original.map(|original| {
            let mut inner = Packet {
                family: "other".into(),
                ..Packet::default()
            };
            ip_fields(&mut inner, &original.ip, original.transport.as_ref());
            if let Some(ports) = original.transport.as_ref().and_then(Transport::ports) {
                inner.src_port = Some(ports.src);
                inner.dst_port = Some(ports.dst);
            }
            Box::new(inner)
        }),
    }
}

fn transport_name(transport: &Transport) -> &'static str {
    match transport {
        Transport::Tcp(_) => "tcp",
        Transport::Udp(_) => "udp",
        Transport::UdpLite(_) => "udplite",
        Transport::Sctp(_) => "sctp",
        Transport::Dccp(_) => "dccp",
        Transport::Icmp(_) => "icmp",
        Transport::Icmpv6(_) => "icmpv6",
    }
}

/// Name of an IP protocol number (IANA), else the number.
pub(crate) fn protocol_name(number: u8) -> Cow<'static, str> {
    match number {
        1 => "icmp".into(),
        2 => "igmp".into(),
        4 => "ipip".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        33 => "dccp".into(),
        41 => "ipv6".into(),
        47 => "gre".into(),
        50 => "esp".into(),
        51 => "ah".into(),
        58 => "icmpv6".into(),
        89 => "ospf".into(),
        112 => "vrrp".into(),
        132 => "sctp".into(),
        136 => "udplite".into(),
        other => other.to_string().into(),
    }
}

/// `PACKET_*` (include/uapi/linux/if_packet.h, stable ABI).
fn pkt_type(number: u8) -> &'static str {
    match number {
        0 => "host",
        1 => "broadcast",
        2 => "multicast",
        3 => "otherhost",
        4 => "outgoing",
        5 => "loopback",
        _ => "other",
    }
}

fn mac(bytes: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = bytes;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
