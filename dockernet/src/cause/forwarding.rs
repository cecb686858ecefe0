//! Forwarding that is switched off, and IPv6 that is.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Case, Verdict, advertised::at_stake, case::known};
use crate::{
    host::{
        route::Family,
        sysctl::{display_key, interface_key},
    },
    model::{Container, Impact, Link, NetnsInfo, NetnsKey},
};

/// `ip_error` (net/ipv4/route.c) frees what has no way on: forwarding off, no route, an unreachable one.
const IP_ERROR: &[&str] = &["ip_error"];

/// Rows 1 to 3. The ingress device decides (`IN_DEV_FORWARD`, net/ipv4/route.c `ip_route_input_slow`).
pub(super) fn forwarding_disabled(case: &Case<'_>) -> Option<Verdict> {
    if !case.evidence.freed_in(IP_ERROR) || !case.evidence.reason_or_silent("IP_INADDRERRORS") {
        return None;
    }
    // A container is not meant to forward: what reaches it and is not its own has another cause.
    if case.in_container() {
        return None;
    }
    let settings = case.settings();
    if known(settings.v4_forwarding)? != 0 {
        return None;
    }
    if known(settings.v4_all_forwarding) == Some(0) {
        let verdict = Verdict::confirmed(
            "ip-forward-disabled",
            "the host forwards nothing: net.ipv4.ip_forward is 0, so no packet gets from one interface to another",
        )
        .fact("net.ipv4.ip_forward = 0")
        .fact(format!("the packet came in by {} and was to be forwarded", case.ingress()));
        return Some(case.set_sysctl(verdict, "net/ipv4/ip_forward", "0", "1"));
    }
    let device = case.ingress();
    let key = interface_key(false, device, "forwarding");
    let verdict = Verdict::confirmed(
        "interface-forwarding-disabled",
        format!("{device} does not forward: what comes in by it reaches the host itself and nothing behind it"),
    )
    .fact(format!("{} = 0", display_key(&key)))
    .fact("ip_forward = 1, so setting that again mends nothing");
    Some(case.set_sysctl(verdict, &key, "0", "1"))
}

/// Row 74. `ip6_forward` (net/ipv6/ip6_output.c) looks at `all` first.
pub(super) fn ipv6_forwarding_disabled(case: &Case<'_>) -> Option<Verdict> {
    if !case.is_ipv6()
        || !case.evidence.freed_in(&["ip6_forward"])
        || !case.evidence.reason_or_silent("IP_INADDRERRORS")
        || case.in_container()
        || known(case.settings().v6_all_forwarding)? != 0
    {
        return None;
    }
    let verdict = Verdict::confirmed(
        "ipv6-forwarding-disabled",
        "the host forwards no IPv6: net.ipv6.conf.all.forwarding is 0",
    )
    .fact("net.ipv6.conf.all.forwarding = 0");
    // A namespace of somebody else's: what else goes on there is not known.
    if !case.in_host() {
        return Some(case.set_sysctl(verdict, "net/ipv6/conf/all/forwarding", "0", "1"));
    }
    let neighbours = case.state.neighbours(case.host).unwrap_or_default();
    let host = case.inventory.host_netns();
    let links = host.map_or(&[][..], |info| &info.links);
    let routes = case.state.routes(case.host, Family::V6).unwrap_or_default();
    let uplink = at_stake(links, &neighbours, &routes, |key| {
        case.state.sysctl(case.host, key).ok().flatten()
    });
    Some(verdict.forward_ipv6(&case.state.sysctl_files(), uplink.as_deref()))
}

