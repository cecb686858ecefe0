//! Who was who: containers, networks and namespaces, as far as a reader of the recording needs them.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    inventory::Inventory,
    model::{Link, Owner, State},
};

/// An `inventory` line: all that is known, again whenever it changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    /// When it was known.
    pub time: Timestamp,
    /// Containers, those included that ended a moment ago.
    pub containers: Vec<Container>,
    /// Networks of the engine.
    pub networks: Vec<Network>,
    /// Network namespaces.
    pub namespaces: Vec<Namespace>,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Full id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Image.
    pub image: Option<String>,
    /// Compose project.
    pub project: Option<String>,
    /// Compose service.
    pub service: Option<String>,
    /// `running`, `paused` or `stopped`.
    pub state: String,
    /// Init process.
    pub pid: Option<i32>,
    /// Inode number of its namespace.
    pub netns: Option<u32>,
    /// Addresses by network, with prefix.
    pub addresses: Vec<(String, String)>,
    /// Published ports, as `0.0.0.0:10001->80/tcp`.
    pub published: Vec<String>,
}

/// A network of the engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Full id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Driver.
    pub driver: String,
    /// Bridge device.
    pub bridge: Option<String>,
    /// macvlan's or ipvlan's parent device.
    pub parent: Option<String>,
    /// Prefixes.
    pub subnets: Vec<String>,
    /// `--internal`.
    pub internal: bool,
}

/// A network namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Inode number.
    pub inum: u32,
    /// What it is called.
    pub name: Option<String>,
    /// Whether it is the host, a container's, or wired to a bridge of the host.
    pub near: bool,
    /// Its devices.
    pub devices: Vec<Device>,
}

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// `veth`, `bridge`, `loopback` or as rtnetlink names it.
    pub kind: String,
    /// Index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// MAC address.
    pub mac: Option<String>,
    /// MTU, bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// Addresses with prefix.
    pub addresses: Vec<String>,
}

impl Known {
    /// What an inventory knows.
    pub(super) fn of(inventory: &Inventory, time: Timestamp) -> Self {
        let mut namespaces: Vec<Namespace> = inventory
            .namespaces()
            .map(|info| Namespace {
                inum: info.inum,
                name: match &info.owner {
                    // Processes come and go in it without a change to anybody.
                    Owner::Process { comm, .. } => Some(comm.clone()),
                    _ => inventory.namespace_label(info.key),
                },
                near: info.near,
                devices: info.links.iter().map(device).collect(),
            })
            .collect();
        namespaces.sort_by_key(|namespace| namespace.inum);
        Self {
            time,
            containers: inventory
                .containers()
                .map(|found| Container {
                    id: found.id.clone(),
                    name: found.name.clone(),
                    image: found.image.clone(),
                    project: found.project.clone(),
                    service: found.service.clone(),
                    state: found
                        .ended
                        .map_or(found.state, |_| State::Stopped)
                        .name()
                        .to_owned(),
                    pid: found.pid,
                    netns: found
                        .netns
                        .and_then(|key| inventory.netns(key))
                        .map(|info| info.inum),
                    addresses: found
                        .attachments
                        .iter()
                        .flat_map(|attachment| {
                            [attachment.ipv4, attachment.ipv6]
                                .into_iter()
                                .flatten()
                                .map(|net| (attachment.network.clone(), net.to_string()))
                        })
                        .collect(),
                    published: found.published.iter().map(ToString::to_string).collect(),
                })
                .collect(),
            networks: inventory
                .networks()
                .map(|network| Network {
                    id: network.id.clone(),
                    name: network.name.clone(),
                    driver: network.driver.clone(),
                    bridge: network.bridge.clone(),
                    parent: network.parent.clone(),
                    subnets: network
                        .subnets
                        .iter()
                        .map(|subnet| subnet.prefix.to_string())
                        .collect(),
                    internal: network.internal,
                })
                .collect(),
            namespaces,
        }
    }

    /// Bridge devices by the names of their networks.
    pub(super) fn bridges(&self) -> HashMap<String, String> {
        self.networks
            .iter()
            .filter_map(|network| Some((network.name.clone(), network.bridge.clone()?)))
            .collect()
    }
}

fn device(link: &Link) -> Device {
    Device {
        ifindex: link.ifindex,
        name: link.name.clone(),
        kind: link.kind.name().to_owned(),
        master: link.master,
        mac: link.mac.clone(),
        mtu: link.mtu,
        up: link.up,
        carrier: link.carrier,
        addresses: link.addresses.iter().map(ToString::to_string).collect(),
    }
}
