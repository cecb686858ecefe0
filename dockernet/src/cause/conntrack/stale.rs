//! UDP flows that stay as they began, as long as somebody goes on sending.

use super::{NAT, UDP, ends, entry_text, tuple};
use crate::{
    cause::{Case, Verdict, firewall, neighbour},
    host::{conntrack::Flow, firewall::Translation},
    model::{Impact, NatKind},
};
use dockernet_common::conntrack::status;

/// Rows 44 and 45.
pub(in crate::cause) fn stale_udp(case: &Case<'_>) -> Option<Verdict> {
    if !case.in_host() || case.evidence.record.key.protocol != UDP {
        return None;
    }
    untranslated(case).or_else(|| old_address(case))
}

/// The flow began before the port was published: NAT is decided by the first packet only.
fn untranslated(case: &Case<'_>) -> Option<Verdict> {
    const RECEIVE: &[&str] = &["__udp4_lib_rcv", "__udp6_lib_rcv", "udp_rcv", "udpv6_rcv"];
    let refused = case.evidence.reason_or_silent("NO_SOCKET") && case.evidence.freed_in(RECEIVE);
    // Without docker-proxy dockerd itself holds the port, and never reads what comes to it.
    if !refused && case.evidence.reason() != "SOCKET_RCVBUFF" {
        return None;
    }
    let tuple = tuple(case)?;
    let (container, published) = case
        .inventory
        .published("udp", tuple.dst, tuple.dst_port?)?;
    if container.ended.is_some() || container.attachments.is_empty() {
        return None;
    }
    // `__udp4_lib_rcv` takes the entry from the packet before it drops it: the table is asked.
    let entry = case.state.flow(case.host, UDP, &tuple).ok()??;
    if entry.original != tuple || entry.status & status::DST_NAT != 0 {
        return None;
    }
    // Without a rule for it every flow is untranslated: then the rule is what is missing. Nor are those translated that docker-proxy is
    // there for: by localhost, and from the container's own bridge.
    let translation = firewall::arriving(case, &case.host_firewall())?;
    let is_certain = match translation {
        Translation::To(..) => true,
        Translation::CannotTell(_) => false,
        Translation::Nothing | Translation::Untracked { .. } => return None,
    };
    let found = verdict(
        case,
        &entry,
        format!(
            "this peer's flow began before {} published {published}, and is not translated as long as it goes on",
            container.name
        ),
    );
    Some(if is_certain { found } else { found.likely() })
}

/// The flow is translated to an address that was a container's once.
fn old_address(case: &Case<'_>) -> Option<Verdict> {
    if !neighbour::gave_up(case) {
        return None;
    }
    let dst = case.dst()?;
    let nat = case.evidence.drop.nat.as_ref();
    let nat = nat.filter(|nat| nat.kind != NatKind::Snat && nat.reply.src == dst)?;
    let held = case
        .inventory
        .container_by_address(dst)
        .is_some_and(|container| container.ended.is_none());
    if held || case.assigned_to(dst).is_some() {
        return None;
    }
    let firewall = case.host_firewall();
    // A rule that still leads there is the cause then.
    if firewall
        .dnat_targets()
        .iter()
        .any(|target| target.address == dst)
    {
        return None;
    }
    let entry = case.state.flow(case.host, UDP, &nat.original).ok()??;
    if entry.status & NAT == 0 || entry.reply.src != dst {
        return None;
    }
    let summary = format!(
        "this peer's flow is still translated to {dst}, which no container has any more, as long as it goes on"
    );
    Some(verdict(case, &entry, summary).fact("no DNAT rule leads there now"))
}

fn verdict(case: &Case<'_>, entry: &Flow, summary: String) -> Verdict {
    let family = if case.is_ipv6() { " -f ipv6" } else { "" };
    let port = entry.original.dst_port.unwrap_or(0);
    Verdict::confirmed("conntrack-stale-udp", summary)
        .fact(entry_text(entry))
        .maybe_fact(entry.timeout.map(|left| {
            format!(
                "{} is forgotten {left} s after its last packet only",
                ends(&entry.original)
            )
        }))
        .run(
            format!("conntrack -D -p udp --orig-port-dst {port}{family}"),
            "host",
            None,
            Impact::None,
        )
        .advise("or let the peer pause, or send from another port; newer engines delete such entries when a container starts")
}
