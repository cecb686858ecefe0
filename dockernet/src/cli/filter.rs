//! Which drops the user asked for.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Pattern, Protocol, Usage, suggest};
use crate::model::{ContainerRef, Drop, Packet};

/// The filters of the command line. Values of one are alternatives; different ones must all match. Empty means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Containers, at either end or where the packet died.
    pub containers: Vec<Pattern>,
    /// Networks, by name or by bridge device.
    pub networks: Vec<Pattern>,
    /// Compose projects.
    pub projects: Vec<Pattern>,
    /// Interfaces.
    pub interfaces: Vec<Pattern>,
    /// Addresses at either end, before or after NAT.
    pub addresses: Vec<IpNet>,
    /// Ports at either end, before or after NAT.
    pub ports: Vec<u16>,
    /// Protocols.
    pub protocols: Vec<Protocol>,
    /// Kernel reasons, upper case, without `SKB_DROP_REASON_`.
    pub reasons: Vec<String>,
    /// Ids of causes.
    pub causes: Vec<String>,
}

impl Filter {
    /// Whether nothing is filtered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a drop is one of those asked for. `bridge_of` gives the bridge device of a Docker network.
    #[must_use]
    pub fn admits(&self, drop: &Drop, bridge_of: &dyn Fn(&str) -> Option<String>) -> bool {
        any(&self.containers, |wanted| {
            containers(drop).any(|container| wanted.matches_ref(container))
        }) && any(&self.networks, |wanted| network(drop, wanted, bridge_of))
            && any(&self.projects, |wanted| {
                containers(drop)
                    .filter_map(|container| container.project.as_deref())
                    .any(|project| wanted.matches(project))
            })
            && any(&self.interfaces, |wanted| {
                devices(drop).any(|device| wanted.matches(device))
            })
            && any(&self.addresses, |wanted| {
                addresses(drop).any(|address| wanted.contains(&address))
            })
            && any(&self.ports, |wanted| {
                ports(drop).any(|port| port == *wanted)
            })
            && any(&self.protocols, |wanted| {
                protocol(drop).is_some_and(|protocol| wanted.matches(protocol))
            })
            && any(&self.reasons, |wanted| {
                drop.reason
                    .as_deref()
                    .is_some_and(|reason| reason.eq_ignore_ascii_case(wanted))
            })
            && any(&self.causes, |wanted| drop.cause.id == *wanted)
    }

    /// Checks the reasons against those of the running kernel (names without their prefix).
    ///
    /// # Errors
    /// Names the reason that the kernel does not have, and the nearest.
    pub fn check_reasons<S: AsRef<str>>(&self, known: &[S]) -> Result<(), Usage> {
        for reason in &self.reasons {
            if known.is_empty() {
                return Err(Usage(format!(
                    "--reason {reason}: this kernel gives no drop reasons (they came with Linux 5.17)"
                )));
            }
            suggest::one_of("reason", reason, known)?;
        }
        Ok(())
    }

    /// Checks the networks that are not globs against those the engine has, by name and bridge device.
    ///
    /// # Errors
    /// Names the network that does not exist, and the nearest.
    pub fn check_networks<S: AsRef<str>>(&self, known: &[S]) -> Result<(), Usage> {
        self.networks
            .iter()
            .filter_map(Pattern::literal)
            .try_for_each(|name| suggest::one_of("network", name, known).map(|_| ()))
    }

    /// A sentence for each container that was asked for and never was there. `known`: id and name of each.
    #[must_use]
    pub fn absent_containers(&self, known: &[(&str, &str)]) -> Vec<String> {
        self.missing_containers(known)
            .into_iter()
            .map(|missing| match missing.split_once(';') {
                Some((what, _)) => what.to_owned(),
                None => missing,
            })
            .collect()
    }

