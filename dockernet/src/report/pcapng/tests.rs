#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Pcapng, blocks,
    frame::{Frame, Interface},
    packets::Packets,
};
use crate::{
    model::{Capture, Drop, LinkType},
    report::{
        Json, Report,
        samples::{denied, incident, ledger, mystery, ready},
    },
};

/// Types and bodies of the blocks, whose lengths must agree.
fn read(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let length = number(4) as usize;
        assert_eq!(length % 4, 0);
        assert_eq!(number(length - 4) as usize, length);
        all.push((number(0), bytes[8..length - 4].to_vec()));
        bytes = &bytes[length..];
    }
    all
}

fn with(mut drop: Drop, link: LinkType) -> Drop {
    drop.capture = Some(Box::new(Capture {
        link,
        length: 60,
        bytes: vec![0x45, 0, 0],
    }));
    drop
}

#[test]
fn blocks_in_their_order() {
    let mut pcapng = Pcapng::new(Vec::new(), Box::new(Json::new(std::io::sink())));
    let _ = pcapng.ready(&ready(), Duration::ZERO).unwrap();
    for drop in [
        with(incident(), LinkType::Ip),
        with(incident(), LinkType::Ip),
        with(mystery(), LinkType::Ethernet),
        with(mystery(), LinkType::Other),
        // Counted only.
        denied("198.51.100.20", 4000),
    ] {
        let _ = pcapng.dropped(&drop).unwrap();
    }
    let _ = pcapng.tick(Timestamp::now()).unwrap();
    let _ = pcapng.finish(&ledger(), false).unwrap();
    let blocks = read(pcapng.out_mut());
    let kinds: Vec<u32> = blocks.iter().map(|block| block.0).collect();
    assert_eq!(kinds, [0x0a0d_0d0a, 1, 4, 6, 6, 1, 4, 6, 1, 6]);
    let link = |block: usize| blocks[block].1[0];
    assert_eq!((link(1), link(5), link(8)), (101, 1, 113));
    assert_eq!(pcapng.counted, 1);
    // Interface, time, captured and whole length of the second packet.
    let packet = &blocks[4].1;
    let number = |at: usize| u32::from_le_bytes(packet[at..at + 4].try_into().unwrap());
    let time = u64::from(number(4)) << 32 | u64::from(number(8));
    assert_eq!(i128::from(time), incident().time.as_nanosecond());
    assert_eq!((number(0), number(12), number(16)), (0, 3, 60));
    let text = String::from_utf8_lossy(packet);
    for part in [
        "interface-forwarding-disabled (confirmed)\nkernel IP_INADDRERRORS@ip_error",
        "198.51.100.20:48084 → web:80/tcp SYN",
        "via 0.0.0.0:10001→80",
        "sysctl -w net/ipv4/conf/eth0/forwarding=1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let description = String::from_utf8_lossy(&blocks[5].1);
    assert!(description.contains("container web"), "{description}");
}

#[test]
fn a_veth_on_the_hosts_side_is_its_containers() {
    let capture = Capture {
        link: LinkType::Ip,
        length: 60,
        bytes: vec![0x45],
    };
    let mut drop = Drop {
        capture: Some(Box::new(capture)),
        ..incident()
    };
    let told = |drop: &Drop| Frame::of(drop).unwrap().interface.description;
    assert_eq!(told(&drop), "host");
    drop.veth_of = Some("web".into());
    assert_eq!(told(&drop), "host, veth of container web");
}

/// A section has so many names and no more; those of a packet are in its own.
#[test]
fn names_beyond_a_sections_room_begin_another() {
    let mut packets = Packets::new(Vec::new());
    let _ = packets.begin("6.1").unwrap();
    let interface = Interface {
        netns: 1,
        link: LinkType::Ip,
        name: "eth0".into(),
        description: "host".into(),
    };
    for number in 0..5000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0xc633_6400 + number);
        let frame = Frame {
            interface: interface.clone(),
            names: vec![(address.into(), format!("web{number}"))],
            time: Timestamp::UNIX_EPOCH,
            bytes: vec![0x45],
            length: 60,
            way: blocks::Way::In,
            comment: String::new(),
        };
        let _ = packets.write(&frame).unwrap();
    }
    let _ = packets.flush().unwrap();
    let blocks = read(packets.out_mut());
    let count = |kind| blocks.iter().filter(|block| block.0 == kind).count();
    // Sections, interfaces, packets, names.
    let counts = [0x0a0d_0d0a, 1, 6, 4].map(count);
    assert_eq!(counts, [2, 2, 5000, 5000]);
}

#[test]
fn too_much_is_cut() {
    let long = "é".repeat(60_000);
    let block = blocks::packet(0, Timestamp::UNIX_EPOCH, &[], 0, blocks::Way::In, &long);
    assert_eq!(read(&block).len(), 1);
    let name = blocks::names(&[("2001:db8::1".parse().unwrap(), long)]);
    assert_eq!(read(&name).len(), 1);
}
