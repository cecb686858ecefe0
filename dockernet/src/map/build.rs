//! Inventory and reading → map.

use super::{
    marks,
    model::{Device, End, Interface, Kind, Map, Member, Namespace, Net, Port, Problem, Range},
    read::Reading,
};
use crate::{
    inventory::{EngineStatus, Inventory},
    model::{Attachment, Container, Link, LinkKind, NetnsInfo, NetworkMode, Owner, State},
    report::without_secrets,
};

/// Joins what the inventory holds with what was read. `docker_host`: where the engine was asked.
#[must_use]
pub fn map(inventory: &Inventory, reading: &Reading, docker_host: &str) -> Map {
    let mut spaces: Vec<&NetnsInfo> = inventory.namespaces().filter(|info| info.near).collect();
    spaces.sort_by_cached_key(|info| {
        (
            info.key != inventory.host_key(),
            kind(&info.owner) != Kind::Container,
            inventory.namespace_label(info.key),
            info.inum,
        )
    });
    let namespaces = spaces
        .into_iter()
        .map(|info| namespace(inventory, reading, info))
        .collect();
    let mut not_running: Vec<&Container> = inventory
        .containers()
        .filter(|container| container.ended.is_none() || container.state == State::Stopped)
        .filter(|container| {
            let known = container
                .netns
                .is_some_and(|key| inventory.netns(key).is_some());
            container.state == State::Stopped || !known
        })
        .collect();
    not_running.sort_by(|left, right| left.name.cmp(&right.name));
    let mut degraded = reading.degraded.clone();
    degraded.extend(inventory.engine_status().problem().map(str::to_owned));
    if *inventory.engine_status() == EngineStatus::Unknown {
        degraded.push(format!(
            "no answer from {} yet: names come from cgroups and the engine's files, networks are missing",
            without_secrets(docker_host)
        ));
    }
    let mut networks: Vec<Net> = inventory
        .networks()
        .map(|network| net(inventory, network))
        .collect();
    networks.sort_by(|left, right| left.name.cmp(&right.name));
    Map {
        schema: 1,
        docker: inventory.engine_status().version().map(str::to_owned),
        docker_host: without_secrets(docker_host),
        degraded,
        networks,
        namespaces,
        not_running: not_running.into_iter().map(member).collect(),
    }
}

fn net(inventory: &Inventory, network: &crate::model::Network) -> Net {
    let mut containers: Vec<String> = inventory
        .containers()
        .filter(|container| container.state != State::Stopped)
        .filter(|container| {
            let of = |attachment: &Attachment| attachment.network_id == network.id;
            container.attachments.iter().any(of)
        })
        .map(|container| container.name.clone())
        .collect();
    containers.sort();
    Net {
        name: network.name.clone(),
        id: network.id.clone(),
        driver: network.driver.clone(),
        bridge: network.bridge.clone(),
        parent: network.parent.clone(),
        internal: network.internal,
        subnets: network
            .subnets
            .iter()
            .map(|subnet| Range {
                prefix: subnet.prefix,
                gateway: inventory.gateway(network, subnet),
            })
            .collect(),
        containers,
        problems: marks::network(inventory, network),
    }
}

fn namespace(inventory: &Inventory, reading: &Reading, info: &NetnsInfo) -> Namespace {
    let mut members: Vec<&Container> = if info.key == inventory.host_key() {
        inventory
            .containers()
            .filter(|container| {
                container.state != State::Stopped
                    && (container.netns == Some(info.key)
                        || (container.netns.is_none() && container.mode == NetworkMode::Host))
            })
            .collect()
    } else {
        inventory.containers_in(info.key).collect()
    };
    if info.key == inventory.host_key() {
        members.sort_by(|left, right| left.name.cmp(&right.name));
    }
    let mut interfaces: Vec<Interface> = info
        .links
        .iter()
        .filter(|link| link.kind != LinkKind::Loopback)
        .filter(|link| !is_idle_tunnel(link))
        .map(|link| interface(inventory, reading, info, link))
        .collect();
    interfaces.sort_by_key(|interface| interface.device.ifindex);
    let attachments: Vec<&Attachment> = members
        .iter()
        .filter(|container| container.mode == NetworkMode::Networks)
        .flat_map(|container| &container.attachments)
        .collect();
    let mut problems = Vec::new();
    for attachment in &attachments {
        problems.extend(attach(inventory, attachment, &mut interfaces));
    }
    for interface in &mut interfaces {
        marks::interface(interface);
    }
    Namespace {
        inum: info.inum,
        owner: kind(&info.owner),
        name: inventory
            .namespace_label(info.key)
            .unwrap_or_else(|| format!("netns {}", info.inum)),
        containers: members.into_iter().map(member).collect(),
        interfaces,
        problems,
    }
}

