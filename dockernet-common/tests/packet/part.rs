//! Whether one reading of a packet holds nothing that another does not hold.

use std::fmt::Debug;

use dockernet_common::packet::{Arp, Icmp, Ip, Network, Original, Parsed, Tcp, Transport, Udp};

fn assert_same<T: PartialEq + Debug>(cut: Option<T>, full: Option<T>) {
    if cut.is_some() {
        assert_eq!(cut, full);
    }
}

/// `cut` was read from the first `end` bytes of what `full` was read from.
pub(crate) fn assert_part(cut: &Parsed, full: &Parsed, end: usize) {
    assert_same(cut.link, full.link);
    assert!(
        full.vlans.as_slice().starts_with(cut.vlans.as_slice()),
        "{end} bytes: {cut:?}, all: {full:?}"
    );
    assert_same(cut.ethertype, full.ethertype);
    match (cut.network, full.network) {
        (None, _) => {}
        (Some(Network::Arp(cut)), Some(Network::Arp(full))) => assert_arp(&cut, &full),
        (Some(Network::Ip(cut)), Some(Network::Ip(full))) => assert_ip(&cut, &full),
        (cut, full) => panic!("{end} bytes: {cut:?}, all: {full:?}"),
    }
    assert_transport(cut.transport, full.transport);
    if let Some(cut) = cut.original {
        let full = full.original.unwrap();
        assert_original(&cut, &full);
    }
}

fn assert_original(cut: &Original, full: &Original) {
    assert_ip(&cut.ip, &full.ip);
    assert_transport(cut.transport, full.transport);
}

fn assert_arp(cut: &Arp, full: &Arp) {
    assert_eq!(cut.operation, full.operation);
    assert_same(cut.sender_mac, full.sender_mac);
    assert_same(cut.sender_ip, full.sender_ip);
    assert_same(cut.target_mac, full.target_mac);
    assert_same(cut.target_ip, full.target_ip);
}

fn assert_ip(cut: &Ip, full: &Ip) {
    match (cut, full) {
        (Ip::V4(cut), Ip::V4(full)) => assert_eq!(cut, full),
        (Ip::V6(cut), Ip::V6(full)) => {
            assert_same(cut.protocol, full.protocol);
            assert_same(cut.fragment, full.fragment);
            let extensions = cut.extensions.as_slice();
            assert!(full.extensions.as_slice().starts_with(extensions));
            // What is left of the header is there whole.
            let mut rest = *full;
            rest.protocol = cut.protocol;
            rest.fragment = cut.fragment;
            rest.extensions = cut.extensions;
            assert_eq!(*cut, rest);
        }
        _ => panic!("{cut:?}, all: {full:?}"),
    }
}

fn assert_transport(cut: Option<Transport>, full: Option<Transport>) {
    let Some(cut) = cut else { return };
    match (cut, full.unwrap()) {
        (Transport::Tcp(cut), Transport::Tcp(full)) => assert_tcp(&cut, &full),
        (Transport::Udp(cut), Transport::Udp(full)) => assert_udp(&cut, &full),
        (Transport::Icmp(cut), Transport::Icmp(full))
        | (Transport::Icmpv6(cut), Transport::Icmpv6(full)) => assert_icmp(&cut, &full),
        (cut, full) => assert_eq!(cut, full),
    }
}

fn assert_tcp(cut: &Tcp, full: &Tcp) {
    assert_eq!(cut.ports, full.ports);
    assert_same(cut.seq, full.seq);
    assert_same(cut.ack, full.ack);
    assert_same(cut.flags, full.flags);
    assert_same(cut.window, full.window);
}

fn assert_udp(cut: &Udp, full: &Udp) {
    assert_eq!(cut.ports, full.ports);
    assert_same(cut.length, full.length);
}

fn assert_icmp(cut: &Icmp, full: &Icmp) {
    assert_eq!((cut.icmp_type, cut.code), (full.icmp_type, full.code));
    assert_same(cut.id, full.id);
    assert_same(cut.seq, full.seq);
    assert_same(cut.mtu, full.mtu);
    assert_same(cut.gateway, full.gateway);
    assert_same(cut.target, full.target);
}
