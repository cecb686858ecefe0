//! Nobody answers for the next address.

use std::net::IpAddr;

use super::{Case, Verdict};
use crate::model::{Attachment, Container, Impact, Link, LinkKind, NetnsInfo, State};

/// Whether it died because nobody answered for the next address. IPv6 gives no reason (`ndisc_error_report`).
pub(super) fn gave_up(case: &Case<'_>) -> bool {
    case.evidence.reason() == "NEIGH_FAILED"
        || case.evidence.reason_or_silent("NEIGH_FAILED")
            && case.evidence.below(&[
                "neigh_invalidate",
                "neigh_timer_handler",
                "ndisc_error_report",
                "arp_error_report",
            ])
}

/// Rows 56 and 57: `neigh_invalidate` (net/core/neighbour.c) gives up after about three seconds.
pub(super) fn unreachable(case: &Case<'_>) -> Option<Verdict> {
    if !gave_up(case) {
        return None;
    }
    let dst = case.dst()?;
    address_changed(case, dst).or_else(|| dead_address(case, dst))
}

/// The engine gave the address to a container whose interface no longer has it.
pub(super) fn address_changed(case: &Case<'_>, address: IpAddr) -> Option<Verdict> {
    let container = case.assigned_to(address)?;
    if container.state == State::Stopped {
        return None;
    }
    let netns = case.inventory.netns(container.netns?)?;
    let has = netns
        .links
        .iter()
        .any(|link| link.addresses.iter().any(|net| net.addr() == address));
    if has {
        return None;
    }
    let wire = wire_of(netns, container, address)?;
    if let Some(verdict) = super::forwarding::disabled_in(case, netns, container, wire, address) {
        return Some(verdict);
    }
    if !wire.up {
        // An interface that is down keeps no IPv6 address: that it is down is the cause.
        return None;
    }
    let device = wire.name.as_str();
    let actual = wire
        .addresses
        .iter()
        .find(|net| net.addr().is_ipv6() == address.is_ipv6() && !is_link_local(net.addr()))
        .map_or_else(
            || {
                let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
                format!("no {family} address")
            },
            |net| net.addr().to_string(),
        );
    let verdict = Verdict::confirmed(
        "container-address-changed",
        format!(
            "{} no longer has the address {address} that Docker gave it",
            container.name
        ),
    )
    .fact(format!("Docker says {address}, {device} has {actual}"));
    Some(
        verdict.reattach(container)
        .advise("find what changes addresses in the container (its start script, a DHCP client, a privileged process) and let others reach it by name"),
    )
}

/// The interface that leads to the network in which the engine gave this address: the one with its MAC address (Docker
/// tells it), else the only one that holds no address which the engine gave for another network.
pub(super) fn wire_of<'a>(
    netns: &'a NetnsInfo,
    container: &Container,
    address: IpAddr,
) -> Option<&'a Link> {
    let given = |attachment: &Attachment, address: IpAddr| {
        [attachment.ipv4, attachment.ipv6]
            .into_iter()
            .flatten()
            .any(|net| net.addr() == address)
    };
    let mut wires = netns
        .links
        .iter()
        .filter(|link| link.kind != LinkKind::Loopback);
    let attachment = container
        .attachments
        .iter()
        .find(|attachment| given(attachment, address));
    let by_mac = attachment
        .and_then(|attachment| attachment.mac.as_ref())
        .and_then(|mac| wires.clone().find(|link| link.mac.as_ref() == Some(mac)));
    let holds = |link: &&Link| link.addresses.iter().any(|net| net.addr() == address);
    by_mac.or_else(|| wires.clone().find(holds)).or_else(|| {
        let elsewhere = |link: &Link| {
            link.addresses.iter().any(|net| {
                container
                    .attachments
                    .iter()
                    .any(|other| given(other, net.addr()) && !given(other, address))
            })
        };
        wires.find(|link| !elsewhere(link))
    })
}

/// Whether it is an IPv6 address of one link only.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// A DNAT rule leads to an address that no container has.
fn dead_address(case: &Case<'_>, dst: IpAddr) -> Option<Verdict> {
    use crate::model::NatKind;
    let nat = case
        .evidence
        .drop
        .nat
        .as_ref()
        .filter(|nat| nat.kind != NatKind::Snat)?;
    if nat.reply.src != dst || case.assigned_to(dst).is_some() {
        return None;
    }
    let held = case
        .inventory
        .container_by_address(dst)
        .is_some_and(|container| container.ended.is_none());
    if held || !case.in_host() {
        return None;
    }
    let port = nat.original.dst_port?;
    let protocol = case.packet()?.protocol.clone();
    let (_, firewall) = case.firewall()?;
    let target = firewall
        .dnat_targets()
        .into_iter()
        .find(|target| target.address == dst && target.host_port.is_none_or(|host| host == port));
    // Docker writes its own chains anew; of others' rules it knows nothing.
    let stray = firewall.stray_dnat(case.evidence.record.key.protocol, port, dst);
    let verdict = Verdict::when(
        target.is_some(),
        "dnat-to-dead-address",
        format!("port {port}/{protocol} is translated to {dst}, which no container has"),
    )
    .maybe_fact(target.map(|_| format!("a DNAT rule sends {protocol} port {port} to {dst}")))
    .fact(format!(
        "no container has {dst}, and nobody answers for it on {}",
        case.evidence.out_device.as_deref().unwrap_or("the bridge")
    ));
    Some(match stray {
        Some(rule) => verdict.run(super::delete(&rule), "host", None, Impact::Interrupts),
        None => verdict.restart_engine().advise(format!(
            "delete the stale rule alone: {} -t nat -S | grep DNAT shows it",
            if dst.is_ipv6() {
                "ip6tables"
            } else {
                "iptables"
            }
        )),
    })
}
