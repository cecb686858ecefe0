//! The packet as a chain saw it, given the packet as it was when it died.

use std::borrow::Cow;

use super::{CtState, FlowPacket, Hook};

/// Priorities of include/uapi/linux/netfilter_ipv4.h.
const CONNTRACK: i32 = -200;
pub(super) const NAT_DST: i32 = -100;
pub(super) const NAT_SRC: i32 = 100;
/// `IPS_SRC_NAT`, `IPS_DST_NAT`.
const SRC_NAT: u32 = 0x10;
const DST_NAT: u32 = 0x20;
const NAT_BITS: u32 = SRC_NAT | DST_NAT;

/// Whether a chain of this priority runs before conntrack has looked at the packet.
pub(in crate::host::firewall) fn before_conntrack(hook: Hook, priority: i32) -> bool {
    hook == Hook::Ingress || matches!(hook, Hook::Prerouting | Hook::Output) && priority < CONNTRACK
}

/// The packet as a chain of this priority sees it: before conntrack without a flow, before NAT with the
/// addresses on the wire. `nat` tells that the chain is one of those that translate.
pub(super) fn seen_by(
    packet: &FlowPacket,
    hook: Hook,
    priority: i32,
    nat: bool,
) -> Cow<'_, FlowPacket> {
    let dst_hook = matches!(hook, Hook::Prerouting | Hook::Output);
    // Of a chain with just NAT's priority it cannot be told which of them comes first.
    let between = !nat
        && (dst_hook && priority == NAT_DST || hook == Hook::Postrouting && priority == NAT_SRC);
    let before_dst = hook == Hook::Ingress || dst_hook && (nat || priority <= NAT_DST);
    let before_src = hook == Hook::Postrouting && (nat || priority <= NAT_SRC);
    let flowless = before_conntrack(hook, priority);
    // Packets on the loopback device keep their flow from the way out.
    let loopback = packet.iif.as_deref() == Some("lo") && hook == Hook::Prerouting;
    if !(before_dst || before_src || flowless) || loopback {
        return Cow::Borrowed(packet);
    }
    let mut packet = packet.clone();
    let (known, value) = packet.ct_status;
    let untouched = packet.ct_state.0 & !CtState::NO_FLOW.0 == 0
        || known & NAT_BITS == NAT_BITS && value & NAT_BITS == 0;
    if !untouched {
        let wire = match packet.ct_reply {
            Some(false) => packet.ct_original,
            Some(true) => packet.ct_answer,
            None => None,
        };
        // An ICMP error (RELATED) carries addresses of its own, not those of the flow that it is about.
        let wire = wire.filter(|_| packet.ct_state.0 & CtState::RELATED.0 == 0 && !between);
        if before_src {
            packet.src = wire.map(|tuple| tuple.src);
            packet.sport = wire.and_then(|tuple| tuple.sport);
        } else {
            packet.dst = wire.map(|tuple| tuple.dst);
            packet.dport = wire.and_then(|tuple| tuple.dport);
        }
        // A flow's first packet gets its translation only here.
        if packet.ct_state.0 & CtState::NEW.0 != 0 {
            packet.ct_status.0 &= !if before_src { SRC_NAT } else { DST_NAT };
            packet.ct_answer = None;
        }
    }
    if flowless {
        packet.ct_state = CtState::INVALID;
    }
    Cow::Owned(packet)
}

/// The bridge's own chains see its ports as interfaces. `only` tells that no IP chain is meant, so that the packet's
/// interfaces may be ports already.
pub(super) fn in_bridge(packet: Cow<'_, FlowPacket>, only: bool) -> Cow<'_, FlowPacket> {
    let mut packet = packet.into_owned();
    let (iif, oif) = match only {
        true => (packet.iif, packet.oif),
        false => (None, None),
    };
    packet.iif = packet.physin.clone().or(iif);
    packet.oif = packet.physout.clone().or(oif);
    Cow::Owned(packet)
}
