//! Everything that a check looks at, read once.

use std::{cell::RefCell, collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use super::{
    finding::{Finding, Subject},
    probe::somewhere,
    space::Space,
};
use crate::{
    cause::leads_out,
    host::{
        daemon::Daemon,
        docker::Ending,
        netns::NetnsHandle,
        route::{Family, Route, RouteKind, TABLE_MAIN, fib::FibMatch, lookup::RouteQuery},
        state::HostState,
        sysctl::{display_key, files::SysctlFiles},
    },
    inventory::Inventory,
    map::model::{Interface, Kind, Map},
    model::{Attachment, Container, Link, LinkKind, NetnsKey, Network, NetworkMode},
};

/// The machine as it was read.
pub(super) struct Sight<'a> {
    /// Who is who.
    pub inventory: &'a Inventory,
    /// Who is plugged in where.
    pub map: &'a Map,
    /// What is asked for in detail.
    pub state: &'a dyn HostState,
    /// The host's namespace.
    pub host: Space,
    /// Namespaces of running containers, the host's left out.
    pub spaces: Vec<Space>,
    /// Files that set kernel settings.
    pub files: SysctlFiles,
    /// The engine's own configuration.
    pub daemon: Daemon,
    /// How stopped containers ended, by id, where the engine says.
    pub endings: HashMap<String, Ending>,
    /// What could not be read, found on the way.
    pub(super) unread: RefCell<Vec<Finding>>,
}

/// A running container on a network of a bridge.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    /// The container.
    pub container: &'a Container,
    /// Its place in the network.
    pub attachment: &'a Attachment,
    /// Its namespace, where it could be read.
    pub space: Option<&'a Space>,
    /// Its interface on that network.
    pub interface: Option<&'a Interface>,
}

impl Member<'_> {
    /// The IPv4 address that the engine gave.
    pub(super) fn ipv4(&self) -> Option<IpAddr> {
        self.address(Family::V4)
    }

    /// The address of a family that the engine gave.
    pub(super) fn address(&self, family: Family) -> Option<IpAddr> {
        let net = match family {
            Family::V4 => self.attachment.ipv4,
            Family::V6 => self.attachment.ipv6,
        };
        net.map(|net| net.addr())
    }
}

/// An interface of the host that leads out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uplink<'a> {
    /// It.
    pub link: &'a Link,
    /// The default route leads there.
    pub default: bool,
    /// A default route leads there, and others come before it.
    pub reserve: bool,
    /// Some route leads to a router there.
    pub gateway: bool,
}

impl<'a> Sight<'a> {
    /// Notes that something could not be read.
    pub(super) fn unread(&self, subject: Subject, what: impl Into<String>, why: &anyhow::Error) {
        let finding = Finding::unknown(subject, what, format!("{why:#}"));
        let mut unread = self.unread.borrow_mut();
        if !unread.contains(&finding) {
            unread.push(finding);
        }
    }

    /// Whether others than containers are behind this interface.
    pub(super) fn leads_out(&self, device: &str) -> bool {
        leads_out(self.host.link(device), &self.host.routes, device)
    }

    /// Whether a prefix is that of an address of this interface of the host.
    pub(super) fn is_own_network(&self, device: &str, prefix: &IpNet) -> bool {
        let link = self.host.link(device);
        link.is_some_and(|link| link.addresses.iter().any(|net| net.trunc() == *prefix))
    }

    /// A kernel setting as a number; none where the kernel has none of that name, or it cannot be read (noted).
    pub(super) fn number(&self, space: &Space, key: &str) -> Option<i64> {
        self.setting(space, key)?.trim().parse().ok()
    }

    fn setting(&self, space: &Space, key: &str) -> Option<String> {
        match self.state.sysctl(&space.handle, key) {
            Ok(value) => value,
            Err(error) => {
                let what = format!("{} in {}", display_key(key), space.label);
                self.unread(Subject::host(), what, &error);
                None
            }
        }
    }