/// Row 75. Only what was meant for this host or container: the rest is multicast that everybody hears.
pub(super) fn ipv6_disabled(case: &Case<'_>) -> Option<Verdict> {
    // Before 5.18 the same functions free it without a reason.
    let silent = case.evidence.reason().is_empty()
        && case
            .evidence
            .freed_in(&["ip6_rcv_core", "ipv6_rcv", "ipv6_list_rcv"]);
    if !silent && case.evidence.reason() != "IPV6DISABLED"
        || known(case.settings().v6_disabled)? == 0
    {
        return None;
    }
    if !super::noise::meant_for_us(case) {
        return None;
    }
    let device = case.device();
    let key = interface_key(true, device, "disable_ipv6");
    let place = case.place();
    let verdict = Verdict::confirmed(
        "ipv6-disabled",
        format!(
            "IPv6 is switched off on {device} in {place}, so nothing that comes by IPv6 is taken"
        ),
    )
    .fact(format!("{} = 1", display_key(&key)));
    if case.in_host() {
        return Some(case.set_sysctl(verdict, &key, "1", "0"));
    }
    let netns = case.inventory.netns(case.evidence.netns);
    let wire = netns.and_then(|netns| netns.links.iter().find(|link| link.name == device));
    let given = case
        .container_here()
        .zip(wire)
        .and_then(|(container, wire)| given(container, wire));
    let command = switched_on(case, case.evidence.netns, device, given);
    Some(
        verdict
            .run(command, place, None, Impact::None)
            .advise(RECREATE_WITH_IPV6),
    )
}

/// The IPv6 address that the engine gave an interface.
fn given(container: &Container, wire: &Link) -> Option<IpNet> {
    let mut attachments = container.attachments.iter();
    let attachment = attachments.find(|attachment| {
        let is_same = attachment.mac.is_some() && attachment.mac == wire.mac;
        let has = |net: IpNet| wire.addresses.iter().any(|own| own.addr() == net.addr());
        is_same || attachment.ipv4.is_some_and(has)
    })?;
    attachment.ipv6
}

/// The command that switches IPv6 on, and gives back the address that went with it.
fn switched_on(case: &Case<'_>, key: NetnsKey, device: &str, given: Option<IpNet>) -> String {
    let setting = interface_key(true, device, "disable_ipv6");
    let on = case.command_in(key, &format!("sysctl -w {setting}=0"));
    match given {
        Some(net) => {
            let add = format!("ip -6 addr add {net} dev {device} nodad");
            format!("{on} && {}", case.command_in(key, &add))
        }
        None => on,
    }
}

/// Row 75 as others see it: where IPv6 is switched off the interface has no IPv6 address either.
pub(super) fn disabled_in(
    case: &Case<'_>,
    netns: &NetnsInfo,
    container: &Container,
    wire: &Link,
    address: IpAddr,
) -> Option<Verdict> {
    if address.is_ipv4() {
        return None;
    }
    let key = interface_key(true, &wire.name, "disable_ipv6");
    let handle = case.open(netns.key)?;
    let value = case.state.sysctl(&handle, &key).ok()??;
    if value.trim() != "1" {
        return None;
    }
    let given = given(container, wire);
    Some(
        Verdict::confirmed(
            "ipv6-disabled",
            format!(
                "IPv6 is switched off on {} in {}, so it has no IPv6 address and takes nothing that comes by IPv6",
                wire.name, container.name
            ),
        )
        .fact(format!("{} = 1", display_key(&key)))
        .fact(format!("Docker gave {address} to {}", container.name))
        .run(
            switched_on(case, netns.key, &wire.name, given),
            container.name.clone(),
            None,
            Impact::None,
        )
        .advise(RECREATE_WITH_IPV6),
    )
}

/// Routes that were taken with an interface's addresses do not come back when IPv6 is switched on again.
const RECREATE_WITH_IPV6: &str = "its IPv6 routes went too: docker restart brings them back; for good: recreate it without the \
     --sysctl that disables IPv6, or find what sets it inside";

/// Row 56 as the container sees it: the sender still knows its MAC address, the container no longer has the IP address.
pub(super) fn address_changed_in_container(case: &Case<'_>) -> Option<Verdict> {
    if !case.in_container()
        || !case
            .evidence
            .freed_in(&["ip_error", "ip6_forward", "ip6_pkt_drop"])
    {
        return None;
    }
    super::neighbour::address_changed(case, case.dst()?)
}
