//! macvlan and ipvlan: the parent that is down, and the host that they never reach.

use std::net::IpAddr;

use super::{Case, Verdict, device, neighbour, wire};
use crate::model::{Container, Impact, Link, LinkKind, Network};

fn is_macvlan(link: &Link) -> bool {
    matches!(&link.kind, LinkKind::Other(kind) if kind == "macvlan" || kind == "ipvlan")
}

/// Row 65.
pub(super) fn parent_down(case: &Case<'_>) -> Option<Verdict> {
    if !case.in_container() || !(neighbour::gave_up(case) || device::refused_by_queue(case)) {
        return None;
    }
    let wire = case
        .inventory
        .link(case.evidence.netns, case.evidence.record.key.ifindex)?;
    if !is_macvlan(wire) || !wire.up {
        return None;
    }
    let container = case.container_here()?;
    let network = wire::network_of(case, container, wire)?;
    let parent = parent(case, network)?;
    let summary = format!(
        "{}, the parent of network {}, {}: {} is cut off",
        parent.name,
        network.name,
        if parent.up {
            "has no carrier"
        } else {
            "is down"
        },
        container.name
    );
    if !parent.up {
        return Some(
            Verdict::confirmed("macvlan-parent-down", summary)
                .fact(format!("{} is not UP", parent.name))
                .run(
                    format!("ip link set {} up", parent.name),
                    "host",
                    None,
                    Impact::None,
                )
                .advise("the parent need not have an address, but somebody must set it up at boot: networkd, ifupdown or NetworkManager"),
        );
    }
    (!parent.carrier).then(|| {
        Verdict::confirmed("macvlan-parent-down", summary)
            .fact(format!("{} is UP with NO-CARRIER", parent.name))
            .advise(format!(
                "look at the cable, the switch port or whatever is at the other end of {}",
                parent.name
            ))
    })
}

/// Row 64. What a parent sends goes out to the wire, never to the interfaces on top of it, and the other way about.
pub(super) fn host_isolation(case: &Case<'_>) -> Option<Verdict> {
    if !neighbour::gave_up(case) {
        return None;
    }
    let dst = case.dst()?;
    let (container, address, parent) = if case.in_host() {
        let container = case.assigned_to(dst)?;
        (container, dst, parent_of(case, container, dst)?)
    } else {
        let container = case.container_here()?;
        let src = case.src()?;
        (container, src, parent_of(case, container, src)?)
    };
    let between = if case.in_host() {
        case.device() == parent.name
    } else {
        parent.addresses.iter().any(|net| net.addr() == dst)
    };
    if !between || !parent.up || !parent.carrier {
        return None;
    }
    let name = &container.name;
    // A name has 15 characters at most; the end tells VLANs of one device apart.
    let characters: Vec<char> = parent.name.chars().collect();
    let end: String = characters
        .iter()
        .skip(characters.len().saturating_sub(10))
        .collect();
    let shim = format!("shim-{end}");
    let (prefix, ip) = if address.is_ipv4() {
        (32, "ip")
    } else {
        (128, "ip -6")
    };
    Some(
        Verdict::confirmed(
            "macvlan-host-isolation",
            format!("{name} is a macvlan or ipvlan of {}: it and this host never reach each other by that interface", parent.name),
        )
        .fact(format!(
            "{address} of {name} is on top of {}, which hands its own packets to the wire only",
            parent.name
        ))
        .run(
            match case.inventory.link_named(case.inventory.host_key(), &shim) {
                // Made for another container before.
                Some(_) => format!("{ip} route add {address}/{prefix} dev {shim}"),
                None => format!(
                    "ip link add {shim} link {} type {} mode {} && ip link set {shim} up && {ip} route add {address}/{prefix} dev {shim}",
                    parent.name,
                    kind(case, container),
                    if kind(case, container) == "ipvlan" { ipvlan_mode(case, address) } else { "bridge" },
                ),
            },
            "host",
            None,
            Impact::None,
        )
        .advise(format!(
            "an interface of the host's own beside {name}'s reaches it; or connect {name} to a bridge network as well and use that address"
        )),
    )
}

/// All ipvlans of a parent have one mode: another one would change it for the containers (drivers/net/ipvlan/ipvlan_main.c,
/// `ipvlan_set_port_mode`).
fn ipvlan_mode<'a>(case: &Case<'a>, address: IpAddr) -> &'a str {
    let network = case.inventory.network_of(address);
    let mode = network.and_then(|network| network.option("ipvlan_mode"));
    mode.unwrap_or("l2")
}

fn kind(case: &Case<'_>, container: &Container) -> String {
    let link = container
        .netns
        .and_then(|key| case.inventory.netns(key))
        .and_then(|netns| netns.links.iter().find(|link| is_macvlan(link)));
    match link.map(|link| &link.kind) {
        Some(LinkKind::Other(kind)) => kind.clone(),
        _ => "macvlan".into(),
    }
}

/// The parent of the interface that the container has this address on.
fn parent_of<'a>(case: &Case<'a>, container: &'a Container, address: IpAddr) -> Option<&'a Link> {
    let netns = case.inventory.netns(container.netns?)?;
    let wire = netns
        .links
        .iter()
        .find(|link| is_macvlan(link) && link.addresses.iter().any(|net| net.addr() == address))?;
    parent(case, wire::network_of(case, container, wire)?)
}

fn parent<'a>(case: &Case<'a>, network: &Network) -> Option<&'a Link> {
    let name = network.parent.as_deref()?;
    case.inventory.link_named(case.inventory.host_key(), name)
}
