//! The connection table: full, forgetful, or holding what is no longer true.

mod adopt;
mod stale;

pub use adopt::{adopt, may_be_adopted};
pub(super) use stale::stale_udp;

use super::{Case, Verdict};
use crate::{
    host::{conntrack::Entry, firewall::Hook, netns::NetnsHandle},
    model::{Impact, Tuple},
};
use dockernet_common::{conntrack::status, record::flag};

/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;
const NAT: u32 = status::SRC_NAT | status::DST_NAT;

/// The packet's own addresses and ports as a tuple.
fn tuple(case: &Case<'_>) -> Option<Tuple> {
    let packet = case.packet()?;
    Some(Tuple {
        src: packet.src?,
        src_port: packet.src_port,
        dst: packet.dst?,
        dst_port: packet.dst_port,
    })
}

/// The flow that a TCP packet belongs to by its addresses and ports, whether conntrack took it for part of it or not.
pub(super) fn flow_of(case: &Case<'_>, netns: &NetnsHandle) -> Option<Entry> {
    case.state.flow(netns, TCP, &tuple(case)?).ok()?
}

fn tracked(case: &Case<'_>) -> bool {
    case.evidence.record.flags & flag::CONNTRACK != 0
}

/// A kernel setting as a number.
pub(super) fn number(case: &Case<'_>, netns: &NetnsHandle, key: &str) -> Option<u64> {
    case.state.sysctl(netns, key).ok()??.trim().parse().ok()
}

/// `198.51.100.20:4000 → 198.51.100.10:53`
fn ends(tuple: &Tuple) -> String {
    let end = |address, port: Option<u16>| match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    };
    format!(
        "{} → {}",
        end(tuple.src, tuple.src_port),
        end(tuple.dst, tuple.dst_port)
    )
}

/// A flow as evidence.
pub(super) fn entry_text(entry: &Entry) -> String {
    format!(
        "conntrack has {}, answered by {}",
        ends(&entry.original),
        ends(&entry.reply)
    )
}

/// Row 40. `nf_conntrack_in` (net/netfilter/nf_conntrack_core.c) drops what begins a flow when there is no room for it.
pub(super) fn full(case: &Case<'_>) -> Option<Verdict> {
    const COUNT: &str = "net/netfilter/nf_conntrack_count";
    const MAX: &str = "net/netfilter/nf_conntrack_max";
    let point = case.evidence.hook?;
    if !matches!(case.evidence.reason(), "NETFILTER_DROP" | "")
        || !matches!(point.hook, Hook::Prerouting | Hook::Output)
        || point.nft
        || tracked(case)
    {
        return None;
    }
    let netns = case.netns()?;
    let (count, max) = (number(case, &netns, COUNT)?, number(case, &netns, MAX)?);
    // It is read some time after the drop, and flows end all the time.
    if max == 0 || count.saturating_mul(100) < max.saturating_mul(97) {
        return None;
    }
    let counters = case.state.conntrack_counters(&netns).ok();
    if counters.is_some_and(|counters| counters.drop == 0) {
        return None;
    }
    let wanted = max.saturating_mul(2);
    let files = case.state.sysctl_files();
    let setter = files.who_sets_to(MAX, &max.to_string()).map_or_else(
        || "no file found that sets it: the kernel chose it by the size of memory".to_owned(),
        |setting| {
            format!(
                "{}:{} sets it to {max}",
                setting.file.display(),
                setting.line
            )
        },
    );
    Some(
        Verdict::confirmed(
            "conntrack-full",
            format!("the connection table of {} is full: no new connection gets through, those that are there work", case.place()),
        )
        .fact(format!("nf_conntrack_count = {count}, nf_conntrack_max = {max}"))
        .maybe_fact(counters.map(|counters| format!("{} packets were dropped for want of room (or memory)", counters.drop)))
        .run(
            // The limit is the machine's, whichever namespace's table is full.
            format!("sysctl -w {MAX}={wanted}"),
            "host",
            Some(files.persist(MAX)),
            Impact::None,
        )
        .set_by(setter)
        .advise(
            "see who fills it (conntrack -L | awk '{print $1}' | sort | uniq -c; a scan, a flood, connections that are never closed) and \
             let idle flows go earlier: net/netfilter/nf_conntrack_tcp_timeout_established is 5 days by default",
        ),
    )
}

/// Rows 42 and 43: what conntrack cannot place is not translated, reaches the host itself, and the host resets it.
pub(super) fn reset(case: &Case<'_>) -> Option<Verdict> {
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

fn out_of_window(case: &Case<'_>, netns: &NetnsHandle, entry: &Entry) -> Verdict {
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

/// How often conntrack could not place a packet.
pub(super) fn invalid(case: &Case<'_>, netns: &NetnsHandle) -> Option<String> {
    let counters = case.state.conntrack_counters(netns).ok()?;
    Some(format!(
        "conntrack has found {} packets invalid",
        counters.invalid
    ))
}

/// Row 36. `nf_confirm` (net/netfilter/nf_conntrack_core.c) refuses a flow whose answer would look like another flow's.
pub(super) fn snat_exhausted(case: &Case<'_>) -> Option<Verdict> {
    let point = case.evidence.hook?;
    let record = &case.evidence.record;
    if !case.in_host()
        || !matches!(case.evidence.reason(), "NETFILTER_DROP" | "")
        || point.hook != Hook::Postrouting
        || point.bridge
        || point.nft
        || !tracked(case)
        || record.conntrack.status & status::CONFIRMED != 0
    {
        return None;
    }
    let own = case.evidence.drop.nat.as_ref()?;
    let protocol = record.key.protocol;
    let other = case.state.flow(case.host, protocol, &own.reply).ok()??;
    // Two packets of one flow that race for its entry (two DNS questions at once) are no shortage.
    if other.original == own.original
        || (other.original.src, other.original.src_port)
            == (own.original.src, own.original.src_port)
    {
        return None;
    }
    let (address, service) = (own.reply.dst, own.reply.src);
    let port = own.reply.src_port;
    let alike = case.state.flows(case.host).ok().map(|flows| {
        flows
            .iter()
            .filter(|flow| flow.protocol == protocol)
            .filter(|flow| {
                (flow.reply.src, flow.reply.src_port, flow.reply.dst) == (service, port, address)
            })
            .count()
    });
    let target = port.map_or_else(
        || service.to_string(),
        |port| std::net::SocketAddr::new(service, port).to_string(),
    );
    let rule = case.host_firewall().snat_to_one_port(address);
    let counters = case.state.conntrack_counters(case.host).ok();
    let verdict = Verdict::confirmed(
        "snat-exhausted",
        format!("no port of {address} is left to translate one more flow to {target}: the port it was given belongs to another one"),
    )
    .fact(format!(
        "the answer {} belongs to the flow {}",
        ends(&own.reply),
        ends(&other.original)
    ))
    .maybe_fact(alike.map(|count| format!("{count} flows to {target} are translated to {address}")))
    .maybe_fact(counters.map(|counters| format!("insert_failed = {}", counters.insert_failed)))
    .maybe_fact(rule.as_ref().map(|rule| format!("nat rule: {rule}")));
    Some(match rule {
        Some(_) => verdict.advise(
            "that rule allows one port: let it choose (--to-source ADDRESS without a port, or MASQUERADE), or give it a range of ports",
        ),
        None => verdict.advise(
            "let fewer flows go to one service at a time (keep connections open and reuse them, a local resolver or proxy), or translate to \
             more addresses: -j SNAT --to-source FIRST-LAST; there are 64,512 ports for each address and service, whatever \
             net.ipv4.ip_local_port_range says",
        ),
    })
}
