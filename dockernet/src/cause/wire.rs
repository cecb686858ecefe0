//! The interfaces that a packet had to pass: in the containers at its ends, and on the host behind them.

use super::Case;
use crate::model::{Container, Link, LinkKind, NetnsInfo, Network};

/// A container's veth into a bridge network of the engine, both ends of it.
pub(super) struct Crossing<'a> {
    /// Whose it is.
    pub container: &'a Container,
    /// The end in the container.
    pub wire: &'a Link,
    /// The end on the host.
    pub host: &'a Link,
    /// The network that the engine put it on.
    pub network: &'a Network,
    /// That network's bridge device.
    pub bridge: &'a str,
}

/// The veths into bridge networks at either end of a packet's way, and the one that it died on in the host.
pub(super) fn crossings<'a>(case: &Case<'a>) -> Vec<Crossing<'a>> {
    let mut all: Vec<Crossing<'a>> = of_ends(case)
        .into_iter()
        .filter_map(|(container, _, wire)| crossing(case, container, wire))
        .collect();
    if case.in_host() {
        let record = &case.evidence.record;
        for index in [record.iif, record.key.ifindex] {
            let here = case
                .inventory
                .container_behind(index)
                .and_then(|container| {
                    let netns = case.inventory.netns(container.netns?)?;
                    let wire = netns
                        .links
                        .iter()
                        .find(|link| link.peer_ifindex == Some(index))?;
                    crossing(case, container, wire)
                });
            all.extend(here);
        }
    }
    let mut seen = Vec::new();
    all.retain(|crossing| {
        let new = !seen.contains(&crossing.host.ifindex);
        seen.push(crossing.host.ifindex);
        new
    });
    all
}

/// None unless the engine itself wired it: a veth that was moved in by hand may be routed on purpose.
pub(super) fn crossing<'a>(
    case: &Case<'a>,
    container: &'a Container,
    wire: &'a Link,
) -> Option<Crossing<'a>> {
    if wire.kind != LinkKind::Veth {
        return None;
    }
    let host = case
        .inventory
        .host_veth_of(container)
        .into_iter()
        .find(|link| wire.peer_ifindex == Some(link.ifindex))?;
    let network = network_of(case, container, wire)?;
    Some(Crossing {
        container,
        wire,
        host,
        network,
        bridge: network.bridge.as_deref()?,
    })
}

/// The network that an interface is on, by the MAC address or an address that the engine gave.
pub(super) fn network_of<'a>(
    case: &Case<'a>,
    container: &Container,
    wire: &Link,
) -> Option<&'a Network> {
    let attachment = container.attachments.iter().find(|attachment| {
        let holds = [attachment.ipv4, attachment.ipv6]
            .into_iter()
            .flatten()
            .any(|given| wire.addresses.iter().any(|net| net.addr() == given.addr()));
        holds || attachment.mac.is_some() && attachment.mac == wire.mac
    })?;
    case.inventory.network(&attachment.network)
}

/// The interfaces that the packet had to pass: each end's one on the network that its address is in.
pub(super) fn of_ends<'a>(case: &Case<'a>) -> Vec<(&'a Container, &'a NetnsInfo, &'a Link)> {
    let mut wires = Vec::new();
    let drop = &case.evidence.drop;
    let ends = [
        (&drop.destination.container, case.dst()),
        (&drop.source.container, case.src()),
    ];
    for (end, address) in ends {
        let wire = end.as_ref().zip(address).and_then(|(end, address)| {
            let container = by_id(case, &end.id)?;
            let netns = case.inventory.netns(container.netns?)?;
            Some((
                container,
                netns,
                super::neighbour::wire_of(netns, container, address)?,
            ))
        });
        wires.extend(wire);
    }
    // What a container sends leaves by the device that it is on.
    if let Some(container) = case.container_here()
        && let Some(netns) = case.inventory.netns(case.evidence.netns)
        && let Some(wire) = netns
            .links
            .iter()
            .find(|link| link.ifindex == case.evidence.record.key.ifindex)
    {
        wires.push((container, netns, wire));
    }
    wires
}

fn by_id<'a>(case: &Case<'a>, id: &str) -> Option<&'a Container> {
    case.inventory
        .containers()
        .find(|container| container.id.starts_with(id))
}

/// Containers at either end or where the packet died.
fn ends<'a>(case: &Case<'a>) -> Vec<&'a Container> {
    let drop = &case.evidence.drop;
    [
        &drop.destination.container,
        &drop.source.container,
        &drop.netns.container,
    ]
    .into_iter()
    .flatten()
    .filter_map(|end| by_id(case, &end.id))
    .collect()
}

pub(super) fn host_veths_of_ends<'a>(case: &Case<'a>) -> Vec<&'a Link> {
    ends(case)
        .into_iter()
        .flat_map(|container| case.inventory.host_veth_of(container))
        .collect()
}
