//! Journeys of made-up packets: what belongs together, and what must not.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{net::IpAddr, sync::Arc};

use dockernet_common::{
    conntrack::{RawTuple, info, status},
    hop::{HOP_BYTES, HopRecord, kind},
    record::Conntrack,
};
use proptest::prelude::*;

use super::Follower;
use crate::{
    bpf::clock::Clock,
    cli::Target,
    inventory::{Inventory, Parts},
    model::{
        Container, FlowVerdict, Journey, JourneyEnd, Link, LinkKind, NetnsInfo, NetnsKey, Owner,
        PathEvent, Way,
    },
};

const HOST: NetnsKey = NetnsKey(1);
const WEB: NetnsKey = NetnsKey(2);
const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;

const CLIENT: [u8; 4] = [198, 51, 100, 20];
const UPLINK: [u8; 4] = [198, 51, 100, 10];
const SERVER: [u8; 4] = [172, 17, 0, 2];

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

fn link(ifindex: u32, name: &str, kind: LinkKind, address: Option<&str>) -> Link {
    Link {
        ifindex,
        name: name.into(),
        kind,
        master: (name == "veth1").then_some(3),
        peer_ifindex: None,
        peer_netnsid: None,
        mac: None,
        mtu: 1500,
        up: true,
        carrier: true,
        addresses: address
            .map(|text| text.parse().unwrap())
            .into_iter()
            .collect(),
    }
}

/// `eth0` (2), `docker0` (3), `veth1` (5) on the host; `eth0` (4) in web.
fn inventory() -> Inventory {
    let netns = |key: NetnsKey, owner, links| {
        Arc::new(NetnsInfo {
            key,
            inum: 4_026_531_000 + u32::try_from(key.0).unwrap(),
            owner,
            path: "/proc/1/ns/net".into(),
            near: true,
            links,
        })
    };
    let mut web: Container = crate::host::docker::Inspect {
        id: "web0123456789abcdef".to_owned(),
        name: Some("web".to_owned()),
        running: true,
        ..crate::host::docker::Inspect::default()
    }
    .into_container();
    web.netns = Some(WEB);
    web.published = vec![crate::model::Published {
        host_ip: [0, 0, 0, 0].into(),
        host_port: 10001,
        container_port: 80,
        protocol: "tcp".into(),
    }];
    Inventory::new(Parts {
        host: HOST,
        namespaces: vec![
            netns(
                HOST,
                Owner::Host,
                vec![
                    link(
                        2,
                        "eth0",
                        LinkKind::Other(String::new()),
                        Some("198.51.100.10/24"),
                    ),
                    link(3, "docker0", LinkKind::Bridge, Some("172.17.0.1/16")),
                    link(5, "veth1", LinkKind::Veth, None),
                ],
            ),
            netns(
                WEB,
                Owner::Containers(vec![web.id.clone()]),
                vec![link(4, "eth0", LinkKind::Veth, Some("172.17.0.2/16"))],
            ),
        ],
        containers: vec![Arc::new(web)],
        behind: Some([(5, WEB)].into()),
        ..Parts::default()
    })
}

fn follower(to: &str) -> Follower {
    let mut follower = Follower::new(None, Some(to.parse::<Target>().unwrap()), false);
    let keys = follower.look_up(&inventory());
    assert!(!keys.is_empty());
    follower
}

/// A TCP packet without options.
#[derive(Clone, Copy, Debug)]
struct Tcp {
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    id: u16,
    seq: u32,
    flags: u8,
    payload: u16,
}

impl Tcp {
    fn reversed(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            ..self
        }
    }

    fn headers(self) -> [u8; HOP_BYTES] {
        let mut bytes = [0; HOP_BYTES];
        bytes[0] = 0x45;
        bytes[2..4].copy_from_slice(&(40 + self.payload).to_be_bytes());
        bytes[4..6].copy_from_slice(&self.id.to_be_bytes());
        bytes[8] = 64;
        bytes[9] = 6;
        bytes[12..16].copy_from_slice(&self.from.0);
        bytes[16..20].copy_from_slice(&self.to.0);
        bytes[20..22].copy_from_slice(&self.from.1.to_be_bytes());
        bytes[22..24].copy_from_slice(&self.to.1.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.seq.to_be_bytes());
        bytes[32] = 0x50;
        bytes[33] = self.flags;
        bytes
    }
}

