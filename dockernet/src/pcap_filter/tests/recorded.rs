//! Drops of recordings: any start of a packet, before and after NAT.

use crate::{
    model::{Capture, Drop, LinkType, Nat, NatKind, Tuple},
    pcap_filter::Expression,
    report::samples::incident,
};

/// 198.51.100.20:48084 → 198.51.100.10:10001, which became 172.17.0.2:80, with its first bytes after NAT.
fn published() -> Drop {
    let mut drop = incident();
    let tuple = |src: &str, src_port, dst: &str, dst_port| Tuple {
        src: src.parse().unwrap(),
        src_port: Some(src_port),
        dst: dst.parse().unwrap(),
        dst_port: Some(dst_port),
    };
    drop.nat = Some(Nat {
        kind: NatKind::Dnat,
        original: tuple("198.51.100.20", 48084, "198.51.100.10", 10001),
        reply: tuple("172.17.0.2", 80, "198.51.100.20", 48084),
    });
    let packet = drop.packet.as_mut().unwrap();
    packet.src = Some("198.51.100.20".parse().unwrap());
    packet.dst = Some("172.17.0.2".parse().unwrap());
    (packet.src_port, packet.dst_port) = (Some(48084), Some(80));
    packet.ethertype = "0x0800".into();
    let mut bytes = vec![
        0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0, 198, 51, 100, 20, 172, 17, 0, 2,
    ];
    bytes.extend(48084_u16.to_be_bytes());
    bytes.extend([0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0, 2]);
    bytes.resize(60, 0);
    drop.capture = Some(Box::new(Capture {
        link: LinkType::Ip,
        length: 60,
        bytes,
    }));
    drop
}

fn accepts(text: &str, drop: &Drop) -> bool {
    Expression::compile(text).unwrap().accepts_drop(drop)
}

const YES: [&str; 9] = [
    "tcp",
    "ip and len = 74",
    "dst port 80",
    "dst host 172.17.0.2",
    "dst port 10001",
    "dst host 198.51.100.10 and src port 48084",
    "tcp[tcpflags] & tcp-syn != 0",
    "not udp",
    "src net 198.51.100.0/24",
];
const NO: [&str; 6] = [
    "udp",
    "ip6",
    "dst port 443",
    "src host 172.17.0.2",
    "src port 10001",
    "dst host 172.17.0.2 and dst port 10001",
];

#[test]
fn before_and_after_nat() {
    let drop = published();
    for text in YES {
        assert!(accepts(text, &drop), "{text}");
    }
    for text in NO {
        assert!(!accepts(text, &drop), "{text}");
    }
}

#[test]
fn an_ethernet_header_and_a_tag_are_no_hindrance() {
    let mut drop = published();
    let capture = drop.capture.as_mut().unwrap();
    capture.link = LinkType::Ethernet;
    capture.length = 74;
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.append(&mut capture.bytes);
    capture.bytes = frame;
    for text in YES.into_iter().chain(["ether src 02:00:00:00:00:02"]) {
        assert!(accepts(text, &drop), "{text}");
    }
    for text in NO {
        assert!(!accepts(text, &drop), "{text}");
    }
    // The device had taken it out.
    drop.packet.as_mut().unwrap().vlan = Some(7);
    for text in ["vlan 7 and dst port 10001", "vlan and len = 78"] {
        assert!(accepts(text, &drop), "{text}");
    }
    assert!(!accepts("vlan 8", &drop));
    // Still in it.
    let bytes = &mut drop.capture.as_mut().unwrap().bytes;
    bytes.splice(12..12, [0x81, 0, 0, 7]);
    assert!(accepts("vlan 7 and dst port 80", &drop));
}

#[test]
fn an_answer_has_its_own_forms() {
    let mut drop = published();
    let packet = drop.packet.as_mut().unwrap();
    std::mem::swap(&mut packet.src, &mut packet.dst);
    std::mem::swap(&mut packet.src_port, &mut packet.dst_port);
    let bytes = &mut drop.capture.as_mut().unwrap().bytes;
    let (src, dst) = bytes[12..20].split_at_mut(4);
    src.swap_with_slice(dst);
    let (src, dst) = bytes[20..24].split_at_mut(2);
    src.swap_with_slice(dst);
    for text in [
        "src port 80",
        "src port 10001",
        "src host 198.51.100.10",
        "dst port 48084",
    ] {
        assert!(accepts(text, &drop), "{text}");
    }
    for text in ["dst port 10001", "src host 198.51.100.20"] {
        assert!(!accepts(text, &drop), "{text}");
    }
}

#[test]
fn what_was_only_counted_has_its_ends() {
    let mut drop = published();
    drop.capture = None;
    for text in ["dst port 10001", "dst port 80", "tcp"] {
        assert!(accepts(text, &drop), "{text}");
    }
    assert!(!accepts("dst port 443", &drop));
    drop.packet = None;
    assert!(!accepts("tcp", &drop));
}

#[test]
fn an_error_about_a_flow_keeps_its_own_addresses() {
    let mut drop = published();
    let router = "192.0.2.1";
    drop.packet.as_mut().unwrap().src = Some(router.parse().unwrap());
    drop.capture.as_mut().unwrap().bytes[12..16].copy_from_slice(&[192, 0, 2, 1]);
    assert!(accepts("src host 192.0.2.1", &drop));
    assert!(!accepts("dst port 10001", &drop));
}

#[test]
fn damaged_starts_have_an_answer() {
    let whole = published();
    let length = whole.capture.as_ref().unwrap().bytes.len();
    for link in [LinkType::Ethernet, LinkType::Ip, LinkType::Other] {
        for cut in 0..length {
            let mut drop = whole.clone();
            let capture = drop.capture.as_mut().unwrap();
            capture.link = link;
            capture.bytes.truncate(cut);
            drop.packet.as_mut().unwrap().vlan = Some(7);
            let _ = accepts("dst port 10001 or len > 9", &drop);
        }
    }
}
