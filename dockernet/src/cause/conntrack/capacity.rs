//! No room for one more flow: in the table, or among the ports of an address.

use dockernet_common::conntrack::status;

use super::{ends, number, tracked};
use crate::{
    cause::{Case, Verdict},
    host::firewall::Hook,
    model::Impact,
};

/// Row 40. `nf_conntrack_in` (net/netfilter/nf_conntrack_core.c) drops what begins a flow when there is no room for it.
pub(in crate::cause) fn full(case: &Case<'_>) -> Option<Verdict> {
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

/// Row 36. `nf_confirm` (net/netfilter/nf_conntrack_core.c) refuses a flow whose answer would look like another flow's.
pub(in crate::cause) fn snat_exhausted(case: &Case<'_>) -> Option<Verdict> {
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
