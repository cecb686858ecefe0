//! `--from` and `--to`: what was meant, and which addresses and ports that is now.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use dockernet_common::hop::{EndKey, end};

use super::observe::Wire;
use crate::{
    cli::Target,
    inventory::Inventory,
    model::{Container, EndpointKind, State},
};

/// An address, and a port or any.
pub(super) type End = (IpAddr, Option<u16>);

impl Target {
    /// The container that it names, if there is one of that name or id.
    #[must_use]
    pub fn container<'a>(&self, inventory: &'a Inventory) -> Option<&'a Container> {
        match self {
            Self::Name(name, _) => inventory.container_named(name),
            Self::Address(address, _) => inventory.container_by_address(*address),
            Self::Published(port) => ["tcp", "udp", "sctp"].into_iter().find_map(|protocol| {
                inventory
                    .published_on(protocol, *port)
                    .map(|(container, _)| container)
                    .find(|container| container.state == State::Running)
            }),
        }
    }

    /// What is wrong with it now, in one sentence; it may come to be while we wait.
    #[must_use]
    pub fn problem(&self, inventory: &Inventory) -> Option<String> {
        match self {
            Self::Name(name, _) if name != "host" && inventory.container_named(name).is_none() => {
                let near = inventory
                    .nearest_name(name)
                    .map_or_else(String::new, |near| {
                        format!(" (the nearest name is '{near}')")
                    });
                Some(format!(
                    "there is no container called '{name}'{near}; waiting for it"
                ))
            }
            Self::Published(port) if self.container(inventory).is_none() => Some(format!(
                "no running container publishes port {port}; looking at what comes to that port all the same"
            )),
            _ => None,
        }
    }

    /// The addresses and ports that it stands for now. Published ports stand for the container's, and the other way round.
    pub(super) fn ends(&self, inventory: &Inventory) -> Vec<End> {
        let mut ends: Vec<End> = Vec::new();
        match self {
            Self::Address(address, port) => {
                ends.push((*address, *port));
                let host = inventory.endpoint(*address, Some(inventory.host_key()));
                if let (EndpointKind::Host, Some(port)) = (host.kind, port) {
                    ends.extend(behind(inventory, *port, Some(*address)));
                }
            }
            Self::Published(port) => {
                ends.extend(
                    host_addresses(inventory)
                        .into_iter()
                        .map(|address| (address, Some(*port))),
                );
                ends.extend(behind(inventory, *port, None));
            }
            Self::Name(name, port) if name == "host" => {
                ends.extend(
                    host_addresses(inventory)
                        .into_iter()
                        .map(|address| (address, *port)),
                );
            }
            Self::Name(name, port) => {
                if let Some(container) = inventory.container_named(name) {
                    ends.extend(of_container(inventory, container, *port));
                }
            }
        }
        ends.sort_unstable();
        ends.dedup();
        ends
    }
}

/// A container's own addresses, and the host's ports that lead to it.
fn of_container(inventory: &Inventory, container: &Container, port: Option<u16>) -> Vec<End> {
    let own = inventory
        .addresses()
        .filter(|(_, holder)| holder.id == container.id)
        .map(|(address, _)| address);
    // In host mode, or in another container's namespace, its addresses are those of that namespace.
    let shared = container
        .netns
        .and_then(|key| inventory.netns(key))
        .into_iter()
        .flat_map(|info| &info.links)
        .flat_map(|link| &link.addresses)
        .map(ipnet::IpNet::addr)
        .filter(|address| !address.is_loopback());
    let mut ends: Vec<End> = own.chain(shared).map(|address| (address, port)).collect();
    for published in &container.published {
        if port.is_some_and(|port| port != published.container_port) {
            continue;
        }
        for address in host_addresses(inventory) {
            let unspecified = published.host_ip.is_unspecified();
            if published.host_ip == address
                || unspecified && published.host_ip.is_ipv4() == address.is_ipv4()
            {
                ends.push((address, Some(published.host_port)));
            }
        }
    }
    ends
}

