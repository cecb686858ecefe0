//! What does not fit.

use std::net::IpAddr;

use super::model::{Interface, Problem};
use crate::{
    inventory::Inventory,
    model::{Attachment, Network},
};

/// Marks of a network: its device is not as the engine made it.
pub(super) fn network(inventory: &Inventory, network: &Network) -> Vec<Problem> {
    let (Some(name), "bridge") = (&network.bridge, network.driver.as_str()) else {
        return Vec::new();
    };
    let Some(link) = inventory.link_named(inventory.host_key(), name) else {
        return vec![Problem {
            id: "bridge-missing",
            text: format!("bridge {name} of network {} does not exist", network.name),
        }];
    };
    if network.is_without_address(false) {
        return Vec::new();
    }
    network
        .subnets
        .iter()
        .filter_map(|subnet| inventory.gateway(network, subnet))
        .filter(IpAddr::is_ipv4)
        .filter(|gateway| !link.addresses.iter().any(|has| has.addr() == *gateway))
        .map(|gateway| Problem {
            id: "gateway-missing",
            text: format!(
                "gateway {gateway} of network {} is not on {name}",
                network.name
            ),
        })
        .collect()
}

/// Marks what an interface has and what the engine says of it.
pub(super) fn attachment(attachment: &Attachment, bridge: Option<&str>, interface: &mut Interface) {
    let device = &interface.device;
    for told in attachment.ipv4.iter().chain(&attachment.ipv6) {
        if device.addresses.contains(told) {
            continue;
        }
        let of_family: Vec<String> = device
            .addresses
            .iter()
            .filter(|has| has.addr().is_ipv4() == told.addr().is_ipv4())
            .filter(|has| !is_link_local(has))
            .map(ToString::to_string)
            .collect();
        let has = if of_family.is_empty() {
            "no such address".to_owned()
        } else {
            of_family.join(", ")
        };
        interface.problems.push(Problem {
            id: "address-differs",
            text: format!("Docker says {told}; {} has {has}", device.name),
        });
    }
    // ipvlan shares its parent's.
    let own_mac = matches!(device.kind.as_str(), "veth" | "macvlan");
    if let (true, Some(told), Some(has)) = (own_mac, &attachment.mac, &device.mac)
        && told != has
    {
        interface.problems.push(Problem {
            id: "mac-differs",
            text: format!("Docker says {told}; {} has {has}", device.name),
        });
    }
    if let (Some(bridge), Some(peer)) = (bridge, &interface.peer) {
        let text = match &peer.port {
            None => format!(
                "{} is a port of no bridge; it should be one of {bridge}",
                peer.device.name
            ),
            Some(port) if port.bridge.name != bridge => format!(
                "{} is a port of {}; it should be one of {bridge}",
                peer.device.name, port.bridge.name
            ),
            Some(_) => return,
        };
        interface.problems.push(Problem {
            id: "wrong-bridge",
            text,
        });
    }
}

/// Marks what is wrong with an interface whatever the engine says.
pub(super) fn interface(interface: &mut Interface) {
    let mut problems = Vec::new();
    let device = &interface.device;
    let peer = interface.peer.as_ref();
    let port = interface.bridge().map(|(_, port)| port);
    // A bridge without ports has no carrier, and an unused port of the machine none either: only ends of cables
    // that belong to somebody count.
    let cabled = peer.is_some() || interface.parent.is_some();
    let hops = [Some(device), peer.map(|peer| &peer.device)];
    for hop in hops.into_iter().flatten().filter(|_| cabled) {
        if !hop.up {
            problems.push(Problem {
                id: "interface-down",
                text: format!("{} is down", at(hop.name.as_str(), peer, hop.ifindex)),
            });
        }
    }
    let all_up = hops.into_iter().flatten().all(|hop| hop.up);
    if cabled && all_up && !device.carrier {
        problems.push(Problem {
            id: "no-carrier",
            text: format!("{} has no carrier", device.name),
        });
    }
    if let Some(parent) = &interface.parent
        && !parent.device.up
    {
        problems.push(Problem {
            id: "interface-down",
            text: format!("{} is down", parent.device.name),
        });
    }
    if let Some(port) = port {
        let name = match (&interface.port, peer) {
            (None, Some(peer)) => &peer.device.name,
            _ => &device.name,
        };
        if !port.bridge.up {
            problems.push(Problem {
                id: "interface-down",
                text: format!("bridge {} is down", port.bridge.name),
            });
        }
        if let Some(state) = port.state.as_deref().filter(|state| *state != "forwarding") {
            problems.push(Problem {
                id: "port-not-forwarding",
                text: format!(
                    "{name} is {state} on {}, it passes nothing",
                    port.bridge.name
                ),
            });
        }
    }
    problems.extend(sizes(interface));
    interface.problems.extend(problems);
}

/// A device's name; with the owner's where both ends of a cable are called alike.
fn at(name: &str, peer: Option<&super::model::End>, ifindex: u32) -> String {
    match peer {
        Some(peer) if peer.device.ifindex == ifindex && peer.device.name == name => {
            format!("{name}@{}", peer.owner)
        }
        _ => name.to_owned(),
    }
}

/// MTU along the way. A macvlan or VLAN may well have less than its parent, never more.
fn sizes(interface: &Interface) -> Option<Problem> {
    let device = &interface.device;
    let mut path = vec![(&device.name, device.mtu)];
    path.extend(
        interface
            .peer
            .iter()
            .map(|peer| (&peer.device.name, peer.device.mtu)),
    );
    path.extend(
        interface
            .bridge()
            .map(|(_, port)| (&port.bridge.name, port.bridge.mtu)),
    );
    let differs = path.iter().any(|(_, mtu)| *mtu != device.mtu);
    let parent = interface
        .parent
        .as_ref()
        .filter(|parent| parent.device.mtu < device.mtu);
    path.extend(parent.map(|parent| (&parent.device.name, parent.device.mtu)));
    if !differs && parent.is_none() {
        return None;
    }
    let hops: Vec<String> = path
        .iter()
        .map(|(name, mtu)| format!("{name} {mtu}"))
        .collect();
    Some(Problem {
        id: "mtu-differs",
        text: format!("MTU differs along the path: {}", hops.join(" → ")),
    })
}

/// `fe80::/10` and `169.254.0.0/16`.
pub(crate) fn is_link_local(prefix: &ipnet::IpNet) -> bool {
    match prefix.addr() {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}
