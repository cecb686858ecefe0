//! A made-up connection, as firewall rules see its packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dockernet_common::packet::TCP;

use super::space::Space;
use crate::host::{
    firewall::{
        self, Attribution, CtState, FlowPacket, FlowTuple, Hook, Outcome, Site, Translation,
        drop_candidates, marks_behind, simulate_at, translate,
    },
    route::Family,
};

/// A client's port.
pub(super) const CLIENT_PORT: u16 = 40_000;
/// `IPS_SRC_NAT`, `IPS_DST_NAT` (include/uapi/linux/netfilter/nf_conntrack_common.h).
const SNAT: u32 = 0x10;
const DNAT: u32 = 0x20;
/// Flags of a TCP segment within a connection, and of the one that begins it.
const ACK: u8 = 0x10;
const SYN: u8 = 0x02;

/// An address of the internet that firewalls have no reason to treat apart. Nothing is ever sent there.
#[must_use]
pub(super) fn somewhere(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(1, 1, 1, 1).into(),
        Family::V6 => Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111).into(),
    }
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// IP protocol number.
    pub proto: u8,
    /// As its first packet was sent.
    pub original: FlowTuple,
    /// As an answer to it is sent.
    pub answer: FlowTuple,
    /// Whether conntrack of the host knows it; else no address of it is translated there.
    pub tracked: bool,
}

/// On which side of the host's address translation a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// As the client sees the connection.
    Client,
    /// As the server sees it.
    Server,
}

/// What becomes of a packet at a hook.
#[derive(Clone, Debug)]
pub(super) enum Judged {
    /// It passes.
    Passes,
    /// This rule or policy drops it.
    Drops(Box<Attribution>),
    /// It depends on this rule, whose conditions cannot be told.
    Doubt(String),
}

impl Judged {
    /// What becomes of a packet (or a connection's packets) that comes to several hooks: the first drop, else the first doubt. None is
    /// asked for after a drop.
    pub(super) fn first(all: impl IntoIterator<Item = Self>) -> Self {
        let mut doubt = None;
        for judged in all {
            match judged {
                Self::Passes => {}
                Self::Doubt(at) => doubt = doubt.or(Some(at)),
                drops @ Self::Drops(_) => return drops,
            }
        }
        doubt.map_or(Self::Passes, Self::Doubt)
    }
}

impl Probe {
    /// A connection without address translation.
    #[must_use]
    pub(super) fn new(proto: u8, src: IpAddr, dst: IpAddr, port: u16) -> Self {
        let original = FlowTuple {
            src,
            dst,
            sport: Some(CLIENT_PORT),
            dport: Some(port),
        };
        Self {
            proto,
            original,
            answer: FlowTuple {
                src: dst,
                dst: src,
                sport: Some(port),
                dport: Some(CLIENT_PORT),
            },
            tracked: true,
        }
    }

    /// The same, kept out of conntrack by a rule.
    #[must_use]
    pub(super) fn untracked(self) -> Self {
        Self {
            tracked: false,
            ..self
        }
    }

    /// The same, its destination translated.
    #[must_use]
    pub(super) fn to(mut self, address: IpAddr, port: Option<u16>) -> Self {
        self.answer.src = address;
        self.answer.sport = port.or(self.answer.sport);
        self
    }

    /// The same, its source translated.
    #[must_use]
    pub(super) fn via(mut self, address: IpAddr) -> Self {
        self.answer.dst = address;
        self
    }

    /// As conntrack of a container's namespace sees it, where rules of the host have no say.
    #[must_use]
    pub(super) fn elsewhere(self) -> Self {
        Self {
            tracked: true,
            ..self
        }
    }

    /// Where its packets end.
    #[must_use]
    pub(super) fn destination(&self) -> (IpAddr, u16) {
        (self.answer.src, self.answer.sport.unwrap_or(0))
    }

    fn status(&self) -> u32 {
        let mut bits = 0;
        if (self.answer.src, self.answer.sport) != (self.original.dst, self.original.dport) {
            bits |= DNAT;
        }
        if self.answer.dst != self.original.src {
            bits |= SNAT;
        }
        bits
    }