fn tuple(from: ([u8; 4], u16), to: ([u8; 4], u16), direction: u8) -> RawTuple {
    let wide = |address: [u8; 4]| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&address);
        bytes
    };
    RawTuple {
        src: wide(from.0),
        src_port: from.1.to_be_bytes(),
        family: 2,
        dst: wide(to.0),
        dst_port: to.1.to_be_bytes(),
        protocol: 6,
        direction,
    }
}

/// What conntrack holds of the client's connection to the published port.
fn entry(port: u16, info: u8) -> Conntrack {
    Conntrack {
        status: status::DST_NAT,
        info,
        pad: [0; 3],
        original: tuple((CLIENT, port), (UPLINK, 10001), 0),
        reply: tuple((SERVER, 80), (CLIENT, port), 1),
    }
}

struct At {
    netns: NetnsKey,
    ifindex: u32,
    device: &'static str,
    kind: u8,
}

const ETH0_IN: At = At {
    netns: HOST,
    ifindex: 2,
    device: "eth0",
    kind: kind::RECEIVED,
};
const ETH0_OUT: At = At {
    netns: HOST,
    ifindex: 2,
    device: "eth0",
    kind: kind::SENT,
};
const BRIDGE_OUT: At = At {
    netns: HOST,
    ifindex: 3,
    device: "docker0",
    kind: kind::SENT,
};
const BRIDGE_IN: At = At {
    netns: HOST,
    ifindex: 3,
    device: "docker0",
    kind: kind::RECEIVED,
};
const VETH_OUT: At = At {
    netns: HOST,
    ifindex: 5,
    device: "veth1",
    kind: kind::SENT,
};
const VETH_IN: At = At {
    netns: HOST,
    ifindex: 5,
    device: "veth1",
    kind: kind::RECEIVED,
};
const WEB_IN: At = At {
    netns: WEB,
    ifindex: 4,
    device: "eth0",
    kind: kind::RECEIVED,
};
const WEB_OUT: At = At {
    netns: WEB,
    ifindex: 4,
    device: "eth0",
    kind: kind::SENT,
};

fn hop(at: &At, ktime_ns: u64, skb: u64, packet: Tcp, conntrack: Option<Conntrack>) -> HopRecord {
    let mut device = [0; 16];
    device[..at.device.len()].copy_from_slice(at.device.as_bytes());
    HopRecord {
        ktime_ns,
        skb,
        netns: at.netns.0,
        netns_inum: 4_026_531_000,
        ifindex: at.ifindex,
        len: 40 + u32::from(packet.payload),
        ethertype: 0x0800,
        header_len: 40,
        kind: at.kind,
        tracked: u8::from(conntrack.is_some()),
        pad: [0; 6],
        device,
        conntrack: conntrack.unwrap_or_default(),
        headers: packet.headers(),
    }
}

fn to_port(port: u16, id: u16, seq: u32, flags: u8) -> Tcp {
    Tcp {
        from: (CLIENT, port),
        to: (UPLINK, 10001),
        id,
        seq,
        flags,
        payload: 0,
    }
}

fn translated(packet: Tcp) -> Tcp {
    Tcp {
        to: (SERVER, 80),
        ..packet
    }
}

/// The four hops of a packet to the published port.
fn inbound(start: u64, skb: u64, packet: Tcp) -> Vec<HopRecord> {
    let port = packet.from.1;
    vec![
        hop(&ETH0_IN, start, skb, packet, None),
        hop(
            &BRIDGE_OUT,
            start + 10,
            skb,
            translated(packet),
            Some(entry(port, info::NEW)),
        ),
        hop(
            &VETH_OUT,
            start + 20,
            skb,
            translated(packet),
            Some(entry(port, info::NEW)),
        ),
        hop(&WEB_IN, start + 30, skb, translated(packet), None),
    ]
}

/// The four hops of an answer.
fn outbound(start: u64, skb: u64, port: u16, id: u16, seq: u32, flags: u8) -> Vec<HopRecord> {
    let packet = translated(to_port(port, id, seq, flags)).reversed();
    let outside = to_port(port, id, seq, flags).reversed();
    vec![
        hop(&WEB_OUT, start, skb, packet, None),
        hop(&VETH_IN, start + 10, skb, packet, None),
        hop(&BRIDGE_IN, start + 20, skb, packet, None),
        hop(
            &ETH0_OUT,
            start + 30,
            skb,
            outside,
            Some(entry(port, info::IS_REPLY)),
        ),
    ]
}

