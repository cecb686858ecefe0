//! Drops that are part of a healthy host's life. They are counted and hidden unless `--all`.

use std::net::IpAddr;

use dockernet_common::{
    conntrack::info,
    packet::{Transport, UDP},
    record::flag,
};

use super::Case;
use crate::{
    host::{
        firewall::Hook,
        listeners::{Transport as Kind, listening_on},
    },
    model::{EndpointKind, Tuple},
};

/// ICMP redirect (RFC 792) and neighbour solicitation (RFC 4861).
const REDIRECT: u8 = 5;
const NEIGHBOUR_SOLICITATION: u8 = 135;
/// ICMPv6 packet too big (RFC 4443).
const PACKET_TOO_BIG: u8 = 2;
/// ICMP destination unreachable, fragmentation needed (RFC 1191): type and code.
const FRAGMENTATION_NEEDED: (u8, u8) = (3, 4);

/// Noise whatever else the packet looks like.
#[must_use]
pub fn certain(case: &Case<'_>) -> Option<&'static str> {
    let evidence = case.evidence;
    let flags = case
        .packet()
        .and_then(|packet| packet.tcp_flags.as_deref())
        .unwrap_or("");
    let unspecified = matches!(evidence.reason(), "" | "NOT_SPECIFIED");
    // A dropped reassembled packet fires once more for each fragment that it held.
    if evidence.drop.device.is_none()
        && unspecified
        && evidence.freed_in(&[
            "skb_release_data",
            "kfree_skb_list",
            "kfree_skb_list_reason",
        ])
    {
        return Some("fragment-list");
    }
    // `ip route get … iif …` sends a made-up packet through the routing code; our own questions do too.
    if evidence.freed_in(&["inet_rtm_getroute", "inet6_rtm_getroute"]) {
        return Some("route-lookup");
    }
    // Sockets that close or forget: queues that are thrown away, segments that come late or twice.
    let teardown = matches!(
        evidence.reason(),
        "QUEUE_PURGE"
            | "SOCKET_CLOSE"
            | "TCP_ABORT_ON_DATA"
            | "TCP_CLOSE"
            | "TCP_RESET"
            | "TCP_OLD_DATA"
            | "TCP_OFOMERGE"
            | "TCP_OLD_ACK"
            | "TCP_OLD_SEQUENCE"
            | "TCP_TOO_OLD_ACK"
            | "TCP_RFC7323_TW_PAWS"
    ) || unspecified
        && evidence.freed_in(&[
            "tcp_rcv_state_process",
            "udp_destruct_common",
            "__skb_queue_purge",
            // Until 6.2 it throws the receive queue away itself.
            "sk_stream_kill_queues",
            // The same, where it is not a function of its own.
            "inet_sock_destruct",
        ]);
    if teardown {
        return Some("teardown");
    }
    // The last segments of a connection whose own side has closed: a TIME_WAIT socket takes them and `tcp_v4_rcv` frees
    // them under `discard_it` with no reason, as every other close does (a FIN to who closed first: FIN_WAIT2, RFC 9293).
    if unspecified
        && flags.contains('F')
        && !flags.contains('S')
        && evidence.freed_in(&["tcp_v4_rcv", "tcp_v6_rcv"])
    {
        return Some("teardown");
    }
    // A bare acknowledgement that others have overtaken: its timestamp is an older one. (6.14+ has a reason of its own for
    // it, TCP_RFC7323_PAWS_ACK, because it is harmless.)
    if evidence.reason() == "TCP_RFC7323_PAWS_ACK"
        || evidence.reason() == "TCP_RFC7323_PAWS" && is_bare_ack(case, flags)
    {
        return Some("overtaken");
    }
    if evidence.reason_or_silent("NO_SOCKET") {
        // Every ping that is answered ends so; from 6.0 to 6.2 its caller frees it.
        let by_caller =
            evidence.reason() == "NO_SOCKET" && evidence.freed_in(&["icmp_rcv", "icmpv6_rcv"]);
        if by_caller || evidence.freed_in(&["ping_rcv"]) {
            return Some("ping-reply");
        }
        // A reset for a connection that is already gone.
        if flags.contains('R') && evidence.freed_in(&["tcp_v4_rcv", "tcp_v6_rcv"]) {
            return Some("teardown");
        }
    }
    // From 5.19 to 6.2 every message that was dealt with (echo requests, neighbours) ends so; what is wrong with one has a reason.
    if evidence.reason() == "NOT_SPECIFIED" && evidence.freed_in(&["icmpv6_rcv"]) {
        return Some("handled");
    }
    // A duplicate SYN: the answer to the first one was lost, which is the drop to look at. (Kernels that give no reasons say
    // nothing else about a SYN that nobody listens for.)
    if evidence.reason() == "NOT_SPECIFIED"
        && flags == "S"
        && evidence.freed_in(&["tcp_v4_rcv", "tcp_v6_rcv", "tcp_conn_request"])
    {
        return Some("duplicate-syn");
    }
    // Copies for packet sockets (tcpdump, DHCP clients) that their filter refuses.
    if matches!(evidence.reason(), "SOCKET_FILTER" | "PACKET_SOCK_ERROR")
        && evidence.freed_in(&[
            "packet_rcv",
            "tpacket_rcv",
            "packet_rcv_spkt",
            "sk_filter_trim_cap",
        ])
        && !evidence.below(&[
            "tcp_v4_rcv",
            "tcp_v6_rcv",
            "udp_queue_rcv_one_skb",
            "udpv6_queue_rcv_one_skb",
        ])
    {
        return Some("packet-socket");
    }
    let netfilter = evidence.reason() == "NETFILTER_DROP" || evidence.hook.is_some();
    // NAT drops redirects: they would give away addresses that it hides.
    if netfilter
        && (evidence.below(&["ip_rt_send_redirect", "ndisc_send_redirect"])
            || is_icmp(case, REDIRECT))
    {
        return Some("redirect");
    }
    if netfilter && is_multicast(case) {
        return Some("multicast");
    }
    None
}

/// Noise if no cause fits.
#[must_use]
pub fn leftover(case: &Case<'_>) -> Option<&'static str> {
    let evidence = case.evidence;
    // A bridge sends what it cannot place to every port; who is not meant throws it away.
    if evidence.reason() == "OTHERHOST"
        || case
            .packet()
            .is_some_and(|packet| packet.pkt_type == "otherhost")
            && evidence.freed_in(&["ip_rcv_core", "ip_rcv", "ip6_rcv_core"])
    {
        return Some("flooded");
    }
    if is_multicast(case) {
        return Some("multicast");
    }
    if is_error_reply(case) {
        return Some("error-reply");
    }
    if evidence.reason() == "UNHANDLED_PROTO" && case.src().is_none() {
        return Some("unknown-protocol");
    }
    if evidence.reason_or_silent("NO_SOCKET") && (is_late(case) || is_answer(case)) {
        return Some("late");
    }
    if is_closing(case) || is_end_without_flow(case) {
        return Some("teardown");
    }
    // A kernel that gives no reasons (before 5.17) reports every packet that is freed this way, and much of that is no
    // failure at all: what fits no cause is not worth a person's attention.
    if evidence.drop.reason.is_none() {
        return Some("no-reason");
    }
    None
}

/// A FIN or RST that netfilter dropped and that conntrack knows no connection of. (A rule that keeps packets out of conntrack is
/// another matter.)
pub(super) fn is_end_without_flow(case: &Case<'_>) -> bool {
    let evidence = case.evidence;
    let record = &evidence.record;
    let flags = case.packet().and_then(|packet| packet.tcp_flags.as_deref());
    // What carries data is waited for.
    let is_bare = case
        .packet()
        .is_some_and(|packet| packet.length <= headers(case));
    let on_hook = evidence
        .hook
        .is_some_and(|point| matches!(point.hook, Hook::Input | Hook::Forward | Hook::Output));
    matches!(evidence.reason(), "NETFILTER_DROP" | "")
        && on_hook
        && is_bare
        && flags.is_some_and(|flags| flags.contains(['F', 'R']) && !flags.contains('S'))
        && record.flags & flag::CONNTRACK == 0
        && record.conntrack.info != info::UNTRACKED
}

/// Neither opens nor closes anything, and is no longer than headers alone may be (a TCP header has up to 60 bytes; what
/// carries so little data is pushed as a rule).
fn is_bare_ack(case: &Case<'_>, flags: &str) -> bool {
    let is_bare = |length: u32| length <= headers(case);
    flags == "A" && case.packet().is_some_and(|packet| is_bare(packet.length))
}

/// Bytes of headers alone, at most.
fn headers(case: &Case<'_>) -> u32 {
    if case.is_ipv6() { 100 } else { 80 }
}

/// A bare acknowledgement that a TIME_WAIT socket took: the reader went on reading after the writer had closed. The only
/// other way to this place is the end of a handshake that a full accept queue refuses, so no connection may be waiting.
fn is_closing(case: &Case<'_>) -> bool {
    let evidence = case.evidence;
    let bare = case
        .packet()
        .is_some_and(|packet| packet.tcp_flags.as_deref() == Some("A"));
    if !bare
        || !matches!(evidence.reason(), "" | "NOT_SPECIFIED")
        || !evidence.freed_in(&["tcp_v4_rcv", "tcp_v6_rcv"])
    {
        return false;
    }
    let Some(port) = case.packet().and_then(|packet| packet.dst_port) else {
        return false;
    };
    let all = case
        .netns()
        .and_then(|netns| case.state.listeners(&netns).ok());
    all.is_some_and(|all| {
        listening_on(&all, Kind::Tcp, port)
            .iter()
            .all(|listener| listener.receive_queue == 0)
    })
}

/// The host's own message about a packet that it drops, when that message finds no way either: every caller of
/// `__icmp_send` and `icmp6_send` frees the packet next, and that drop is the one to look at. "Fragmentation needed" is
/// no part of this: without it a connection hangs.
fn is_error_reply(case: &Case<'_>) -> bool {
    let Some(icmp) = case.packet().and_then(|packet| packet.icmp.as_ref()) else {
        return false;
    };
    let about_size = if case.is_ipv6() {
        icmp.icmp_type == PACKET_TOO_BIG
    } else {
        (icmp.icmp_type, icmp.code) == FRAGMENTATION_NEEDED
    };
    icmp.inner.is_some()
        && !about_size
        && case
            .evidence
            .below(&["__icmp_send", "icmp_send", "icmp6_send", "icmp_ndo_send"])
}

/// An answer to somebody who has stopped waiting: to a client's port, from a service's.
fn is_late(case: &Case<'_>) -> bool {
    /// Lowest port of `net.ipv4.ip_local_port_range` by default.
    const EPHEMERAL: u16 = 32768;
    let Some(packet) = case.packet() else {
        return false;
    };
    let (Some(from), Some(to)) = (packet.src_port, packet.dst_port) else {
        return false;
    };
    let opens = packet.tcp_flags.as_deref() == Some("S");
    !opens && to >= EPHEMERAL && from < EPHEMERAL && case.evidence.drop.published.is_none()
}

/// A datagram that conntrack knows for the answer to one that was sent from where it went: whoever asked has gone on, as a resolver
/// does that has asked several servers. (`__udp4_lib_rcv` takes the entry off the packet, so the table is asked.)
fn is_answer(case: &Case<'_>) -> bool {
    /// Ports of services that are not asked from.
    const WELL_KNOWN: u16 = 1024;
    let Some(packet) = case.packet().filter(|packet| packet.protocol == "udp") else {
        return false;
    };
    let (Some(src), Some(dst)) = (case.src(), case.dst()) else {
        return false;
    };
    // Peers that use one port for both directions (SIP, WireGuard) ask and serve: whose program has died is not to be hidden.
    let from_service = packet
        .src_port
        .zip(packet.dst_port)
        .is_some_and(|(from, to)| from < WELL_KNOWN && to >= WELL_KNOWN || from < to);
    if !from_service || case.evidence.drop.published.is_some() {
        return false;
    }
    let question = Tuple {
        src: dst,
        src_port: packet.dst_port,
        dst: src,
        dst_port: packet.src_port,
    };
    let flow = case.state.flow(case.host, UDP, &question);
    flow.is_ok_and(|flow| flow.is_some_and(|flow| flow.original == question))
}

/// Sent to many: by its address, or by its link address.
pub(super) fn is_multicast(case: &Case<'_>) -> bool {
    let Some(packet) = case.packet() else {
        return false;
    };
    matches!(packet.pkt_type.as_ref(), "multicast" | "broadcast")
        || case.evidence.drop.destination.kind == EndpointKind::Multicast
        || packet.dst.is_some_and(|dst| match dst {
            IpAddr::V4(dst) => dst.is_multicast() || dst.is_broadcast(),
            IpAddr::V6(dst) => dst.is_multicast(),
        })
        || packet.dst_mac.as_deref().is_some_and(|mac| {
            mac == "ff:ff:ff:ff:ff:ff" || mac.starts_with("33:33:") || mac.starts_with("01:00:5e:")
        })
        || packet.protocol == "igmp"
}

/// Whether the packet was for the one who dropped it: by address, or a neighbour solicitation for an address of its.
pub(super) fn meant_for_us(case: &Case<'_>) -> bool {
    if !is_multicast(case) {
        return true;
    }
    let Some(Transport::Icmpv6(icmp)) = &case.evidence.parsed.transport else {
        return false;
    };
    let Some(target) = icmp
        .target
        .filter(|_| icmp.icmp_type == NEIGHBOUR_SOLICITATION)
    else {
        return false;
    };
    let target = IpAddr::V6(target);
    let here = case.container_here().map(|container| container.id.as_str());
    here.is_some()
        && case
            .assigned_to(target)
            .map(|container| container.id.as_str())
            == here
}

fn is_icmp(case: &Case<'_>, icmp_type: u8) -> bool {
    case.packet()
        .filter(|packet| packet.family == "ipv4")
        .and_then(|packet| packet.icmp.as_ref())
        .is_some_and(|icmp| icmp.icmp_type == icmp_type)
}
