//! From the packet of a drop line to the packet that rules are asked about.

use std::net::IpAddr;

use super::{
    iptables_match::protocol_number,
    packet::{FlowPacket, FlowTuple},
};
use crate::model;

impl From<&model::Packet> for FlowPacket {
    /// What the headers say. Interfaces, bridge ports and everything of the flow stay unknown.
    fn from(packet: &model::Packet) -> Self {
        let ipv6 = match packet.family.as_ref() {
            "ipv4" => Some(false),
            "ipv6" => Some(true),
            _ => None,
        };
        Self {
            ipv6,
            proto: protocol_number(&packet.protocol),
            src: packet.src,
            dst: packet.dst,
            sport: packet.src_port,
            dport: packet.dst_port,
            mark: Some(packet.mark),
            ttl: packet.ttl,
            pkt_type: match packet.pkt_type.as_ref() {
                "host" => Some(0),
                "broadcast" => Some(1),
                "multicast" => Some(2),
                "otherhost" => Some(3),
                _ => None,
            },
            tcp_flags: packet.tcp_flags.as_deref().map(flags),
            icmp_type: packet.icmp.as_ref().map(|icmp| icmp.icmp_type),
            icmp_code: packet.icmp.as_ref().map(|icmp| icmp.code),
            ..Self::default()
        }
    }
}

impl FlowPacket {
    /// Adds the flow's two tuples and, from the addresses, whether this packet travels in the reply direction.
    ///
    /// `nat` none means that the packet had a flow without NAT: do not call this for a packet without a flow.
    #[must_use]
    pub fn with_flow(mut self, nat: Option<&model::Nat>) -> Self {
        let Some(nat) = nat else {
            self.ct_status = (0x30, 0);
            return self;
        };
        let tuple = |tuple: &model::Tuple| FlowTuple {
            src: tuple.src,
            dst: tuple.dst,
            sport: tuple.src_port,
            dport: tuple.dst_port,
        };
        let bits = match nat.kind {
            model::NatKind::Snat => 0x10,
            model::NatKind::Dnat => 0x20,
            model::NatKind::Both => 0x30,
            model::NatKind::Proxy => 0,
        };
        self.ct_status = (0x30, bits);
        self.ct_original = Some(tuple(&nat.original));
        self.ct_answer = Some(tuple(&nat.reply));
        if self.ct_reply.is_none() {
            self.ct_reply = self.direction(&nat.original, &nat.reply);
        }
        self
    }

    /// The source of a packet in the original direction is, before and after NAT, the original source or the
    /// answer's destination; in the reply direction the answer's source or the original destination.
    fn direction(&self, original: &model::Tuple, answer: &model::Tuple) -> Option<bool> {
        let here: (IpAddr, Option<u16>) = (self.src?, self.sport);
        let end = |address: IpAddr, port: Option<u16>| here == (address, port);
        let forth = end(original.src, original.src_port) || end(answer.dst, answer.dst_port);
        let back = end(answer.src, answer.src_port) || end(original.dst, original.dst_port);
        (forth != back).then_some(back)
    }
}

/// tcpdump's letters as bits of the header.
fn flags(letters: &str) -> u8 {
    letters.chars().fold(0, |bits, letter| {
        bits | match letter {
            'F' => 0x01,
            'S' => 0x02,
            'R' => 0x04,
            'P' => 0x08,
            'A' | '.' => 0x10,
            'U' => 0x20,
            'E' => 0x40,
            'W' | 'C' => 0x80,
            _ => 0,
        }
    })
}
