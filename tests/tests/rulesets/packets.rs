//! Packets that generated rules are likely to look at.

use std::{collections::HashSet, net::IpAddr};

use crate::{
    frame::{Cast, Packet, Payload},
    rng::Rng,
    world::{DEVICES, MARKS, NEIGHBOURS, NOWHERE, Own, neighbour},
};

/// Ports that rules and packets share.
pub(crate) const PORTS: [u16; 8] = [53, 80, 81, 443, 1024, 8080, 8081, 40_000];
/// Makes packets; no two of them share a flow, before or after translation.
pub(crate) struct Packets {
    own: Own,
    /// Both ends of what was sent, and source ports by destination.
    ends: HashSet<(IpAddr, u16)>,
    to: HashSet<(u16, IpAddr, u16)>,
    next: u16,
}

impl Packets {
    pub(crate) fn new() -> Self {
        Self {
            own: Own::new(),
            ends: HashSet::new(),
            to: HashSet::new(),
            next: 20_000,
        }
    }

    /// The first packet of a flow.
    pub(crate) fn one(&mut self, rng: &mut Rng) -> Packet {
        let v6 = rng.percent(30);
        let device = (!rng.percent(12)).then(|| rng.below(DEVICES.len()));
        let host = |rng: &mut Rng, device| neighbour(device, *rng.pick(&NEIGHBOURS), v6);
        let (mut cast, mut src) = (Cast::Host, None);
        let dst = match device {
            None => {
                let to = rng.below(DEVICES.len());
                src = self.own.address(rng.below(DEVICES.len()), v6);
                host(rng, to)
            }
            Some(device) => match rng.below(100) {
                0..62 => {
                    let to = rng.below(DEVICES.len());
                    host(rng, to)
                }
                62..84 => self
                    .own
                    .address(rng.below(DEVICES.len()), v6)
                    .unwrap_or(host(rng, 0)),
                84..90 => NOWHERE[usize::from(v6)].parse().expect("an address"),
                90..95 => {
                    cast = Cast::Multicast;
                    if v6 { "ff02::1" } else { "224.0.0.1" }
                        .parse()
                        .expect("an address")
                }
                _ if v6 => host(rng, device),
                _ => {
                    cast = Cast::Broadcast;
                    let number = if device % 2 == 0 { 127 } else { 126 };
                    neighbour(device, number, false)
                }
            },
        };
        if device.is_some() && cast == Cast::Host && rng.percent(3) {
            cast = *rng.pick(&[Cast::Broadcast, Cast::Multicast]);
        }
        let from = match device {
            Some(device) if !rng.percent(10) => device,
            _ => rng.below(DEVICES.len()),
        };
        let src = src.unwrap_or_else(|| {
            if rng.percent(6) {
                NOWHERE[usize::from(v6)].parse().expect("an address")
            } else {
                host(rng, from)
            }
        });
        let (mark_ttl, _) = *rng.pick(&MARKS);
        let own_mark = if rng.percent(40) {
            rng.pick(&MARKS).1
        } else {
            0
        };
        Packet {
            device,
            src,
            dst,
            ttl: if rng.percent(35) {
                mark_ttl
            } else {
                *rng.pick(&[2, 3, 64, 128, 255])
            },
            cast,
            mark: if device.is_none() { own_mark } else { 0 },
            payload: self.payload(rng, src, dst),
        }
    }

    fn payload(&mut self, rng: &mut Rng, src: IpAddr, dst: IpAddr) -> Payload {
        let v6 = dst.is_ipv6();
        let dport = if rng.percent(75) {
            *rng.pick(&PORTS)
        } else {
            u16::try_from(1 + rng.below(65_535)).unwrap_or(1)
        };
        let sport = self.port(rng, src, (dst, dport));
        match rng.below(100) {
            0..45 => Payload::Udp { sport, dport },
            45..60 => Payload::Tcp {
                sport,
                dport,
                flags: 0x02,
            },
            60..76 => Payload::Tcp {
                sport,
                dport,
                flags: *rng.pick(&[0x10, 0x12, 0x11, 0x18, 0x04, 0x14, 0x22, 0x00, 0x29, 0x03]),
            },
            76..93 => {
                let (kind, code) = if v6 {
                    *rng.pick(&[(128, 0), (128, 0), (129, 0), (1, 4), (3, 0)])
                } else {
                    *rng.pick(&[(8, 0), (8, 0), (0, 0), (13, 0), (3, 1), (3, 3), (11, 0)])
                };
                Payload::Icmp {
                    kind,
                    code,
                    id: sport,
                }
            }
            _ => Payload::Esp {
                spi: u32::from(dport) << 16 | u32::from(sport),
            },
        }
    }

    /// A source port that makes no two flows look alike.
    fn port(&mut self, rng: &mut Rng, src: IpAddr, to: (IpAddr, u16)) -> u16 {
        let wanted = *rng.pick(&PORTS);
        let free = !self.ends.contains(&(src, wanted)) && !self.to.contains(&(wanted, to.0, to.1));
        let port = if free && rng.percent(50) {
            wanted
        } else {
            self.next += 1;
            self.next
        };
        self.ends.extend([(src, port), to]);
        self.to.insert((port, to.0, to.1));
        port
    }
}

/// What the other end answers to a packet that came to it as `arrived`, by the wire that it came to.
pub(crate) fn answer(arrived: &Packet, device: usize, rng: &mut Rng) -> Option<Packet> {
    let payload = match arrived.payload {
        Payload::Udp { sport, dport } => Payload::Udp {
            sport: dport,
            dport: sport,
        },
        Payload::Tcp { sport, dport, .. } => Payload::Tcp {
            sport: dport,
            dport: sport,
            flags: 0x12,
        },
        Payload::Icmp { kind: 8, id, .. } => Payload::Icmp {
            kind: 0,
            code: 0,
            id,
        },
        Payload::Icmp { kind: 128, id, .. } => Payload::Icmp {
            kind: 129,
            code: 0,
            id,
        },
        _ => return None,
    };
    Some(turned(arrived, device, payload, arrived.dst, rng))
}

/// An error about a packet that came to the other end as `arrived`.
pub(crate) fn error(arrived: &Packet, device: usize, rng: &mut Rng) -> Packet {
    let (kind, code) = if arrived.v6() {
        *rng.pick(&[(1, 4), (3, 0)])
    } else {
        *rng.pick(&[(3, 3), (3, 1), (11, 0)])
    };
    let payload = Payload::Error {
        kind,
        code,
        about: Box::new(arrived.clone()),
    };
    // A router on the way may send it, too.
    let from = neighbour(device, *rng.pick(&NEIGHBOURS), arrived.v6());
    turned(arrived, device, payload, from, rng)
}

fn turned(arrived: &Packet, device: usize, payload: Payload, src: IpAddr, rng: &mut Rng) -> Packet {
    Packet {
        device: Some(device),
        src,
        dst: arrived.src,
        ttl: *rng.pick(&[64, 128, MARKS[0].0, MARKS[2].0]),
        cast: Cast::Host,
        mark: 0,
        payload,
    }
}
