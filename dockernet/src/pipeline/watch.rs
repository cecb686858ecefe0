//! The inventory as the kernel half needs it.

use std::{collections::HashMap, net::IpAddr};

use anyhow::Result;
use dockernet_common::count::PortKey;

use crate::{bpf::tracer::Tracer, cli::options::Scope, inventory::Inventory};

/// Tells the kernel half addresses, ports and namespaces that changed.
pub(super) fn publish(tracer: &mut Tracer, inventory: &Inventory, scope: Scope) -> Result<()> {
    let endpoints = inventory
        .addresses()
        .map(|(address, container)| (bytes(address), inventory.endpoint_id(&container.id)))
        .filter(|(_, id)| *id != 0)
        .collect();
    tracer.set_endpoints(endpoints)?;
    tracer.set_published(published(inventory))?;
    let far: HashMap<u64, u8> = if scope == Scope::All {
        HashMap::new()
    } else {
        inventory
            .namespaces()
            .filter(|namespace| !namespace.near)
            .map(|namespace| (namespace.key.0, 1))
            .collect()
    };
    tracer.set_far(far)
}

/// Published ports, and whose they are.
pub(super) fn published(inventory: &Inventory) -> HashMap<PortKey, u32> {
    inventory
        .containers()
        .flat_map(|container| {
            container
                .published
                .iter()
                .map(move |published| (container, published))
        })
        .filter_map(|(container, published)| {
            let key = PortKey {
                protocol: number(&published.protocol)?,
                port: published.host_port,
            };
            Some((key, inventory.endpoint_id(&container.id)))
        })
        .collect()
}

/// Addresses of containers that publish ports.
pub(super) fn publishers(inventory: &Inventory) -> HashMap<[u8; 16], u32> {
    inventory
        .addresses()
        .filter(|(_, container)| !container.published.is_empty())
        .map(|(address, container)| (bytes(address), inventory.endpoint_id(&container.id)))
        .collect()
}

fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn number(protocol: &str) -> Option<u16> {
    match protocol {
        "tcp" => Some(6),
        "udp" => Some(17),
        "sctp" => Some(132),
        _ => None,
    }
}
