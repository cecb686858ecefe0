//! Whose drops are to be seen.

use crate::{
    cli::options::Scope,
    evidence::{Evidence, vxlan},
    inventory::Inventory,
    model::{Endpoint, EndpointKind, NetnsOwner, Reach},
};

/// Whether something of this reach is inside `--scope`.
pub(crate) fn includes(scope: Scope, reach: Reach) -> bool {
    match scope {
        Scope::Containers => reach == Reach::Containers,
        Scope::Host => reach != Reach::All,
        Scope::All => true,
    }
}

/// The narrowest `--scope` that a drop is inside.
pub(super) fn reach(evidence: &Evidence, inventory: &Inventory) -> Reach {
    // A namespace that is not classified yet is inside.
    if inventory.near(evidence.netns) == Some(false) {
        return Reach::All;
    }
    if concerns_containers(evidence, inventory) {
        Reach::Containers
    } else if evidence.drop.netns.owner == NetnsOwner::Host {
        Reach::Host
    } else {
        Reach::All
    }
}

fn concerns_containers(evidence: &Evidence, inventory: &Inventory) -> bool {
    let drop = &evidence.drop;
    drop.netns.owner == NetnsOwner::Container
        || drop.published.is_some()
        || touches(&drop.source)
        || touches(&drop.destination)
        || addresses(evidence).any(|address| inventory.is_docker_address(address) && !is_host(inventory, address))
        // A namespace wired to a bridge of the host's, such as a container that was wired by hand.
        || drop.netns.owner == NetnsOwner::Other && inventory.near(evidence.netns) == Some(true)
}

fn touches(endpoint: &Endpoint) -> bool {
    endpoint.container.is_some()
        || endpoint.kind == EndpointKind::Unknown && endpoint.network.is_some()
}

/// A bridge's own address is in a Docker network, and the host's.
fn is_host(inventory: &Inventory, address: std::net::IpAddr) -> bool {
    inventory.endpoint(address, None).kind == EndpointKind::Host
}

fn addresses(evidence: &Evidence) -> impl Iterator<Item = std::net::IpAddr> {
    let drop = &evidence.drop;
    let packet = drop.packet.as_ref();
    let inner = packet.and_then(|packet| packet.icmp.as_ref()?.inner.as_deref());
    let nat = drop.nat.as_ref();
    packet
        .into_iter()
        .chain(inner)
        .flat_map(|packet| [packet.src, packet.dst])
        .flatten()
        .chain(
            vxlan::carried(&evidence.record)
                .and_then(|carried| carried.ends)
                .into_iter()
                .flat_map(|(src, dst)| [src, dst]),
        )
        .chain(nat.into_iter().flat_map(|nat| {
            [
                nat.original.src,
                nat.original.dst,
                nat.reply.src,
                nat.reply.dst,
            ]
        }))
}