fn play(follower: &mut Follower, records: &[HopRecord]) {
    let inventory = inventory();
    for record in records {
        follower.seen(record, &inventory);
    }
}

fn due(follower: &mut Follower, now_ns: u64) -> Vec<PathEvent> {
    follower.due(now_ns, Clock::now(), &inventory())
}

fn journeys(events: &[PathEvent]) -> Vec<&Journey> {
    events
        .iter()
        .filter_map(|event| match event {
            PathEvent::Journey(journey) => Some(&**journey),
            _ => None,
        })
        .collect()
}

fn devices(journey: &Journey) -> Vec<&str> {
    journey.hops.iter().map(|hop| hop.device.as_str()).collect()
}

#[test]
fn a_connection_is_followed_across_nat() {
    let mut follower = follower("web:80");
    play(&mut follower, &inbound(S, 0xa0, to_port(5000, 7, 100, SYN)));
    play(
        &mut follower,
        &outbound(S + MS, 0xb0, 5000, 0, 900, SYN | ACK),
    );
    let events = due(&mut follower, 2 * S);
    let told = journeys(&events);
    assert_eq!(told.len(), 2);
    assert_eq!(devices(told[0]), ["eth0", "docker0", "veth1", "eth0"]);
    assert_eq!(
        (told[0].way, told[0].end),
        (Way::Forward, JourneyEnd::Delivered)
    );
    assert_eq!(told[0].hops[1].nat.as_ref().unwrap().kind, "dnat");
    assert_eq!(told[0].published.as_deref(), Some("0.0.0.0:10001->80/tcp"));
    assert_eq!((told[1].way, told[1].end), (Way::Back, JourneyEnd::Left));
    assert_eq!(told[1].hops[3].nat.as_ref().unwrap().kind, "un-dnat");
    assert!((told[1].answer_ms.unwrap() - 1.0).abs() < 0.01);
    let (_, sums) = follower.finish(Clock::now(), &inventory());
    assert_eq!(sums.len(), 1);
    assert_eq!(sums[0].verdict, FlowVerdict::Answered);
}

#[test]
fn what_was_not_asked_for_is_not_told() {
    let mut follower = follower("web:443");
    play(&mut follower, &inbound(S, 0xa0, to_port(5000, 7, 100, SYN)));
    assert!(due(&mut follower, 9 * S).is_empty());
    let (events, sums) = follower.finish(Clock::now(), &inventory());
    assert!(events.is_empty() && sums.is_empty());
}

#[test]
fn an_identical_retransmission_is_a_journey_of_its_own() {
    // A SYN-ACK's IP id is always 0: nothing but its way tells the second from the first.
    let mut follower = follower("web:80");
    play(&mut follower, &inbound(S, 0xa0, to_port(5000, 7, 100, SYN)));
    play(
        &mut follower,
        &outbound(S + MS, 0xb0, 5000, 0, 900, SYN | ACK)[..2],
    );
    play(
        &mut follower,
        &outbound(2 * S, 0xb0, 5000, 0, 900, SYN | ACK),
    );
    let events = due(&mut follower, 9 * S);
    let back: Vec<&Journey> = journeys(&events)
        .into_iter()
        .filter(|journey| journey.way == Way::Back)
        .collect();
    assert_eq!(back.len(), 2);
    let mut ends: Vec<(usize, JourneyEnd)> = back
        .iter()
        .map(|journey| (journey.hops.len(), journey.end))
        .collect();
    ends.sort_by_key(|(hops, _)| *hops);
    assert_eq!(ends, [(2, JourneyEnd::Lost), (4, JourneyEnd::Left)]);
}

#[test]
fn copies_that_nothing_tells_apart_are_not_guessed_at() {
    let mut follower = follower("web:80");
    let packet = to_port(5000, 7, 100, SYN);
    // Two alike stand before the bridge; one of them, copied, comes out behind it.
    play(&mut follower, &inbound(S, 0xa0, packet)[..1]);
    play(&mut follower, &inbound(S + 5, 0xa1, packet)[..1]);
    play(
        &mut follower,
        &[hop(
            &BRIDGE_OUT,
            S + 10,
            0xc0,
            translated(packet),
            Some(entry(5000, info::NEW)),
        )],
    );
    let events = due(&mut follower, 9 * S);
    let told = journeys(&events);
    assert_eq!(told.len(), 2);
    assert!(
        told.iter()
            .all(|journey| journey.end == JourneyEnd::Unknown),
        "{told:?}"
    );
}