    fn packet(&self, iif: Option<&str>, oif: Option<&str>) -> FlowPacket {
        FlowPacket {
            ipv6: Some(self.original.src.is_ipv6()),
            proto: Some(self.proto),
            iif: iif.map(str::to_owned),
            oif: oif.map(str::to_owned),
            mark: Some(0),
            ttl: Some(64),
            ct_status: (SNAT | DNAT, if self.tracked { self.status() } else { 0 }),
            ct_mark: self.tracked.then_some(0),
            ct_original: self.tracked.then_some(self.original),
            ct_answer: self.tracked.then_some(self.answer),
            pkt_type: Some(0),
            routing_header: Some(false),
            ..FlowPacket::default()
        }
    }

    /// Its first packet, after the translation of its destination and before that of its source.
    #[must_use]
    pub(super) fn first(&self, iif: Option<&str>, oif: Option<&str>) -> FlowPacket {
        FlowPacket {
            src: Some(self.original.src),
            sport: self.original.sport,
            dst: Some(self.answer.src),
            dport: self.answer.sport,
            ct_state: if self.tracked {
                CtState::NEW
            } else {
                CtState::UNTRACKED
            },
            ct_reply: self.tracked.then_some(false),
            tcp_flags: (self.proto == TCP).then_some(SYN),
            ..self.packet(iif, oif)
        }
    }

    /// The answer to it, on its way back: as the forward hook sees it.
    #[must_use]
    pub(super) fn back(&self, iif: Option<&str>, oif: Option<&str>) -> FlowPacket {
        FlowPacket {
            src: Some(self.answer.src),
            sport: self.answer.sport,
            dst: Some(self.original.src),
            dport: self.original.sport,
            ct_state: match (self.tracked, self.proto) {
                (true, _) => CtState::ESTABLISHED,
                // An answer to what conntrack has not seen, unless a rule keeps it out too.
                (false, TCP) => CtState::NO_FLOW,
                (false, _) => CtState::NEW | CtState::UNTRACKED,
            },
            ct_reply: self.tracked.then_some(true),
            tcp_flags: (self.proto == TCP).then_some(SYN | ACK),
            ..self.packet(iif, oif)
        }
    }

    /// Its first packet, or the answer to it, as a device sees it that it comes in by or leaves by.
    #[must_use]
    pub(super) fn at_device(
        &self,
        reply: bool,
        side: Side,
        (iif, oif): (Option<&str>, Option<&str>),
    ) -> FlowPacket {
        let (tuple, packet) = if reply {
            (self.answer, self.back(iif, oif))
        } else {
            (self.original, self.first(iif, oif))
        };
        let other = if reply { self.original } else { self.answer };
        let is_own = (side == Side::Server) == reply;
        let (src, sport, dst, dport) = if is_own {
            (tuple.src, tuple.sport, tuple.dst, tuple.dport)
        } else {
            (other.dst, other.dport, other.src, other.sport)
        };
        FlowPacket {
            src: Some(src),
            sport,
            dst: Some(dst),
            dport,
            ..packet
        }
    }

    /// The same for rules that see the addresses as they are on the wire there: at ingress, in a bridge's own chains, and in the
    /// namespace of a container, whose conntrack translates nothing of it.
    #[must_use]
    pub(super) fn untouched(
        &self,
        reply: bool,
        side: Side,
        devices: (Option<&str>, Option<&str>),
    ) -> FlowPacket {
        FlowPacket {
            ct_status: (SNAT | DNAT, 0),
            ct_original: None,
            ct_answer: None,
            ..self.at_device(reply, side, devices)
        }
    }

    /// Its first packet as it comes to rules that may translate it: nothing is translated yet. Whether it is tracked is for
    /// them to say.
    #[must_use]
    pub(super) fn untranslated(&self, iif: Option<&str>, oif: Option<&str>) -> FlowPacket {
        let plain = Self::new(
            self.proto,
            self.original.src,
            self.original.dst,
            self.original.dport.unwrap_or(0),
        );
        plain.first(iif, oif)
    }
}

