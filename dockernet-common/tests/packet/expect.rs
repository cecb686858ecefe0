//! Compares what was read with what was generated.

use dockernet_common::packet::{Icmp, Ip, Original, Parsed, Ports, Tcp, TcpFlags, Transport, Udp};

use crate::wellformed::{Header, IpPacket, Packet, Payload};

pub(crate) fn assert_packet(parsed: &Parsed, packet: &Packet) {
    let link = parsed.link.map(|link| (link.dst, link.src));
    assert_eq!(link, packet.link);
    if let Some(link) = parsed.link {
        assert_eq!(link.ethertype, packet.ethertype());
    }
    let tags = parsed.vlans.as_slice().iter();
    let tags: Vec<_> = tags.map(|tag| (tag.tpid, tag.tci)).collect();
    assert_eq!(tags, packet.tags);
    assert_eq!(parsed.ethertype, Some(packet.inner_ethertype()));
    assert_ip(parsed.ip().unwrap(), &packet.ip);
    assert_payload(parsed.transport, parsed.original, &packet.ip, true);
}

fn assert_ip(ip: &Ip, packet: &IpPacket) {
    assert_eq!(ip.protocol(), Some(packet.payload.protocol(packet.is_v4())));
    // IPv4 has no fragment header: offset 0 and nothing behind is a whole packet.
    let expected = packet
        .fragment
        .filter(|(_, offset, more)| !packet.is_v4() || *offset != 0 || *more);
    let fragment = ip.fragment().map(|f| (f.id, f.offset, f.more));
    assert_eq!(fragment, expected);
    match (ip, &packet.ip) {
        (
            Ip::V4(ip),
            Header::V4 {
                src,
                dst,
                ttl,
                tos,
                dont_fragment,
                checksum,
                options,
            },
        ) => {
            assert_eq!((ip.src, ip.dst), (*src, *dst));
            assert_eq!((ip.ttl, ip.tos, ip.checksum), (*ttl, *tos, *checksum));
            assert_eq!(ip.dont_fragment, *dont_fragment);
            assert_eq!(usize::from(ip.options_len()), 4 * options.len());
            assert_eq!(usize::from(ip.total_len), packet.bytes().len());
        }
        (
            Ip::V6(ip),
            Header::V6 {
                src,
                dst,
                hop_limit,
                traffic_class,
                flow_label,
                ..
            },
        ) => {
            assert_eq!((ip.src, ip.dst), (*src, *dst));
            assert_eq!(ip.hop_limit, *hop_limit);
            assert_eq!(ip.traffic_class, *traffic_class);
            assert_eq!(ip.flow_label, *flow_label);
            assert_eq!(ip.extensions.as_slice(), packet.extension_numbers());
            assert_eq!(usize::from(ip.payload_len), packet.bytes().len() - 40);
        }
        _ => panic!("{ip:?} read from {packet:?}"),
    }
}

/// `outermost`: errors are opened here, not within a quoted packet.
fn assert_payload(
    transport: Option<Transport>,
    original: Option<Original>,
    packet: &IpPacket,
    outermost: bool,
) {
    if packet.is_later_fragment() {
        assert_eq!((transport, original), (None, None));
        return;
    }
    assert_eq!(transport, transport_of(packet));
    match &packet.payload {
        Payload::TooBig {
            original: quoted, ..
        }
        | Payload::Unreachable {
            original: quoted, ..
        } if outermost => {
            let original = original.unwrap();
            assert_ip(&original.ip, quoted);
            assert_payload(original.transport, None, quoted, false);
        }
        _ => assert_eq!(original, None),
    }
}

fn transport_of(packet: &IpPacket) -> Option<Transport> {
    let v4 = packet.is_v4();
    let ports_of = |(src, dst)| Ports { src, dst };
    let icmp = |v4_type, v6_type| Icmp {
        icmp_type: if v4 { v4_type } else { v6_type },
        ..Icmp::default()
    };
    let icmp = match packet.payload {
        Payload::Tcp {
            ports,
            seq,
            ack,
            flags,
            window,
        } => {
            return Some(Transport::Tcp(Tcp {
                ports: ports_of(ports),
                seq: Some(seq),
                ack: Some(ack),
                flags: Some(TcpFlags(flags)),
                window: Some(window),
            }));
        }
        Payload::Udp { ports, length } => {
            return Some(Transport::Udp(Udp {
                ports: ports_of(ports),
                length: Some(length),
            }));
        }
        Payload::Ports { protocol, ports } => {
            let ports = ports_of(ports);
            return Some(match protocol {
                132 => Transport::Sctp(ports),
                136 => Transport::UdpLite(ports),
                _ => Transport::Dccp(ports),
            });
        }
        Payload::Other(_) => return None,
        Payload::Echo { reply, id, seq } => Icmp {
            id: Some(id),
            seq: Some(seq),
            ..if reply { icmp(0, 129) } else { icmp(8, 128) }
        },
        Payload::TooBig { mtu, .. } => Icmp {
            code: if v4 { 4 } else { 0 },
            mtu: Some(mtu.into()),
            ..icmp(3, 2)
        },
        Payload::Unreachable { code, .. } => Icmp { code, ..icmp(3, 1) },
    };
    Some(if v4 {
        Transport::Icmp(icmp)
    } else {
        Transport::Icmpv6(icmp)
    })
}