#[test]
fn a_cut_packet_stays_one_journey() {
    let mut follower = follower("web:80");
    let large = Tcp {
        payload: 2800,
        ..to_port(5000, 7, 100, ACK)
    };
    let part = |seq: u32, id: u16| Tcp {
        seq,
        id,
        payload: 1400,
        ..large
    };
    play(&mut follower, &inbound(S, 0xa0, large)[..2]);
    for (skb, seq, id) in [(0xc0, 100, 7), (0xc1, 1500, 8)] {
        play(
            &mut follower,
            &[hop(
                &VETH_OUT,
                S + 20,
                skb,
                translated(part(seq, id)),
                Some(entry(5000, info::NEW)),
            )],
        );
    }
    for (skb, seq, id) in [(0xc0, 100, 7), (0xc1, 1500, 8)] {
        play(
            &mut follower,
            &[hop(&WEB_IN, S + 30, skb, translated(part(seq, id)), None)],
        );
    }
    let events = due(&mut follower, 9 * S);
    let told = journeys(&events);
    assert_eq!(told.len(), 1, "{told:#?}");
    let parts: Vec<u32> = told[0].hops.iter().map(|hop| hop.packets).collect();
    assert_eq!(parts, [1, 1, 2, 2]);
    assert_eq!(told[0].end, JourneyEnd::Delivered);
}

#[test]
fn a_frame_for_every_port_is_delivered_where_it_was_meant() {
    let mut follower = follower("web:80");
    let packet = to_port(5000, 7, 100, SYN);
    let mut hops = inbound(S, 0xa0, packet);
    // Behind the one that was meant, a copy at another port.
    let stranger = At {
        netns: HOST,
        ifindex: 6,
        device: "veth2",
        kind: kind::SENT,
    };
    hops.push(hop(
        &stranger,
        S + 40,
        0xa1,
        translated(packet),
        Some(entry(5000, info::NEW)),
    ));
    play(&mut follower, &hops);
    let events = due(&mut follower, 9 * S);
    let told = journeys(&events);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].end, JourneyEnd::Delivered);
    assert_eq!(told[0].sentence, "delivered to web");
}

#[test]
fn the_same_client_port_led_elsewhere_is_followed_there() {
    let mut follower = follower("web:80");
    play(&mut follower, &inbound(S, 0xa0, to_port(5000, 7, 100, SYN)));
    due(&mut follower, 2 * S);
    // The rule leads to another port of it now.
    let packet = to_port(5000, 8, 200, SYN);
    let moved = Tcp {
        to: (SERVER, 81),
        ..packet
    };
    let mut tracked = entry(5000, info::NEW);
    tracked.reply = tuple((SERVER, 81), (CLIENT, 5000), 1);
    play(
        &mut follower,
        &[
            hop(&ETH0_IN, 3 * S, 0xa0, packet, None),
            hop(&BRIDGE_OUT, 3 * S + 10, 0xa0, moved, Some(tracked)),
            hop(&VETH_OUT, 3 * S + 20, 0xa0, moved, Some(tracked)),
            hop(&WEB_IN, 3 * S + 30, 0xa0, moved, None),
        ],
    );
    let events = due(&mut follower, 9 * S);
    let told = journeys(&events);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].end, JourneyEnd::Delivered);
}

#[test]
fn a_reset_is_a_refusal() {
    let mut follower = follower("web:80");
    play(&mut follower, &inbound(S, 0xa0, to_port(5000, 7, 100, SYN)));
    play(
        &mut follower,
        &outbound(S + MS, 0xb0, 5000, 0, 0, RST | ACK),
    );
    due(&mut follower, 2 * S);
    let (_, sums) = follower.finish(Clock::now(), &inventory());
    assert_eq!(sums[0].verdict, FlowVerdict::Refused);
    assert_eq!(sums[0].sentence, "refused: web answered RST");
}