/// Gives an attachment's interface the network's name, and marks what differs from what the engine says.
fn attach(
    inventory: &Inventory,
    attachment: &Attachment,
    interfaces: &mut [Interface],
) -> Option<Problem> {
    let network = inventory.network(&attachment.network_id);
    let bridge = network.and_then(|network| network.bridge.as_deref());
    let told: Vec<_> = attachment.ipv4.iter().chain(&attachment.ipv6).collect();
    let place = interfaces
        .iter()
        .position(|interface| {
            let held = &interface.device.addresses;
            told.iter()
                .any(|told| held.iter().any(|has| has.addr() == told.addr()))
        })
        .or_else(|| {
            let fits = |interface: &Interface| {
                attachment.mac.is_some() && interface.device.mac == attachment.mac
            };
            interfaces.iter().position(fits)
        })
        .or_else(|| {
            interfaces.iter().position(|interface| {
                let plugged = interface
                    .bridge()
                    .map(|(_, port)| port.bridge.name.as_str());
                interface.network.is_none() && plugged.is_some() && plugged == bridge
            })
        });
    let Some(interface) = place.and_then(|place| interfaces.get_mut(place)) else {
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        let what = if told.is_empty() {
            "an interface".to_owned()
        } else {
            told.join(" and ")
        };
        return Some(Problem {
            id: "interface-missing",
            text: format!(
                "Docker says {what} on network {}; no interface here has it",
                attachment.network
            ),
        });
    };
    interface.network = Some(attachment.network.clone());
    interface.gateway = attachment.gateway;
    marks::attachment(attachment, bridge, interface);
    None
}

fn interface(inventory: &Inventory, reading: &Reading, info: &NetnsInfo, link: &Link) -> Interface {
    let other = reading.other_end(inventory, info, link);
    let end = other.map(|(there, other)| End {
        netns: there.inum,
        owner: inventory
            .namespace_label(there.key)
            .unwrap_or_else(|| format!("netns {}", there.inum)),
        device: device(other),
        port: port(reading, there, other),
    });
    let (peer, parent) = match link.kind {
        LinkKind::Veth => (end, None),
        _ => (None, end),
    };
    let network = if info.key == inventory.host_key() {
        inventory
            .network_by_bridge(&link.name)
            .map(|network| network.name.clone())
    } else {
        None
    };
    Interface {
        device: device(link),
        network,
        gateway: None,
        peer,
        parent,
        port: port(reading, info, link),
        problems: Vec::new(),
    }
}

fn port(reading: &Reading, info: &NetnsInfo, link: &Link) -> Option<Port> {
    let bridge = info
        .links
        .iter()
        .find(|other| Some(other.ifindex) == link.master && other.kind == LinkKind::Bridge)?;
    let known = reading.bridges.get(&info.key).and_then(|bridges| {
        let mut ports = bridges.ports.iter();
        ports.find(|port| port.ifindex == link.ifindex)
    });
    Some(Port {
        bridge: device(bridge),
        state: known.map(|port| port.state.to_string()),
        hairpin: known.map(|port| port.hairpin),
        isolated: known.map(|port| port.isolated),
    })
}

fn device(link: &Link) -> Device {
    Device {
        name: link.name.clone(),
        ifindex: link.ifindex,
        kind: match link.kind.name() {
            "" => "device",
            name => name,
        }
        .to_owned(),
        mac: link.mac.clone(),
        mtu: link.mtu,
        up: link.up,
        carrier: link.carrier,
        addresses: link.addresses.clone(),
    }
}

fn member(container: &Container) -> Member {
    Member {
        id: container.id.clone(),
        name: container.name.clone(),
        image: container.image.clone(),
        project: container.project.clone(),
        service: container.service.clone(),
        state: container.state.name(),
        mode: match &container.mode {
            NetworkMode::Networks => "networks",
            NetworkMode::Host => "host",
            NetworkMode::None => "none",
            NetworkMode::Container(_) => "container",
        },
        networks: container
            .attachments
            .iter()
            .map(|attachment| attachment.network.clone())
            .collect(),
        published: container
            .published
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

fn kind(owner: &Owner) -> Kind {
    match owner {
        Owner::Host => Kind::Host,
        Owner::Containers(_) => Kind::Container,
        Owner::Named(_) => Kind::Named,
        Owner::EngineSandbox(_) => Kind::Sandbox,
        Owner::Process { .. } => Kind::Process,
    }
}

/// Every namespace gets these devices when their modules are loaded (`net.core.fb_tunnels_only_for_init_net` = 0);
/// nobody uses them until they are up.
fn is_idle_tunnel(link: &Link) -> bool {
    const FALLBACK: [&str; 9] = [
        "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0",
    ];
    !link.up && link.addresses.is_empty() && FALLBACK.contains(&link.name.as_str())
}