/// What a host's port leads to. `asked`: on this address of the host.
fn behind(inventory: &Inventory, port: u16, asked: Option<IpAddr>) -> Vec<End> {
    ["tcp", "udp", "sctp"]
        .into_iter()
        .flat_map(|protocol| inventory.published_on(protocol, port))
        .filter(|(_, published)| {
            asked.is_none_or(|asked| {
                published.host_ip == asked
                    || published.host_ip.is_unspecified()
                        && published.host_ip.is_ipv4() == asked.is_ipv4()
            })
        })
        .flat_map(|(container, published)| {
            inventory
                .addresses()
                .filter(|(_, holder)| holder.id == container.id)
                .map(|(address, _)| (address, Some(published.container_port)))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn host_addresses(inventory: &Inventory) -> Vec<IpAddr> {
    inventory
        .host_netns()
        .into_iter()
        .flat_map(|host| &host.links)
        .flat_map(|link| &link.addresses)
        .map(ipnet::IpNet::addr)
        .chain([Ipv4Addr::LOCALHOST.into()])
        .collect()
}

/// Both ends of what is followed, as they are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Followed {
    /// None: anyone.
    pub from: Option<Vec<End>>,
    /// None: anyone.
    pub to: Option<Vec<End>>,
}

impl Followed {
    pub(super) fn now(from: Option<&Target>, to: Option<&Target>, inventory: &Inventory) -> Self {
        Self {
            from: from.map(|target| target.ends(inventory)),
            to: to.map(|target| target.ends(inventory)),
        }
    }

    /// Whether a flow with this wire, as its client sends, is meant.
    pub(super) fn admits(&self, forward: &Wire) -> bool {
        // A port in ICMP's place is an echo id.
        let has_ports = !matches!(forward.protocol, 1 | 58);
        let is = |ends: &Vec<End>, (address, port): (IpAddr, u16)| {
            ends.iter().any(|(wanted, wanted_port)| {
                *wanted == address && wanted_port.is_none_or(|wanted| has_ports && wanted == port)
            })
        };
        self.from.as_ref().is_none_or(|ends| is(ends, forward.src))
            && self.to.as_ref().is_none_or(|ends| is(ends, forward.dst))
    }

    /// The same for the kernel half, which lets through everything that may be it: by the end that says more.
    pub(super) fn keys(&self) -> HashMap<EndKey, u8> {
        let says = |ends: &Option<Vec<End>>| match ends {
            None => 0,
            Some(ends) if ends.iter().any(|(_, port)| port.is_some()) => 2,
            Some(_) => 1,
        };
        let ends = if says(&self.to) >= says(&self.from) {
            &self.to
        } else {
            &self.from
        };
        let bytes = |address: &IpAddr| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let mut keys: HashMap<EndKey, u8> = HashMap::new();
        // Errors of routers in between go to either end.
        for (address, _) in self.from.iter().chain(&self.to).flatten() {
            *keys.entry(EndKey::new(bytes(address), 0)).or_default() |= end::PORTLESS;
        }
        for (address, port) in ends.iter().flatten() {
            *keys
                .entry(EndKey::new(bytes(address), port.unwrap_or(0)))
                .or_default() |= end::ALL;
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_with_a_port_goes_to_the_kernel() {
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let followed = Followed {
            from: Some(vec![(address(1), None)]),
            to: Some(vec![(address(2), Some(443))]),
        };
        let keys = followed.keys();
        let key = |last: u8, port| {
            let IpAddr::V4(v4) = address(last) else {
                unreachable!()
            };
            EndKey::new(v4.to_ipv6_mapped().octets(), port)
        };
        assert_eq!(keys.get(&key(2, 443)), Some(&end::ALL));
        assert_eq!(keys.get(&key(2, 0)), Some(&end::PORTLESS));
        assert_eq!(keys.get(&key(1, 0)), Some(&end::PORTLESS));
        assert_eq!(keys.len(), 3);
        let wire = |from: u8, to: u8, port| Wire {
            protocol: 6,
            src: (address(from), 50000),
            dst: (address(to), port),
        };
        assert!(followed.admits(&wire(1, 2, 443)));
        assert!(!followed.admits(&wire(1, 2, 80)));
        assert!(!followed.admits(&wire(3, 2, 443)));
        // A ping is not what was asked for with a port, whatever its id.
        let ping = Wire {
            protocol: 1,
            src: (address(1), 443),
            dst: (address(2), 443),
        };
        assert!(!followed.admits(&ping));
    }
}
