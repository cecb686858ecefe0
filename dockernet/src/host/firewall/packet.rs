//! The packet that rules are asked about, as far as it is known.

use std::net::IpAddr;

/// Flow states a packet may be in, as a set: `CtState::INVALID | CtState::UNTRACKED` is "one of both".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CtState(pub u8);

impl CtState {
    /// Belongs to no flow. The bits are nft's (include/uapi/linux/netfilter/nf_conntrack_common.h, nf_tables).
    pub const INVALID: Self = Self(1);
    /// Seen in both directions.
    pub const ESTABLISHED: Self = Self(2);
    /// Belongs to another flow, such as an ICMP error.
    pub const RELATED: Self = Self(4);
    /// First packet.
    pub const NEW: Self = Self(8);
    /// Not tracked: raw `NOTRACK`, or before conntrack.
    pub const UNTRACKED: Self = Self(64);
    /// Nothing is known.
    pub const ANY: Self = Self(1 | 2 | 4 | 8 | 64);
    /// `skb->_nfct` was NULL.
    pub const NO_FLOW: Self = Self(1 | 64);
}

impl Default for CtState {
    fn default() -> Self {
        Self::ANY
    }
}

impl std::ops::BitOr for CtState {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One direction of a flow. Ports are null for protocols without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
}

/// The packet as it was at the hook (after DNAT where DNAT came before). `None` is "not known": conditions on it
/// cannot be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowPacket {
    /// IPv6 (true), IPv4 (false).
    pub ipv6: Option<bool>,
    /// IP protocol number.
    pub proto: Option<u8>,
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// Incoming interface (for the IP hooks of bridged packets: the bridge). At OUTPUT there is none, whatever this says.
    pub iif: Option<String>,
    /// Outgoing interface. At PREROUTING and INPUT there is none, whatever this says.
    pub oif: Option<String>,
    /// Bridge port that it came in by; empty if it is known to have come by none.
    pub physin: Option<String>,
    /// Bridge port that it leaves by; empty if it is known to leave by none.
    pub physout: Option<String>,
    /// Mark when it came to the hook.
    pub mark: Option<u32>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// States it may be in.
    pub ct_state: CtState,
    /// Status bits of its flow (`IPS_*`: 0x10 SNAT, 0x20 DNAT) that are known, and their values: (known, value).
    pub ct_status: (u32, u32),
    /// Whether it travels in the reply direction.
    pub ct_reply: Option<bool>,
    /// Flow's mark.
    pub ct_mark: Option<u32>,
    /// Flow before NAT.
    pub ct_original: Option<FlowTuple>,
    /// What answers look like before they are translated back.
    pub ct_answer: Option<FlowTuple>,
    /// `PACKET_*`: 0 host, 1 broadcast, 2 multicast, 3 other host.
    pub pkt_type: Option<u8>,
    /// TCP flags (FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32).
    pub tcp_flags: Option<u8>,
    /// ICMP type.
    pub icmp_type: Option<u8>,
    /// ICMP code.
    pub icmp_code: Option<u8>,
    /// Whether an IPv6 packet has a routing header (ufw asks for it in front of all else).
    pub routing_header: Option<bool>,
}

impl FlowPacket {
    /// Whether it is IPv6, from what is known.
    #[must_use]
    pub fn is_ipv6(&self) -> Option<bool> {
        self.ipv6
            .or_else(|| self.dst.or(self.src).map(|address| address.is_ipv6()))
    }

    /// The flow's two tuples: as given, else, for a flow without NAT, from the packet itself.
    pub(super) fn tuples(&self) -> (Option<FlowTuple>, Option<FlowTuple>) {
        const NAT: u32 = 0x30;
        let (known, value) = self.ct_status;
        let plain = known & NAT == NAT
            && value & NAT == 0
            && self.ct_state.0 & !(CtState::NEW | CtState::ESTABLISHED).0 == 0;
        let here = self
            .src
            .zip(self.dst)
            .filter(|_| plain)
            .map(|(src, dst)| FlowTuple {
                src,
                dst,
                sport: self.sport,
                dport: self.dport,
            });
        let back = here.map(|here| FlowTuple {
            src: here.dst,
            dst: here.src,
            sport: here.dport,
            dport: here.sport,
        });
        let (original, answer) = match self.ct_reply {
            Some(false) => (here, back),
            Some(true) => (back, here),
            None => (None, None),
        };
        (self.ct_original.or(original), self.ct_answer.or(answer))
    }
}

/// What rules ask about the machine.
pub trait Env {
    /// Whether the address is this namespace's own. `None`: not known.
    fn is_local(&self, address: IpAddr) -> Option<bool>;

    /// Whether the address is a subnet's broadcast address. `None`: not known.
    fn is_broadcast(&self, address: IpAddr) -> Option<bool> {
        let _ = address;
        None
    }

    /// Whether the address is on this very interface. `None`: not known.
    fn is_local_on(&self, address: IpAddr, interface: &str) -> Option<bool> {
        let _ = (address, interface);
        None
    }
}

/// An [`Env`] of given addresses with their prefixes.
impl Env for Vec<ipnet::IpNet> {
    fn is_local(&self, address: IpAddr) -> Option<bool> {
        Some(self.iter().any(|net| net.addr() == address))
    }

    fn is_broadcast(&self, address: IpAddr) -> Option<bool> {
        Some(self.iter().any(|net| match net {
            ipnet::IpNet::V4(net) => {
                net.prefix_len() < 31 && IpAddr::V4(net.broadcast()) == address
            }
            ipnet::IpNet::V6(_) => false,
        }))
    }
}
