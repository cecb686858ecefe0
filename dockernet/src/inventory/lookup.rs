//! Address → endpoint.

use std::net::IpAddr;

use super::{Holder, Inventory, TOMBSTONE};
use crate::model::{Container, Endpoint, EndpointKind, NetnsKey, Network, Owner, State, Subnet};

impl Inventory {
    /// A subnet's gateway. Docker tells it in the network's description only if somebody chose it; else the containers on
    /// the network have it, or the bridge.
    #[must_use]
    pub fn gateway(&self, network: &Network, subnet: &Subnet) -> Option<IpAddr> {
        let attached = || {
            self.containers()
                .filter(|container| container.ended.is_none())
                .flat_map(|container| &container.attachments)
                .filter(|attachment| attachment.network_id == network.id)
                .filter_map(|attachment| attachment.gateway)
                .find(|gateway| subnet.prefix.contains(gateway))
        };
        let on_bridge = || {
            let bridge = network.bridge.as_deref()?;
            let link = self.link_named(self.host_key(), bridge)?;
            let mut addresses = link.addresses.iter().map(ipnet::IpNet::addr);
            addresses.find(|address| subnet.prefix.contains(address))
        };
        subnet.gateway.or_else(attached).or_else(on_bridge)
    }

    /// Whose address it is, as seen from `in_netns` (loopback and addresses used twice depend on it).
    ///
    /// An address in a Docker network that nobody holds is [`EndpointKind::Unknown`] with the network named.
    #[must_use]
    pub fn endpoint(&self, addr: IpAddr, in_netns: Option<NetnsKey>) -> Endpoint {
        let addr = addr.to_canonical();
        if addr.is_unspecified() {
            return Endpoint::default();
        }
        if addr.is_multicast() || self.is_broadcast(addr, in_netns) {
            return Endpoint {
                kind: EndpointKind::Multicast,
                container: None,
                network: self.network_of(addr).map(|network| network.name.clone()),
            };
        }
        if addr.is_loopback() {
            return self.own_endpoint(in_netns.unwrap_or(self.host), addr);
        }
        if let Some(key) = in_netns
            && self.has_address(key, addr)
        {
            return self.own_endpoint(key, addr);
        }
        match self.holder(addr) {
            Some(Holder::Container(id)) => match self.containers.get(id) {
                Some(container) => self.container_endpoint(container, addr),
                None => Endpoint::default(),
            },
            Some(Holder::Host) => self.plain(EndpointKind::Host, addr),
            Some(Holder::Namespace(_)) => self.plain(EndpointKind::External, addr),
            None if self.is_docker_address(addr) => self.plain(EndpointKind::Unknown, addr),
            None => self.plain(EndpointKind::External, addr),
        }
    }

    /// A name for an address that is no container's: the `ip netns` name or the process of a near namespace.
    #[must_use]
    pub fn label(&self, addr: IpAddr) -> Option<String> {
        match self.holder(addr.to_canonical())? {
            Holder::Namespace(key) => self.namespace_label(*key),
            Holder::Host | Holder::Container(_) => None,
        }
    }

    /// A name for a namespace: `host`, container's name, `ip netns` name or process.
    #[must_use]
    pub fn namespace_label(&self, key: NetnsKey) -> Option<String> {
        Some(match &self.netns(key)?.owner {
            Owner::Host => "host".to_owned(),
            Owner::Containers(ids) => self.containers.get(ids.first()?)?.name.clone(),
            Owner::Named(name) | Owner::EngineSandbox(name) => name.clone(),
            Owner::Process { pid, comm } => format!("{comm} (pid {pid})"),
        })
    }

    /// The container that holds `addr`: running ones first, then tombstones.
    #[must_use]
    pub fn container_by_address(&self, addr: IpAddr) -> Option<&Container> {
        match self.holder(addr.to_canonical())? {
            Holder::Container(id) => self.containers.get(id).map(AsRef::as_ref),
            Holder::Host | Holder::Namespace(_) => None,
        }
    }

