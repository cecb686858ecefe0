//! What the inventory does not hold: port states, and where cables lead that do not end on the host.

use std::collections::HashMap;

use anyhow::Result;

use crate::{
    host::{
        bridge::{self, Bridges},
        link::RouteSocket,
        netns::NetnsHandle,
    },
    inventory::Inventory,
    model::{Link, LinkKind, NetnsInfo, NetnsKey},
};

/// One look.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Bridges of each namespace that has some.
    pub bridges: HashMap<NetnsKey, Bridges>,
    /// A namespace's id for another → the other.
    pub ids: HashMap<(NetnsKey, i32), NetnsKey>,
    /// What could not be read.
    pub degraded: Vec<String>,
}

impl Reading {
    /// Reads port states of all near bridges, and asks for the namespaces behind links that the host does not see.
    ///
    /// # Errors
    /// The host's bridges cannot be read.
    pub fn take(inventory: &Inventory, host: &NetnsHandle) -> Result<Self> {
        let mut reading = Self::default();
        reading
            .bridges
            .insert(inventory.host_key(), bridge::bridges(host)?);
        let mut spaces: Vec<&NetnsInfo> = inventory.namespaces().collect();
        spaces.sort_by_key(|info| (info.key != inventory.host_key(), !info.near, info.inum));
        let handles: Vec<(&NetnsInfo, NetnsHandle)> = spaces
            .into_iter()
            .filter_map(|info| {
                let handle = if info.key == inventory.host_key() {
                    host.clone()
                } else {
                    NetnsHandle::open(&info.path).ok()?
                };
                // A process's number may be another's by now.
                (handle.inum() == info.inum).then_some((info, handle))
            })
            .collect();
        for (info, handle) in handles.iter().filter(|(info, _)| info.near) {
            let has_bridge = info.links.iter().any(|link| link.kind == LinkKind::Bridge);
            if has_bridge && info.key != inventory.host_key() {
                match bridge::bridges(handle) {
                    Ok(bridges) => {
                        reading.bridges.insert(info.key, bridges);
                    }
                    Err(error) => reading.degraded.push(format!("{error:#}")),
                }
            }
            let mut wanted: Vec<i32> = info
                .links
                .iter()
                .filter(|link| known_peer(inventory, info, link).is_none())
                .filter_map(|link| link.peer_netnsid)
                .collect();
            wanted.sort_unstable();
            wanted.dedup();
            if wanted.is_empty() {
                continue;
            }
            let found = handle.run(|| ask(&handles, info.key, &wanted));
            match found {
                Ok(found) => reading
                    .ids
                    .extend(found.into_iter().map(|(id, other)| ((info.key, id), other))),
                // Its last process ended just now.
                Err(error) => log::debug!("{}: {error:#}", info.path.display()),
            }
        }
        Ok(reading)
    }

    /// The other end of a veth, or what a macvlan, ipvlan or VLAN sits on, with its namespace.
    #[must_use]
    pub fn other_end<'a>(
        &self,
        inventory: &'a Inventory,
        info: &'a NetnsInfo,
        link: &Link,
    ) -> Option<(&'a NetnsInfo, &'a Link)> {
        if let Some(found) = known_peer(inventory, info, link) {
            return Some(found);
        }
        let there = match link.peer_netnsid {
            None => info,
            Some(id) => inventory.netns(*self.ids.get(&(info.key, id))?)?,
        };
        let other = link_at(there, link.peer_ifindex?)?;
        // Indices are used again: both ends of a veth must name each other.
        let mutual = link.kind != LinkKind::Veth
            || (other.kind == LinkKind::Veth && other.peer_ifindex == Some(link.ifindex));
        mutual.then_some((there, other))
    }
}

/// In the calling thread's namespace: which of the ids are whose. The host comes first, most links lead there.
fn ask(
    handles: &[(&NetnsInfo, NetnsHandle)],
    own: NetnsKey,
    wanted: &[i32],
) -> Vec<(i32, NetnsKey)> {
    let Ok(mut socket) = RouteSocket::open() else {
        return Vec::new();
    };
    let mut found: Vec<(i32, NetnsKey)> = Vec::new();
    for (info, handle) in handles.iter().filter(|(info, _)| info.key != own) {
        if found.len() == wanted.len() {
            break;
        }
        if let Ok(Some(id)) = socket.nsid_of(handle.as_fd())
            && wanted.contains(&id)
        {
            found.push((id, info.key));
        }
    }
    found
}

/// The other end, where the inventory knows it: one of the two is on the host.
fn known_peer<'a>(
    inventory: &'a Inventory,
    info: &NetnsInfo,
    link: &Link,
) -> Option<(&'a NetnsInfo, &'a Link)> {
    if link.kind != LinkKind::Veth {
        return None;
    }
    let host = inventory.host_netns()?;
    if info.key == host.key {
        link.peer_netnsid?;
        let there = inventory.netns_behind(link.ifindex)?;
        return Some((there, link_at(there, link.peer_ifindex?)?));
    }
    let other = link_at(host, link.peer_ifindex?)?;
    let fits = other.kind == LinkKind::Veth
        && other.peer_ifindex == Some(link.ifindex)
        && inventory
            .netns_behind(other.ifindex)
            .map(|behind| behind.key)
            == Some(info.key);
    fits.then_some((host, other))
}

fn link_at(info: &NetnsInfo, ifindex: u32) -> Option<&Link> {
    info.links.iter().find(|link| link.ifindex == ifindex)
}