    /// Networks of bridges that this host has.
    pub(super) fn bridge_networks(&self) -> impl Iterator<Item = (&'a Network, &'a str)> + use<'a> {
        let inventory = self.inventory;
        let host = inventory.host_key();
        // A rootless engine's bridges are in a namespace of its own; Podman does not tell what its bridges are called.
        let (rootless, podman) = inventory.engine_status().kind();
        let is_here = move |bridge: &str| {
            !rootless && (!podman || inventory.link_named(host, bridge).is_some())
        };
        inventory
            .networks()
            .filter(|network| network.driver == "bridge")
            .filter_map(|network| Some((network, network.bridge.as_deref()?)))
            .filter(move |(_, bridge)| is_here(bridge))
    }

    /// Containers that run (paused ones too), in the order of their names.
    pub(super) fn running(&self) -> Vec<&'a Container> {
        let mut all: Vec<&Container> = self
            .inventory
            .containers()
            .filter(|container| container.runs())
            .collect();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }

    /// The running containers of a network.
    pub(super) fn members(&self, network: &Network) -> Vec<Member<'_>> {
        self.running()
            .into_iter()
            .filter(|container| container.mode == NetworkMode::Networks)
            .flat_map(|container| {
                container
                    .attachments
                    .iter()
                    .filter(|attachment| attachment.network_id == network.id)
                    .map(move |attachment| (container, attachment))
            })
            .map(|(container, attachment)| Member {
                container,
                attachment,
                space: self.space_of(container),
                interface: self.interface_of(container, &attachment.network),
            })
            .collect()
    }

    /// The interface of a container on a network, as the map tells it.
    pub(super) fn interface_of(
        &self,
        container: &Container,
        network: &str,
    ) -> Option<&'a Interface> {
        let spaces = self.map.namespaces.iter();
        spaces
            .filter(|space| space.owner == Kind::Container)
            .find(|space| {
                space
                    .containers
                    .iter()
                    .any(|member| member.id == container.id)
            })?
            .interfaces
            .iter()
            .find(|interface| interface.network.as_deref() == Some(network))
    }

    /// A container's namespace, where it could be read.
    pub(super) fn space_of(&self, container: &Container) -> Option<&Space> {
        self.space(container.netns?)
    }

    /// A namespace that was read.
    pub(super) fn space(&self, key: NetnsKey) -> Option<&Space> {
        if key == self.host.key {
            return Some(&self.host);
        }
        self.spaces.iter().find(|space| space.key == key)
    }

    /// Whether an interface of the host is the engine's, or leads to a container.
    pub(super) fn is_engines(&self, link: &Link) -> bool {
        if self.inventory.network_by_bridge(&link.name).is_some() {
            return true;
        }
        let port = link
            .master
            .and_then(|index| self.inventory.link(self.host.key, index))
            .is_some_and(|bridge| self.inventory.network_by_bridge(&bridge.name).is_some());
        let leftover = link.kind == LinkKind::Bridge
            && (link.name == "docker_gwbridge" || is_docker_bridge(&link.name));
        port || leftover || self.inventory.container_behind(link.ifindex).is_some()
    }

    /// Whether it is the default route of its family: the one that the host takes, by whatever rule. Where none is told, the
    /// main table's comes first.
    pub(super) fn is_first_default(&self, route: &Route) -> bool {
        if route.prefix.prefix_len() != 0 {
            return false;
        }
        let query = RouteQuery::to(somewhere(Family::of(route.prefix.addr())));
        if let FibMatch::Route { route: taken, .. } = self.host.route(&query)
            && taken.prefix.prefix_len() == 0
        {
            return taken == *route;
        }
        let better = |other: &Route| {
            let first = other.table == TABLE_MAIN && route.table != TABLE_MAIN;
            let same = other.table == route.table && other.from == route.from;
            other.kind == RouteKind::Unicast
                && other.prefix == route.prefix
                && (first || same && other.metric < route.metric)
        };
        !self.host.routes.iter().any(better)
    }

    /// Interfaces of the host that lead out of it and that routes use, the default route's first.
    pub(super) fn uplinks(&self) -> Vec<Uplink<'_>> {
        let mut found: Vec<Uplink<'_>> = self
            .host
            .links
            .iter()
            .filter(|link| link.kind != LinkKind::Loopback && !self.is_engines(link))
            .filter_map(|link| {
                let routes: Vec<_> = self
                    .host
                    .routes
                    .iter()
                    .filter(|route| route.kind == RouteKind::Unicast)
                    .filter(|route| !is_internal(&route.prefix))
                    .flat_map(|route| {
                        let hops = route.nexthops.iter();
                        std::iter::once((route, route.oif.as_deref(), route.gateway)).chain(
                            hops.map(move |hop| (route, Some(hop.oif.as_str()), hop.gateway)),
                        )
                    })
                    .filter(|(_, oif, _)| *oif == Some(link.name.as_str()))
                    .collect();
                (!routes.is_empty()).then(|| Uplink {
                    link,
                    default: routes
                        .iter()
                        .any(|(route, ..)| self.is_first_default(route)),
                    reserve: routes.iter().any(|(route, ..)| {
                        route.prefix.prefix_len() == 0 && !self.is_first_default(route)
                    }),
                    gateway: routes.iter().any(|(.., gateway)| gateway.is_some()),
                })
            })
            .collect();
        found.sort_by_key(|uplink| (!uplink.default, !uplink.gateway, uplink.link.ifindex));
        found
    }
}

/// Whether the engine gave a container this address.
pub(super) fn has_been_given(container: &Container, address: IpAddr) -> bool {
    container.attachments.iter().any(|attachment| {
        let given = [attachment.ipv4, attachment.ipv6];
        given.into_iter().flatten().any(|net| net.addr() == address)
    })
}

/// `br-` and twelve hexadecimal digits: how Docker names its bridges.
pub(super) fn is_docker_bridge(name: &str) -> bool {
    name.strip_prefix("br-")
        .is_some_and(|id| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Link-local and multicast prefixes, which every interface has.
fn is_internal(prefix: &IpNet) -> bool {
    crate::map::marks::is_link_local(prefix) || prefix.addr().is_multicast()
}

/// Opens the namespace of an inventory entry; it must still be the one that it was.
pub(super) fn open(
    state: &dyn HostState,
    info: &crate::model::NetnsInfo,
) -> anyhow::Result<NetnsHandle> {
    use anyhow::Context as _;
    let handle = state
        .open(&info.path)
        .with_context(|| format!("opening {}", info.path.display()))?;
    anyhow::ensure!(
        handle.inum() == info.inum,
        "its process ended meanwhile, and {} is another's",
        info.path.display()
    );
    Ok(handle)
}