    /// Every address of every container that runs or ended lately. An address used twice comes with the container
    /// that [`Inventory::endpoint`] would name.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, &Container)> {
        self.holders.keys().filter_map(|addr| {
            self.container_by_address(*addr)
                .map(|container| (*addr, container))
        })
    }

    /// The network whose subnet holds `addr`; the narrowest, where several do.
    #[must_use]
    pub fn network_of(&self, addr: IpAddr) -> Option<&Network> {
        let addr = addr.to_canonical();
        self.networks
            .iter()
            .flat_map(|network| {
                network
                    .subnets
                    .iter()
                    .map(move |subnet| (network, subnet.prefix))
            })
            .filter(|(_, prefix)| prefix.contains(&addr))
            .max_by_key(|(_, prefix)| prefix.prefix_len())
            .map(|(network, _)| network.as_ref())
    }

    /// Whether `addr` is in a subnet of one of the engine's networks.
    #[must_use]
    pub fn is_docker_address(&self, addr: IpAddr) -> bool {
        self.network_of(addr).is_some()
    }

    fn holder(&self, addr: IpAddr) -> Option<&Holder> {
        self.holders
            .get(&addr)?
            .iter()
            .filter_map(|holder| Some((self.rank(holder)?, holder)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, holder)| holder)
    }

    /// Who is preferred among several holders of one address; none for those that hold it no longer.
    fn rank(&self, holder: &Holder) -> Option<u8> {
        match holder {
            Holder::Container(id) => {
                let container = self.containers.get(id)?;
                match container.ended {
                    None if container.state != State::Stopped => Some(0),
                    Some(ended) if ended.elapsed() < TOMBSTONE => Some(3),
                    _ => None,
                }
            }
            Holder::Host => Some(1),
            Holder::Namespace(_) => Some(2),
        }
    }

    fn has_address(&self, key: NetnsKey, addr: IpAddr) -> bool {
        self.netns(key).is_some_and(|info| {
            info.links
                .iter()
                .flat_map(|link| &link.addresses)
                .any(|prefix| prefix.addr() == addr)
        })
    }

    fn is_broadcast(&self, addr: IpAddr, in_netns: Option<NetnsKey>) -> bool {
        let IpAddr::V4(addr) = addr else { return false };
        if addr.is_broadcast() {
            return true;
        }
        let of_prefix = |prefix: &ipnet::IpNet| match prefix {
            ipnet::IpNet::V4(prefix) => prefix.prefix_len() < 31 && prefix.broadcast() == addr,
            ipnet::IpNet::V6(_) => false,
        };
        let in_links = |key| {
            self.netns(key).is_some_and(|info| {
                info.links
                    .iter()
                    .flat_map(|link| &link.addresses)
                    .any(&of_prefix)
            })
        };
        in_links(self.host)
            || in_netns.is_some_and(in_links)
            || self
                .networks
                .iter()
                .flat_map(|network| &network.subnets)
                .any(|subnet| of_prefix(&subnet.prefix))
    }

    /// The end that owns the namespace itself.
    fn own_endpoint(&self, key: NetnsKey, addr: IpAddr) -> Endpoint {
        match self.netns(key).map(|info| &info.owner) {
            Some(Owner::Host) => self.plain(EndpointKind::Host, addr),
            Some(Owner::Containers(ids)) => {
                match ids.first().and_then(|id| self.containers.get(id)) {
                    Some(container) => self.container_endpoint(container, addr),
                    None => Endpoint::default(),
                }
            }
            Some(_) => self.plain(EndpointKind::External, addr),
            None => Endpoint::default(),
        }
    }

    fn container_endpoint(&self, container: &Container, addr: IpAddr) -> Endpoint {
        let attached = container.attachments.iter().find(|attachment| {
            attachment
                .ipv4
                .iter()
                .chain(&attachment.ipv6)
                .any(|prefix| prefix.addr() == addr)
        });
        Endpoint {
            kind: EndpointKind::Container,
            container: Some(self.container_ref(container)),
            network: attached
                .map(|attachment| attachment.network.clone())
                .or_else(|| self.network_of(addr).map(|network| network.name.clone())),
        }
    }

    fn plain(&self, kind: EndpointKind, addr: IpAddr) -> Endpoint {
        Endpoint {
            kind,
            container: None,
            network: self.network_of(addr).map(|network| network.name.clone()),
        }
    }
}