#[test]
fn a_loss_waits_for_a_neighbour_that_may_still_answer() {
    let mut follower = follower("web:80");
    play(
        &mut follower,
        &inbound(S, 0xa0, to_port(5000, 7, 100, SYN))[..1],
    );
    assert!(journeys(&due(&mut follower, 3 * S)).is_empty());
    play(
        &mut follower,
        &inbound(S, 0xa0, to_port(5000, 7, 100, SYN))[3..],
    );
    let events = due(&mut follower, 4 * S);
    assert_eq!(journeys(&events)[0].end, JourneyEnd::Delivered);
}

proptest! {
    /// However the hops of many packets interleave: each journey holds the hops of one packet, in their order.
    #[test]
    fn interleaved_packets_are_never_mixed(order in Just((0..24_usize).collect::<Vec<_>>()).prop_shuffle()) {
        // Six connections with a SYN each; a token in `order` lets one of them take its next hop.
        let mut waiting: Vec<Vec<HopRecord>> = (0..6_u16)
            .map(|number| {
                let skb = 0x100 + u64::from(number % 3);
                let mut hops = inbound(0, skb, to_port(5000 + number, number, 100, SYN));
                hops.reverse();
                hops
            })
            .collect();
        let mut follower = follower("web:80");
        let inventory = inventory();
        let mut now = S;
        for token in order {
            if let Some(mut record) = waiting[token % 6].pop() {
                now += 1000;
                record.ktime_ns = now;
                follower.seen(&record, &inventory);
            }
        }
        let events = due(&mut follower, now + S);
        let told = journeys(&events);
        prop_assert_eq!(told.len(), 6);
        for journey in told {
            prop_assert_eq!(devices(journey), ["eth0", "docker0", "veth1", "eth0"]);
            let port = journey.packet.src_port.unwrap();
            let nat = journey.nat.as_ref().unwrap();
            prop_assert_eq!(nat.original.src_port, Some(port));
            prop_assert_eq!(nat.original.src, IpAddr::from(CLIENT));
        }
    }

    /// Any bytes are read without a panic, and belong nowhere in particular.
    #[test]
    fn garbage_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), HOP_BYTES), length in 0_u16..200, ethertype in prop_oneof![Just(0x0800_u16), Just(0x86dd), any::<u16>()]) {
        let mut follower = follower("web:80");
        let mut record = hop(&ETH0_IN, S, 1, to_port(1, 1, 1, SYN), None);
        record.headers.copy_from_slice(&bytes);
        record.header_len = length;
        record.ethertype = ethertype;
        follower.seen(&record, &inventory());
        follower.finish(Clock::now(), &inventory());
    }
}

/// A thousand packets a second, all of which vanish behind the bridge, and are watched for four seconds.
#[test]
fn a_flow_that_loses_thousands_is_counted_to_the_last() {
    let mut follower = follower(":10001");
    let mut told = 0;
    for number in 0..6000_u32 {
        let start = u64::from(number) * MS;
        let packet = Tcp {
            payload: 100,
            ..to_port(40_000, u16::try_from(number).unwrap(), number * 100, ACK)
        };
        play(
            &mut follower,
            &inbound(start, u64::from(number) + 1, packet)[..2],
        );
        if number % 100 == 0 {
            told += journeys(&due(&mut follower, start)).len();
        }
    }
    let (rest, sums) = follower.finish(Clock::now(), &inventory());
    told += journeys(&rest).len();
    assert_eq!(told, 6000);
    assert!(
        !sums[0].sentence.contains("too many"),
        "{}",
        sums[0].sentence
    );
}

/// The rings are read one after the other: a packet's last hops may be read after its death.
#[test]
fn hops_before_a_death_belong_to_the_dead() {
    let mut follower = follower(":10001");
    let hops = inbound(1000, 7, to_port(40_000, 1, 1, SYN));
    play(&mut follower, &hops[..2]);
    let mut record = crate::cause::tests::record();
    record.ktime_ns = hops[2].ktime_ns + 1;
    record.skb = 7;
    record.header_len = 40;
    record.headers[..40].copy_from_slice(&hops[2].headers[..40]);
    assert!(follower.dropped(&record, &crate::report::samples::incident()));
    play(&mut follower, &hops[2..3]);
    // Its successor has the same skb and content, later.
    play(&mut follower, &inbound(S, 7, to_port(40_000, 1, 1, SYN)));
    let events = due(&mut follower, 2 * S);
    let told = journeys(&events);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!((told[0].end, told[0].hops.len()), (JourneyEnd::Dropped, 3));
    assert_eq!(told[1].hops.len(), 4);
}
