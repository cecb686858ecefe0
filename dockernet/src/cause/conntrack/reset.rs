//! Connections that the host resets though they are not its own.

use super::{NAT, TCP, ends, entry_text, invalid, number, tracked, tuple};
use crate::{
    cause::{Case, Verdict},
    host::{conntrack::Flow, netns::NetnsHandle},
    model::{Impact, Tuple},
};

/// Rows 42 and 43: what conntrack cannot place is not translated, reaches the host itself, and the host resets it.
pub(in crate::cause) fn reset(case: &Case<'_>) -> Option<Verdict> {
    const RECEIVE: &[&str] = &["tcp_v4_rcv", "tcp_v6_rcv", "tcp_v4_do_rcv", "tcp_v6_do_rcv"];
    if !case.in_host()
        // With docker-proxy, or an engine that holds the ports it publishes (28 and later), a listener gets it.
        || !matches!(case.evidence.reason(), "NO_SOCKET" | "TCP_FLAGS" | "" | "NOT_SPECIFIED")
        || !case.evidence.freed_in(RECEIVE)
        || case.evidence.record.key.protocol != TCP
        || tracked(case)
    {
        return None;
    }
    let packet = case.packet()?;
    let flags = packet.tcp_flags.as_deref()?;
    // Who opens asks for a listener; the last segments of a connection come late on healthy hosts too.
    if flags.contains(['S', 'R', 'F']) || !flags.contains('A') {
        return None;
    }
    let tuple = tuple(case)?;
    let netns = case.netns()?;
    match case.state.flow(&netns, TCP, &tuple).ok()? {
        Some(entry) if entry.status & NAT != 0 => Some(out_of_window(case, &netns, &entry)),
        Some(_) => None,
        None => flushed(case, &netns, &tuple),
    }
}

fn out_of_window(case: &Case<'_>, netns: &NetnsHandle, entry: &Flow) -> Verdict {
    const LIBERAL: &str = "net/netfilter/nf_conntrack_tcp_be_liberal";
    let tool = if case.is_ipv6() {
        "ip6tables"
    } else {
        "iptables"
    };
    let verdict = Verdict::confirmed(
        "conntrack-invalid-reset",
        "conntrack finds that the packet does not fit its connection (sequence or acknowledgement outside the window) and does not \
         translate it: the host itself gets it, and resets the connection",
    )
    .fact(entry_text(entry))
    .fact("this packet bore no conntrack entry: INVALID")
    .maybe_fact(invalid(case, netns));
    let verdict = if number(case, netns, LIBERAL) == Some(0) {
        case.set_sysctl(verdict, LIBERAL, "0", "1")
    } else {
        verdict
    };
    verdict
        .run(
            format!("{tool} -I INPUT -m conntrack --ctstate INVALID -j DROP"),
            "host",
            Some("the firewall's own configuration, before rules that accept".into()),
            Impact::None,
        )
        .advise(
            "dropped instead of reset, the packet is sent again and the connection lives; packets that arrive out of order or by two \
             ways are the usual origin",
        )
}

fn flushed(case: &Case<'_>, netns: &NetnsHandle, tuple: &Tuple) -> Option<Verdict> {
    const LOOSE: &str = "net/netfilter/nf_conntrack_tcp_loose";
    let port = tuple.dst_port?;
    let (container, published) = case.inventory.published("tcp", tuple.dst, port)?;
    if container.ended.is_some() || number(case, netns, LOOSE)? != 0 {
        return None;
    }
    let verdict = Verdict::confirmed(
        "conntrack-flushed",
        format!(
            "conntrack no longer knows a connection to {} that is under way, so it is not translated, and the host resets it",
            container.name
        ),
    )
    .fact(format!("no entry for {}, and the packet opens no connection", ends(tuple)))
    .fact("net.netfilter.nf_conntrack_tcp_loose = 0: what is under way is not picked up")
    .fact(format!("{} publishes {published}", container.name))
    .maybe_fact(invalid(case, netns));
    Some(case.set_sysctl(verdict, LOOSE, "0", "1").advise(
        "find what empties the table (conntrack -F in a script, a firewall's reload), or which connection was idle longer than \
         net/netfilter/nf_conntrack_tcp_timeout_established",
    ))
}
