//! A program does not keep up with what comes, or memory for it has run out.

use super::{Case, Verdict};
use crate::host::{
    firewall::Family,
    listeners::{Listener, Transport, listening_on},
    sysctl,
};

/// Whether a socket may have had no room for it, as far as the function tells that freed it.
///
/// Before 5.18 there is no reason for that: the same functions free what a socket's filter, IPsec or a checksum refuses.
pub(super) fn may_lack_room(case: &Case<'_>) -> bool {
    case.evidence.reason_or_silent("SOCKET_RCVBUFF")
        && case
            .evidence
            .freed_in(&["udp_queue_rcv_one_skb", "udpv6_queue_rcv_one_skb"])
}

/// The UDP socket that the packet was for, if it has ever dropped one: rather one in which some wait to be read.
pub(super) fn short_of_room(case: &Case<'_>) -> Option<Listener> {
    let packet = case.packet()?;
    if packet.protocol != "udp" {
        return None;
    }
    let (src, dst) = (packet.src?, packet.dst?);
    let from = (src, packet.src_port?);
    let all = case.state.listeners(&case.netns()?).ok()?;
    listening_on(&all, Transport::Udp, packet.dst_port?)
        .into_iter()
        .filter(|socket| socket.drops > 0 && socket.accepts(dst))
        .filter(|socket| {
            socket
                .remote
                .is_none_or(|remote| (remote.ip().to_canonical(), remote.port()) == from)
        })
        .max_by_key(|socket| (socket.receive_queue > 0, socket.drops))
        .cloned()
}

/// What such a socket shows.
pub(super) fn lack_of_room(socket: &Listener) -> String {
    format!(
        "socket {} has dropped {} datagrams; {} bytes wait to be read",
        socket.local, socket.drops, socket.receive_queue
    )
}

/// Without docker-proxy the engine holds a published port's socket, and never reads from it: what comes to it was to be
/// translated.
fn held_by_docker(case: &Case<'_>, protocol: &str, port: u16) -> Option<Verdict> {
    if !case.in_host() {
        return None;
    }
    let (container, published) = case.inventory.published(protocol, case.dst()?, port)?;
    // A docker-proxy that is meant to serve it (no rules at all) may just be slow.
    if !case.host_firewall().has_docker_chains(Family::Ip) {
        return None;
    }
    let verdict = super::firewall::rules_missing(case, container, published)?;
    Some(verdict.fact("what comes for it ends in a socket of the host's own"))
}

/// Not the socket's own limit: that of all UDP sockets together, or of the memory of the container's cgroup, which pays for them
/// too. UDP knows no pressure: above the first number it gets no more (net/core/sock.c `__sk_mem_raise_allocated`). TCP says the same of
/// its socket's own limit (`tcp_try_rmem_schedule`).
fn protocol_full(case: &Case<'_>) -> Verdict {
    let key = "net/ipv4/udp_mem";
    let now = case.state.sysctl(case.host, key).ok().flatten();
    let now = now.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let twice = now.as_deref().and_then(|text| {
        let pages = text
            .split(' ')
            .map(|pages| Some(pages.parse::<u64>().ok()?.saturating_mul(2).to_string()));
        Some(pages.collect::<Option<Vec<_>>>()?.join(" "))
    });
    let verdict = Verdict::confirmed(
        "socket-buffer-full",
        format!(
            "the UDP sockets of the whole host hold as much memory as they may, or the memory limit of {} leaves none for them",
            case.place()
        ),
    )
    .likely()
    .maybe_fact(now.as_ref().map(|text| format!("{} = {text} (pages; the first is the limit)", sysctl::display_key(key))))
    .advise("which of them: mem in /proc/net/sockstat (pages) against that limit; docker stats against the container's --memory (docker update --memory raises it)");
    match (now, twice) {
        (Some(now), Some(twice)) => verdict.set_host_sysctl(
            &case.state.sysctl_files(),
            key,
            &now,
            &format!("\"{twice}\""),
        ),
        _ => verdict,
    }
}

/// Twice what programs may ask for now.
fn with_higher_ceiling(case: &Case<'_>, verdict: Verdict) -> Verdict {
    /// What suits most that receive a lot (8 MiB).
    const ENOUGH: u64 = 8_388_608;
    let key = "net/core/rmem_max";
    let now = case.state.sysctl(case.host, key).ok().flatten();
    let Some((now, bytes)) =
        now.and_then(|now| Some((now.trim().to_owned(), now.trim().parse::<u64>().ok()?)))
    else {
        return verdict;
    };
    let higher = bytes.saturating_mul(2).clamp(ENOUGH, 0x7fff_ffff);
    if higher <= bytes {
        return verdict;
    }
    verdict.set_host_sysctl(&case.state.sysctl_files(), key, &now, &higher.to_string())
}

/// Row 50.
pub(super) fn buffer_full(case: &Case<'_>) -> Option<Verdict> {
    let is_told = matches!(case.evidence.reason(), "SOCKET_RCVBUFF" | "PROTO_MEM");
    if !is_told && !may_lack_room(case) {
        return None;
    }
    let socket = short_of_room(case);
    if !is_told
        && socket
            .as_ref()
            .is_none_or(|socket| socket.receive_queue == 0)
    {
        return None;
    }
    let packet = case.packet()?;
    let port = packet.dst_port?;
    if let Some(verdict) = held_by_docker(case, &packet.protocol, port) {
        return Some(verdict.maybe_fact(socket.as_ref().map(lack_of_room)));
    }
    if case.evidence.reason() == "PROTO_MEM" && packet.protocol == "udp" {
        return Some(protocol_full(case));
    }
    let place = case.place();
    let verdict = Verdict::when(
        is_told && socket.is_some(),
        "socket-buffer-full",
        format!(
            "the program on {port}/{} in {place} reads more slowly than data comes in",
            packet.protocol
        ),
    )
    .maybe_fact(socket.as_ref().map(lack_of_room));
    // TCP's buffers grow by themselves, up to a limit of the namespace's.
    if packet.protocol == "tcp" {
        return Some(verdict.advise(
            "let the program read faster; where it sets no SO_RCVBUF of its own, the third number of net.ipv4.tcp_rmem in its namespace limits it",
        ));
    }
    Some(
        with_higher_ceiling(case, verdict)
            .advise("then let the program ask for more (SO_RCVBUF) and restart it, or let it read faster: net.core.rmem_max is only the ceiling"),
    )
}