/// What a namespace's rules do to a packet at a hook.
#[must_use]
pub(super) fn judge(space: &Space, packet: &FlowPacket, hook: Hook) -> Judged {
    judge_at(space, packet, &Site::new(hook))
}

/// The setting by which bridged packets of a family go through the IP hooks too.
#[must_use]
pub(super) fn bridge_nf(address: IpAddr) -> &'static str {
    if address.is_ipv6() {
        "net/bridge/bridge-nf-call-ip6tables"
    } else {
        "net/bridge/bridge-nf-call-iptables"
    }
}

/// What the bridge's own chains do to a packet at one of its hooks; its interfaces are the bridge's ports, where they are known.
#[must_use]
pub(super) fn judge_bridged(space: &Space, packet: &FlowPacket, hook: Hook) -> Judged {
    let packet = FlowPacket {
        pkt_type: None,
        ..packet.clone()
    };
    let site = Site {
        bridge: true,
        family: Some(firewall::Family::Bridge),
        ..Site::new(hook)
    };
    judge_at(space, &packet, &site)
}

/// The packet at a hook, with the marks that the rules of the hooks before it have set.
fn marked(space: &Space, packet: &FlowPacket, hook: Hook) -> FlowPacket {
    let earlier: &[Hook] = match (hook, &packet.iif) {
        (Hook::Input | Hook::Forward, _) => &[Hook::Prerouting],
        (Hook::Postrouting, Some(_)) => &[Hook::Prerouting, Hook::Forward],
        (Hook::Postrouting, None) => &[Hook::Output],
        (Hook::Ingress | Hook::Egress | Hook::Prerouting | Hook::Output, _) => &[],
    };
    let mut packet = packet.clone();
    if !space.firewall.sets_marks_at(earlier) {
        return packet;
    }
    let is_reply = packet.ct_reply == Some(true);
    // What its first packet left in conntrack is not known from its answer.
    if is_reply {
        packet.ct_mark = None;
    }
    let env = space.addresses();
    for hook in earlier {
        let mut then = packet.clone();
        if *hook == Hook::Prerouting {
            // Before any translation.
            let tuple = if is_reply {
                packet.ct_answer
            } else {
                packet.ct_original
            };
            if let Some(tuple) = tuple {
                (then.src, then.sport) = (Some(tuple.src), tuple.sport);
                (then.dst, then.dport) = (Some(tuple.dst), tuple.dport);
            }
            then.oif = None;
        }
        (packet.mark, packet.ct_mark) =
            marks_behind(&space.firewall, &then, &Site::new(*hook), &env);
    }
    packet
}

fn judge_at(space: &Space, packet: &FlowPacket, site: &Site) -> Judged {
    let env = space.addresses();
    let packet = &marked(space, packet, site.hook);
    match simulate_at(&space.firewall, packet, site, &env) {
        Outcome::Accepted => Judged::Passes,
        Outcome::Dropped(dropped) => {
            let mut found = drop_candidates(&space.firewall, packet, site, &env);
            match found.iter().position(|found| found.dropped == *dropped) {
                Some(place) => Judged::Drops(Box::new(found.swap_remove(place))),
                None => Judged::Doubt(format!("{} in {}", dropped.chain, dropped.table)),
            }
        }
        Outcome::CannotTell { at, .. } => Judged::Doubt(at),
    }
}

/// What a namespace's rules make of the destination (or source) of a connection's first packet.
///
/// Rules that keep SYNs alone out of conntrack have SYNPROXY answer them, and the kernel opens the connection to the server
/// itself: what becomes of it is not told.
#[must_use]
pub(super) fn translation(space: &Space, packet: &FlowPacket, hook: Hook) -> Translation {
    let packet = &marked(space, packet, hook);
    let ask = |packet: &FlowPacket| translate(&space.firewall, packet, hook, &space.addresses());
    let first = ask(packet);
    let Translation::Untracked { rule, .. } = &first else {
        return first;
    };
    let later = FlowPacket {
        tcp_flags: packet.tcp_flags.map(|_| ACK),
        ..packet.clone()
    };
    match ask(&later) {
        Translation::Untracked { .. } => first,
        _ => Translation::CannotTell(rule.text().to_owned()),
    }
}
