//! A made-up connection, as firewall rules see its packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::space::Space;
use crate::host::{
    firewall::{
        Attribution, CtState, FlowPacket, FlowTuple, Hook, Outcome, Site, Translation,
        drop_candidates, simulate, translate,
    },
    route::Family,
};

/// TCP.
pub(super) const TCP: u8 = 6;
/// UDP.
pub(super) const UDP: u8 = 17;
/// A client's port.
pub(super) const CLIENT_PORT: u16 = 40_000;
/// `IPS_SRC_NAT`, `IPS_DST_NAT` (include/uapi/linux/netfilter/nf_conntrack_common.h).
const SNAT: u32 = 0x10;
const DNAT: u32 = 0x20;

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
            ct_status: (SNAT | DNAT, self.status()),
            ct_mark: Some(0),
            ct_original: Some(self.original),
            ct_answer: Some(self.answer),
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
            ct_state: CtState::NEW,
            ct_reply: Some(false),
            tcp_flags: (self.proto == TCP).then_some(0x02),
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
            ct_state: CtState::ESTABLISHED,
            ct_reply: Some(true),
            tcp_flags: (self.proto == TCP).then_some(0x12),
            ..self.packet(iif, oif)
        }
    }

    /// Its first packet as it comes to rules that may translate it: nothing is translated yet.
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
    let env = space.addresses();
    match simulate(&space.firewall, packet, hook, &env) {
        Outcome::Accepted => Judged::Passes,
        Outcome::Dropped(dropped) => {
            let site = Site::new(hook);
            let mut found = drop_candidates(&space.firewall, packet, &site, &env);
            match found.iter().position(|found| found.dropped == *dropped) {
                Some(place) => Judged::Drops(Box::new(found.swap_remove(place))),
                None => Judged::Doubt(format!("{} in {}", dropped.chain, dropped.table)),
            }
        }
        Outcome::CannotTell { at, .. } => Judged::Doubt(at),
    }
}

/// What a namespace's rules make of the destination (or source) of a connection's first packet.
#[must_use]
pub(super) fn translation(space: &Space, packet: &FlowPacket, hook: Hook) -> Translation {
    translate(&space.firewall, packet, hook, &space.addresses())
}