    /// A warning for each container that was asked for and is not there (yet). `known`: id and name of each.
    #[must_use]
    pub fn missing_containers(&self, known: &[(&str, &str)]) -> Vec<String> {
        self.containers
            .iter()
            .filter(|wanted| {
                !known
                    .iter()
                    .any(|(id, name)| wanted.matches_container(id, name))
            })
            .map(|wanted| match wanted.literal() {
                Some(name) => {
                    let near = suggest::nearest(name, known.iter().map(|(_, name)| *name));
                    let near =
                        near.map_or_else(String::new, |near| format!(" (the nearest is '{near}')"));
                    format!("no container is called '{name}'{near}; waiting for it")
                }
                None => format!("no container matches '{wanted}' yet; waiting for one"),
            })
            .collect()
    }
}

/// True without any wanted value, else whether one of them holds.
fn any<T>(wanted: &[T], holds: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(holds)
}

/// The containers at both ends and where the packet died.
pub(super) fn containers(drop: &Drop) -> impl Iterator<Item = &ContainerRef> {
    [
        &drop.source.container,
        &drop.destination.container,
        &drop.netns.container,
    ]
    .into_iter()
    .flatten()
}

/// The devices the packet was on.
pub(super) fn devices(drop: &Drop) -> impl Iterator<Item = &str> {
    [&drop.device, &drop.ingress_device]
        .into_iter()
        .filter_map(|device| device.as_deref())
}

/// Whether an end is in the network, or the packet was on its bridge.
pub(super) fn network(
    drop: &Drop,
    wanted: &Pattern,
    bridge_of: &dyn Fn(&str) -> Option<String>,
) -> bool {
    devices(drop).any(|device| wanted.matches(device))
        || [&drop.source.network, &drop.destination.network]
            .into_iter()
            .flatten()
            .any(|name| {
                wanted.matches(name)
                    || bridge_of(name).is_some_and(|bridge| wanted.matches(&bridge))
            })
}

fn packets(drop: &Drop) -> impl Iterator<Item = &Packet> {
    let outer = drop.packet.as_ref();
    // An ICMP error belongs to the flow it complains about.
    let inner = outer.and_then(|packet| packet.icmp.as_ref()?.inner.as_deref());
    outer.into_iter().chain(inner)
}

fn addresses(drop: &Drop) -> impl Iterator<Item = IpAddr> {
    let nat = drop.nat.as_ref();
    packets(drop)
        .flat_map(|packet| [packet.src, packet.dst])
        .flatten()
        .chain(nat.into_iter().flat_map(|nat| {
            [
                nat.original.src,
                nat.original.dst,
                nat.reply.src,
                nat.reply.dst,
            ]
        }))
}

/// The packet's protocol; that of the published port for a finding, which has no packet.
pub(super) fn protocol(drop: &Drop) -> Option<&str> {
    match &drop.packet {
        Some(packet) => Some(&packet.protocol),
        None => drop
            .published
            .as_deref()?
            .rsplit_once('/')
            .map(|(_, name)| name),
    }
}

/// Both sides of a finding's published port: `0.0.0.0:10001->80/tcp`.
fn published_ports(drop: &Drop) -> [Option<u16>; 2] {
    let sides = || {
        let published = drop
            .published
            .as_deref()
            .filter(|_| drop.packet.is_none())?;
        let (outside, inside) = published.split_once("->")?;
        let outside = outside.rsplit_once(':')?.1.parse().ok()?;
        let inside = inside.split_once('/')?.0.parse().ok()?;
        Some([outside, inside])
    };
    sides().map_or([None; 2], |sides: [u16; 2]| sides.map(Some))
}

/// Every port of the packet and of its flow.
pub(super) fn ports(drop: &Drop) -> impl Iterator<Item = u16> {
    // The conntrack "ports" of ICMP are echo ids.
    let nat = drop
        .nat
        .as_ref()
        .filter(|_| packets(drop).any(|packet| packet.src_port.is_some()));
    packets(drop)
        .flat_map(|packet| [packet.src_port, packet.dst_port])
        .chain(nat.into_iter().flat_map(|nat| {
            [
                nat.original.src_port,
                nat.original.dst_port,
                nat.reply.src_port,
                nat.reply.dst_port,
            ]
        }))
        .chain(published_ports(drop))
        .flatten()
}
