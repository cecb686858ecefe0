//! Where the headers are found, by what the skb says.
#![expect(clippy::unwrap_used, reason = "tests")]

use core::net::{IpAddr, Ipv4Addr};

use super::*;

const MACS: [u8; 12] = [2, 0x42, 0xac, 0x11, 0, 2, 2, 0x42, 1, 2, 3, 4];

/// 198.51.100.20:48084 → 172.17.0.2:80, SYN.
const SYN: [u8; 40] = [
    0x45, 0, 0, 40, 0x1c, 0x46, 0x40, 0, 63, 6, 0, 0, 198, 51, 100, 20, 172, 17, 0, 2, 0xbb, 0xd4,
    0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xfa, 0xf0, 0, 0, 0, 0,
];

fn frame(between: &[u8], packet: &[u8]) -> Vec<u8> {
    [&MACS[..], between, packet].concat()
}

fn at(mac: Option<usize>, network: Option<usize>) -> Start {
    Start {
        mac,
        network,
        ..Start::default()
    }
}

fn assert_syn(parsed: &Parsed) {
    let ip = parsed.ip().unwrap();
    assert_eq!(ip.src(), Ipv4Addr::new(198, 51, 100, 20));
    assert_eq!(ip.dst(), Ipv4Addr::new(172, 17, 0, 2));
    assert_eq!((ip.ttl(), ip.protocol()), (63, Some(6)));
    assert_eq!(
        parsed.ports(),
        Some(Ports {
            src: 48084,
            dst: 80
        })
    );
    let flags = parsed.transport.unwrap().tcp().unwrap().flags.unwrap();
    assert_eq!(flags.to_string(), "S");
    assert_eq!(parsed.ethertype, Some(ethertype::IPV4));
}

#[test]
fn with_and_without_link_header() {
    let bytes = frame(&[8, 0], &SYN);
    for network in [None, Some(14)] {
        let parsed = parse(&bytes, at(Some(0), network), ethertype::IPV4);
        assert_syn(&parsed);
        assert_eq!(parsed.link.unwrap().src, [2, 0x42, 1, 2, 3, 4]);
    }
    let parsed = parse(&SYN, at(None, Some(0)), ethertype::IPV4);
    assert_syn(&parsed);
    assert_eq!(parsed.link, None);
    // A device without link header.
    let parsed = parse(&SYN, at(Some(0), Some(0)), ethertype::IPV4);
    assert_syn(&parsed);
    assert_eq!(parsed.link, None);
}

#[test]
fn in_line_tags_wherever_the_network_header_points() {
    let bytes = frame(&[0x88, 0xa8, 0, 100, 0x81, 0, 0, 200, 8, 0], &SYN);
    let outer = ethertype::VLAN_8021AD;
    for (start, ethertype) in [
        (at(Some(0), None), outer),
        (at(Some(0), None), 0),
        (at(Some(0), None), ethertype::IPV4),
        (at(Some(0), Some(14)), outer),
        (at(None, Some(14)), outer),
        (at(Some(0), Some(22)), outer),
        (at(Some(0), Some(22)), ethertype::IPV4),
    ] {
        let parsed = parse(&bytes, start, ethertype);
        assert_syn(&parsed);
        let ids: Vec<_> = parsed.vlans.as_slice().iter().map(|t| t.id()).collect();
        assert_eq!(ids, [100, 200], "{start:?} {ethertype:#06x}");
    }
}

#[test]
fn garbage_is_not_taken_for_a_header() {
    let bytes = frame(&[8, 0], &SYN);
    // The version does not fit.
    let parsed = parse(&bytes, at(Some(0), Some(14)), ethertype::IPV6);
    assert_eq!((parsed.network, parsed.transport), (None, None));
    assert!(parsed.link.is_some());
    let parsed = parse(&bytes, at(Some(0), Some(15)), ethertype::IPV4);
    assert_eq!(parsed.network, None);
    // The link header says otherwise than the skb.
    let parsed = parse(&bytes, at(Some(0), None), ethertype::ARP);
    assert_eq!(parsed.network, None);
    // Stale and far offsets.
    let parsed = parse(&bytes, at(Some(20), Some(14)), ethertype::IPV4);
    assert_syn(&parsed);
    assert_eq!(parsed.link, None);
    let far = Start {
        mac: Some(usize::MAX),
        network: Some(usize::MAX),
        transport: Some(usize::MAX),
        protocol: Some(6),
    };
    assert_eq!(parse(&bytes, far, ethertype::IPV4).network, None);
}

#[test]
fn arp_and_what_is_not_ip() {
    let arp = [
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0x42, 1, 2, 3, 4, 172, 17, 0, 1, 0, 0, 0, 0, 0, 0, 172, 17, 0, 2,
    ];
    let parsed = parse(&frame(&[8, 6], &arp), at(Some(0), Some(14)), ethertype::ARP);
    let message = parsed.arp().unwrap();
    assert_eq!(message.target_ip, Some(Ipv4Addr::new(172, 17, 0, 2)));
    assert_eq!((parsed.ip(), parsed.ports()), (None, None));

    let lldp = parse(&frame(&[0x88, 0xcc], &SYN), at(Some(0), Some(14)), 0x88cc);
    assert_eq!(lldp.link.unwrap().ethertype, 0x88cc);
    assert_eq!((lldp.network, lldp.transport), (None, None));
}

#[test]
fn transport_header_alone() {
    let start = Start {
        transport: Some(0),
        protocol: Some(6),
        ..Start::default()
    };
    let parsed = parse(&SYN[20..], start, 0);
    assert_eq!(parsed.ports().map(|ports| ports.dst), Some(80));
    assert_eq!(parsed.network, None);
    let unknown = Start {
        protocol: None,
        ..start
    };
    assert_eq!(parse(&SYN[20..], unknown, 0).transport, None);
    // Before ip_rcv() it is the network header's offset, and means nothing.
    let received = Start {
        network: Some(0),
        ..start
    };
    assert_syn(&parse(&SYN, received, ethertype::IPV4));
}

#[test]
fn icmp_error_shows_the_packet_it_is_about() {
    let mut error = vec![0x45, 0, 0, 68, 0, 0, 0, 0, 64, 1, 0, 0];
    error.extend([172, 17, 0, 1, 198, 51, 100, 20, 3, 4, 0, 0, 0, 0, 5, 0x78]);
    error.extend(SYN);
    let parsed = parse(&error, at(None, Some(0)), ethertype::IPV4);
    let icmp = parsed.transport.unwrap();
    assert_eq!(icmp.icmp().unwrap().mtu, Some(1400));
    let original = parsed.original.unwrap();
    assert_eq!(original.ip.dst(), IpAddr::from([172, 17, 0, 2]));
    assert_eq!(original.transport.unwrap().ports().unwrap().dst, 80);
}
