//! Strategies that make well-formed packets.

use std::net::{Ipv4Addr, Ipv6Addr};

use dockernet_common::packet::ethertype;
use proptest::{collection::vec, option, prelude::*};

use crate::wellformed::{AH, Header, IpPacket, Packet, Payload};

fn v4_header() -> impl Strategy<Value = Header> {
    (
        any::<(Ipv4Addr, Ipv4Addr, u8, u8, bool, u16)>(),
        vec(any::<[u8; 4]>(), 0..=10),
    )
        .prop_map(
            |((src, dst, ttl, tos, dont_fragment, checksum), options)| Header::V4 {
                src,
                dst,
                ttl,
                tos,
                dont_fragment,
                checksum,
                options,
            },
        )
}

fn v6_header() -> impl Strategy<Value = Header> {
    let number = prop::sample::select(vec![0, 43, 60, AH, 135, 139, 140]);
    (
        any::<(Ipv6Addr, Ipv6Addr, u8, u8)>(),
        0..0x10_0000u32,
        vec((number, 0..3usize), 0..=6),
    )
        .prop_map(
            |((src, dst, hop_limit, traffic_class), flow_label, extensions)| Header::V6 {
                src,
                dst,
                hop_limit,
                traffic_class,
                flow_label,
                extensions,
            },
        )
}

fn fragment(v4: bool) -> impl Strategy<Value = Option<(u32, u16, bool)>> {
    let id = if v4 { 0..=0xffff } else { 0..=u32::MAX };
    let offset = prop_oneof![Just(0), (0..0x2000u16).prop_map(|units| units * 8)];
    option::weighted(0.3, (id, offset, any::<bool>()))
}

fn simple_payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        any::<((u16, u16), u32, u32, u8, u16)>().prop_map(|(ports, seq, ack, flags, window)| {
            Payload::Tcp {
                ports,
                seq,
                ack,
                flags,
                window,
            }
        }),
        any::<((u16, u16), u16)>().prop_map(|(ports, length)| Payload::Udp { ports, length }),
        (
            prop::sample::select(vec![132, 136, 33]),
            any::<(u16, u16)>()
        )
            .prop_map(|(protocol, ports)| Payload::Ports { protocol, ports }),
        any::<(bool, u16, u16)>().prop_map(|(reply, id, seq)| Payload::Echo { reply, id, seq }),
        prop::sample::select(vec![2, 47, 50, 89, 59]).prop_map(Payload::Other),
    ]
}

fn ip_packet(v4: bool, payload: BoxedStrategy<Payload>) -> BoxedStrategy<IpPacket> {
    let header = if v4 {
        v4_header().boxed()
    } else {
        v6_header().boxed()
    };
    (header, fragment(v4), payload)
        .prop_map(|(ip, fragment, payload)| IpPacket {
            ip,
            fragment,
            payload,
        })
        .boxed()
}

/// Errors about packets, and about errors about packets.
fn payload(v4: bool, depth: u8) -> BoxedStrategy<Payload> {
    if depth == 0 {
        return simple_payload().boxed();
    }
    let original = || ip_packet(v4, payload(v4, depth - 1)).prop_map(Box::new);
    prop_oneof![
        3 => simple_payload(),
        1 => (any::<u16>(), original())
            .prop_map(|(mtu, original)| Payload::TooBig { mtu, original }),
        1 => (prop::sample::select(vec![0, 1, 3]), original())
            .prop_map(|(code, original)| Payload::Unreachable { code, original }),
    ]
    .boxed()
}

/// Any well-formed packet.
pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    let tag = (
        prop::sample::select(vec![ethertype::VLAN_8021Q, ethertype::VLAN_8021AD]),
        any::<u16>(),
    );
    (
        any::<Option<([u8; 6], [u8; 6])>>(),
        vec(tag, 0..=3),
        any::<bool>().prop_flat_map(|v4| ip_packet(v4, payload(v4, 2))),
        vec(any::<u8>(), 0..8),
        any::<Option<bool>>(),
    )
        .prop_map(|(link, mut tags, ip, padding, network)| {
            if link.is_none() {
                tags.clear();
            }
            Packet {
                link,
                tags,
                ip,
                padding,
                network,
            }
        })
}
