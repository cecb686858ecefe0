//! Namespaces and links.

use super::Inventory;
use crate::model::{Container, Link, NetnsInfo, NetnsKey, Owner};

impl Inventory {
    /// A namespace by key; one that ended is still known for a while.
    #[must_use]
    pub fn netns(&self, key: NetnsKey) -> Option<&NetnsInfo> {
        self.namespaces.get(&key).map(AsRef::as_ref)
    }

    /// A namespace by inode number. The kernel reuses these at once: prefer the key.
    #[must_use]
    pub fn netns_by_inum(&self, inum: u32) -> Option<&NetnsInfo> {
        self.netns(*self.by_inum.get(&inum)?)
    }

    /// All namespaces that are known.
    pub fn namespaces(&self) -> impl Iterator<Item = &NetnsInfo> {
        self.namespaces.values().map(AsRef::as_ref)
    }

    /// The namespace taken as the host.
    #[must_use]
    pub fn host_netns(&self) -> Option<&NetnsInfo> {
        self.netns(self.host)
    }

    /// Key of the namespace taken as the host.
    #[must_use]
    pub fn host_key(&self) -> NetnsKey {
        self.host
    }

    /// Whether a namespace is in scope without `--scope all`. `None`: never seen; take it as in scope and ask for a
    /// rescan.
    #[must_use]
    pub fn near(&self, key: NetnsKey) -> Option<bool> {
        self.netns(key).map(|info| info.near)
    }

    /// The containers in a namespace, the one that made it first.
    pub fn containers_in(&self, key: NetnsKey) -> impl Iterator<Item = &Container> {
        let ids = match self.netns(key).map(|info| &info.owner) {
            Some(Owner::Containers(ids)) => ids.as_slice(),
            _ => &[],
        };
        ids.iter().filter_map(|id| self.container(id))
    }

    /// A link by index. One that is gone since a short while is still found here, though no longer among its
    /// namespace's links: a packet's detail may be read after its container's end.
    #[must_use]
    pub fn link(&self, key: NetnsKey, ifindex: u32) -> Option<&Link> {
        let live = self
            .netns(key)
            .and_then(|info| info.links.iter().find(|link| link.ifindex == ifindex));
        live.or_else(|| self.gone.get(&(key, ifindex)).map(AsRef::as_ref))
    }

    /// The bridge (or bond) of the same namespace that a link is a port of.
    #[must_use]
    pub fn master(&self, key: NetnsKey, link: &Link) -> Option<&Link> {
        self.link(key, link.master?)
    }

    /// A link by name.
    #[must_use]
    pub fn link_named(&self, key: NetnsKey, name: &str) -> Option<&Link> {
        self.netns(key)?.links.iter().find(|link| link.name == name)
    }

    /// The host-side veths that lead to a container's namespace.
    #[must_use]
    pub fn host_veth_of(&self, container: &Container) -> Vec<&Link> {
        let Some(key) = container.netns else {
            return Vec::new();
        };
        self.behind
            .iter()
            .filter(|(_, behind)| **behind == key)
            .filter_map(|(ifindex, _)| {
                let host = self.netns(self.host)?;
                host.links.iter().find(|link| link.ifindex == *ifindex)
            })
            .collect()
    }

    /// The namespace behind a veth of the host, or behind one that is gone since a short while.
    #[must_use]
    pub fn netns_behind(&self, ifindex: u32) -> Option<&NetnsInfo> {
        self.netns(*self.behind.get(&ifindex)?)
    }

    /// The container behind a veth of the host (of several that share a namespace, the one that made it).
    #[must_use]
    pub fn container_behind(&self, ifindex: u32) -> Option<&Container> {
        match &self.netns_behind(ifindex)?.owner {
            Owner::Containers(ids) => self.container(ids.first()?),
            _ => None,
        }
    }
}
