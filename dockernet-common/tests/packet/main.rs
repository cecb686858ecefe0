//! Properties of the packet parser.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod expect;
mod generate;
mod part;
mod wellformed;

use dockernet_common::packet::{FlowKey, Ip, Parsed, Start, ethertype, flow_key, parse};
use proptest::{collection::vec, option, prelude::*, sample::Index};

use generate::packet;
use part::assert_part;
use wellformed::Packet;

/// Offsets near the bytes, and far from them.
fn any_offset() -> impl Strategy<Value = Option<usize>> {
    option::of(prop_oneof![
        8 => 0..160usize,
        1 => (usize::MAX - 64)..=usize::MAX,
    ])
}

fn any_start() -> impl Strategy<Value = Start> {
    (
        any_offset(),
        any_offset(),
        any_offset(),
        any::<Option<u8>>(),
    )
        .prop_map(|(mac, network, transport, protocol)| Start {
            mac,
            network,
            transport,
            protocol,
        })
}

fn any_ethertype() -> impl Strategy<Value = u16> {
    prop_oneof![
        Just(ethertype::IPV4),
        Just(ethertype::IPV6),
        Just(ethertype::ARP),
        Just(ethertype::VLAN_8021Q),
        Just(ethertype::VLAN_8021AD),
        Just(0),
        any::<u16>(),
    ]
}

/// Cutting the bytes anywhere takes fields away and changes none.
fn assert_cuts(bytes: &[u8], at: Start, ethertype: u16) {
    let full = parse(bytes, at, ethertype);
    for end in 0..bytes.len() {
        let cut = parse(&bytes[..end], at, ethertype);
        assert_part(&cut, &full, end);
    }
}

fn assert_flow_key(key: &FlowKey, parsed: &Parsed) {
    let ip = parsed.ip().unwrap();
    assert_eq!(key.src_addr(), ip.src());
    assert_eq!(key.dst_addr(), ip.dst());
    let (family, protocol, direct) = match ip {
        Ip::V4(ip) => (4, ip.protocol, true),
        Ip::V6(ip) => (6, ip.next_header, ip.extensions.as_slice().is_empty()),
    };
    assert_eq!((key.family, key.protocol), (family, protocol));
    let ports = parsed.ports().filter(|_| direct);
    let ports = ports.map_or((0, 0), |ports| (ports.src, ports.dst));
    assert_eq!((key.src_port, key.dst_port), ports);
}

proptest! {
    #[test]
    fn any_bytes_never_panic(
        bytes in vec(any::<u8>(), 0..200),
        at in any_start(),
        ethertype in any_ethertype(),
    ) {
        assert_cuts(&bytes, at, ethertype);
        for offset in [at.mac, at.network, at.transport].into_iter().flatten() {
            let _ = flow_key(&bytes[..], offset, ethertype);
        }
    }

    #[test]
    fn mutated_packets_never_panic(
        packet in packet(),
        changes in vec((any::<Index>(), any::<u8>()), 1..6),
        at in option::of(any_start()),
        ethertype in option::of(any_ethertype()),
    ) {
        let mut bytes = packet.bytes();
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        let at = at.unwrap_or(packet.start());
        assert_cuts(&bytes, at, ethertype.unwrap_or(packet.ethertype()));
    }

    #[test]
    fn well_formed_packets_are_read(packet in packet()) {
        let parsed = parse(&packet.bytes(), packet.start(), packet.ethertype());
        expect::assert_packet(&parsed, &packet);
    }

    #[test]
    fn cut_packets_lose_fields_only(packet in packet()) {
        assert_cuts(&packet.bytes(), packet.start(), packet.ethertype());
    }

    #[test]
    fn flow_key_agrees(packet in packet()) {
        let bytes = packet.bytes();
        let parsed = parse(&bytes, packet.start(), packet.ethertype());
        let key = flow_key(&bytes[..], packet.network_offset(), packet.inner_ethertype());
        assert_flow_key(&key.unwrap(), &parsed);
    }
}

#[test]
fn generated_packets_vary() {
    // Guards the properties above: a generator that made one kind only would prove little.
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let packets: Vec<Packet> = (0..500)
        .map(|_| packet().new_tree(&mut runner).unwrap().current())
        .collect();
    let parsed: Vec<Parsed> = packets
        .iter()
        .map(|packet| parse(&packet.bytes(), packet.start(), packet.ethertype()))
        .collect();
    let with = |what: fn(&Parsed) -> bool| parsed.iter().filter(|&p| what(p)).count();
    for count in [
        with(|p| p.vlans.as_slice().len() > 1),
        with(|p| matches!(p.ip(), Some(Ip::V4(ip)) if ip.options_len() > 0)),
        with(|p| matches!(p.ip(), Some(Ip::V6(ip)) if ip.extensions.as_slice().len() > 1)),
        with(|p| p.ip().unwrap().fragment().is_some_and(|f| f.offset > 0)),
        with(|p| p.ports().is_some()),
        with(|p| p.original.is_some_and(|o| o.transport.is_some())),
    ] {
        assert!(count >= 10, "{count} of {}", parsed.len());
    }
}
