//! From parts to an inventory: the indices.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{EngineStatus, Holder, Inventory};
use crate::model::{Container, Link, LinkKind, NetnsInfo, NetnsKey, Network, Owner, State};

/// A published inventory.
pub type Snapshot = Arc<Inventory>;

/// What an inventory is made of. Tests make one by hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// Key of the namespace taken as the host.
    pub host: NetnsKey,
    /// The engine.
    pub status: EngineStatus,
    /// Namespaces, the host's among them.
    pub namespaces: Vec<Arc<NetnsInfo>>,
    /// Containers, ended ones too.
    pub containers: Vec<Arc<Container>>,
    /// Networks of the engine.
    pub networks: Vec<Arc<Network>>,
    /// Endpoint ids by container id; never 0. Containers without one get the next free.
    pub endpoint_ids: HashMap<String, u32>,
    /// Host-side veths: index in the host → the peer's namespace. None: pair them by their indices.
    pub behind: Option<HashMap<u32, NetnsKey>>,
    /// Links that are gone since a short while, with their namespace.
    pub gone: Vec<(NetnsKey, Arc<Link>)>,
}

impl Inventory {
    /// What it is made of, always in the same order.
    #[must_use]
    pub fn parts(&self) -> Parts {
        let mut namespaces: Vec<Arc<NetnsInfo>> = self.namespaces.values().cloned().collect();
        // Of two with one inode number the later one is the living.
        namespaces.sort_by_key(|info| (self.by_inum.get(&info.inum) == Some(&info.key), info.key));
        let mut gone: Vec<(NetnsKey, Arc<Link>)> = self
            .gone
            .iter()
            .map(|((key, _), link)| (*key, link.clone()))
            .collect();
        gone.sort_by_key(|(key, link)| (*key, link.ifindex));
        Parts {
            host: self.host,
            status: self.status.clone(),
            namespaces,
            containers: self.containers.values().cloned().collect(),
            networks: self.networks.clone(),
            endpoint_ids: self.endpoint_ids.clone(),
            behind: Some(self.behind.clone()),
            gone,
        }
    }

    /// Indexes `parts`.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let mut inventory = Self {
            host: parts.host,
            status: parts.status,
            endpoint_ids: parts.endpoint_ids,
            networks: parts.networks,
            gone: parts
                .gone
                .into_iter()
                .map(|(key, link)| ((key, link.ifindex), link))
                .collect(),
            ..Self::default()
        };
        let mut next = inventory
            .endpoint_ids
            .values()
            .max()
            .map_or(1, |id| id.saturating_add(1));
        for container in &parts.containers {
            if !inventory.endpoint_ids.contains_key(&container.id) {
                inventory.endpoint_ids.insert(container.id.clone(), next);
                next = next.saturating_add(1);
            }
        }
        inventory.containers = parts
            .containers
            .into_iter()
            .map(|container| (container.id.clone(), container))
            .collect::<BTreeMap<_, _>>();
        for info in parts.namespaces {
            // Two may carry one inode number while the older is a tombstone; the later in the list wins.
            inventory.by_inum.insert(info.inum, info.key);
            inventory.namespaces.insert(info.key, info);
        }
        inventory.behind = parts.behind.unwrap_or_else(|| guess_peers(&inventory));
        inventory.index_addresses();
        inventory.index_ports();
        inventory
    }

    fn index_addresses(&mut self) {
        let mut holders: HashMap<IpAddr, Vec<Holder>> = HashMap::new();
        let mut add = |address: IpAddr, holder: Holder| {
            let list = holders.entry(address).or_default();
            if !list.contains(&holder) {
                list.push(holder);
            }
        };
        for container in self.containers.values() {
            for attachment in &container.attachments {
                for prefix in attachment.ipv4.iter().chain(&attachment.ipv6) {
                    add(prefix.addr(), Holder::Container(container.id.clone()));
                }
            }
        }
        for info in self.namespaces.values() {
            let holder = match &info.owner {
                Owner::Host => Holder::Host,
                Owner::Containers(ids) => match ids.first() {
                    Some(id) => Holder::Container(id.clone()),
                    None => continue,
                },
                // An address of a machine that is merely reachable says nothing about this host.
                _ if !info.near => continue,
                _ => Holder::Namespace(info.key),
            };
            for prefix in info.links.iter().flat_map(|link| &link.addresses) {
                if !prefix.addr().is_loopback() {
                    add(prefix.addr(), holder.clone());
                }
            }
        }
        self.holders = holders;
    }

    fn index_ports(&mut self) {
        for container in self.containers.values() {
            for (place, published) in container.published.iter().enumerate() {
                self.published
                    .entry((published.protocol.clone(), published.host_port))
                    .or_default()
                    .push((container.id.clone(), place));
            }
        }
        // Those that run come first: a stopped container keeps its bindings, but another may serve the port. Then the one that ended
        // last: it is the one that served it.
        let containers = &self.containers;
        for list in self.published.values_mut() {
            list.sort_by_key(|(id, _)| {
                let container = containers.get(id);
                let is_stopped = |container: &Arc<Container>| container.state == State::Stopped;
                let ended = container.and_then(|container| container.ended);
                (container.is_none_or(is_stopped), Reverse(ended))
            });
        }
    }
}

/// Pairs veths by their indices, for inventories made without namespace ids: the host's veth names its peer's index,
/// and the peer names the host's.
fn guess_peers(inventory: &Inventory) -> HashMap<u32, NetnsKey> {
    let Some(host) = inventory.namespaces.get(&inventory.host) else {
        return HashMap::new();
    };
    let veths = |info: &NetnsInfo| -> Vec<Link> {
        info.links
            .iter()
            .filter(|link| link.kind == LinkKind::Veth)
            .cloned()
            .collect()
    };
    let mut peers = HashMap::new();
    for link in veths(host) {
        let mut fitting = inventory.namespaces.values().filter(|info| {
            info.key != inventory.host
                && veths(info).iter().any(|other| {
                    Some(other.ifindex) == link.peer_ifindex
                        && other.peer_ifindex == Some(link.ifindex)
                })
        });
        // Indices are small numbers: two namespaces can fit. Then nothing is known.
        if let (Some(info), None) = (fitting.next(), fitting.next()) {
            peers.insert(link.ifindex, info.key);
        }
    }
    peers
}
