//! Flows that docker-proxy serves: they end at the host, and go on in a connection of the proxy's own.

use std::net::SocketAddr;

use super::{
    ending::Ending,
    flow::Flow,
    observe::protocol,
    packet::{Stop, Traveller},
};
use crate::{
    host::proxies::Proxies,
    inventory::Inventory,
    model::{JourneyEnd, Way},
};

/// A docker-proxy.
#[derive(Clone, Debug)]
pub(super) struct Carrier {
    pub pid: u32,
    /// Where its own connections go, as people call it.
    pub to: String,
}

/// Says so where a packet was delivered to docker-proxy. Only the host's namespace is looked at: a rootless engine's proxies
/// listen in another.
pub(super) fn note(
    flow: &mut Flow,
    traveller: &Traveller,
    ending: &mut Ending,
    proxies: &mut Proxies,
    inventory: &Inventory,
) {
    let at_host =
        |stop: &Stop| stop.netns == inventory.host_key() && stop.wire.dst == flow.forward.dst;
    let is_served = ending.end == JourneyEnd::Delivered
        && ending.is_over
        && traveller.way == Way::Forward
        && flow.translated.is_none()
        && traveller.stops.last().is_some_and(at_host);
    if !is_served {
        return;
    }
    if flow.carrier.is_none() {
        flow.carrier = Some(carrier(flow, proxies, inventory));
    }
    if let Some(Some(carrier)) = &flow.carrier {
        ending.sentence = format!(
            "delivered to docker-proxy (pid {}) on the host, whose connection to {} is a flow of its own",
            carrier.pid, carrier.to
        );
    }
}

fn carrier(flow: &Flow, proxies: &mut Proxies, inventory: &Inventory) -> Option<Carrier> {
    let protocol = protocol(&flow.forward);
    let (address, port) = flow.forward.dst;
    inventory.published(&protocol, address, port)?;
    let inum = inventory.netns(inventory.host_key())?.inum;
    let (pid, proxy) = proxies.listening(inum, &protocol, SocketAddr::new(address, port))?;
    let to = inventory
        .container_by_address(proxy.container.ip())
        .map_or_else(
            || proxy.container.to_string(),
            |container| format!("{}:{}", container.name, proxy.container.port()),
        );
    Some(Carrier { pid, to })
}
