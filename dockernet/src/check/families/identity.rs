//! Addresses and MAC addresses: who has what Docker gave, who has it as well, and what neighbours believe.

use std::{collections::BTreeMap, net::IpAddr};

use super::forwarding::whole;
use crate::{
    cause::Verdict,
    check::{Finding, Grade, Sight, Subject, sight::has_been_given, space::Space},
    host::neighbour::NeighbourState,
    map::{
        marks::is_link_local,
        model::{Interface, Kind, Namespace},
    },
    model::{Impact, NetworkMode},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = changed(sight);
    found.extend(twice(sight));
    found.extend(neighbours(sight));
    found
}

/// The engine's address is on none of the container's interfaces.
fn changed(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for container in sight.running() {
        if container.mode != NetworkMode::Networks {
            continue;
        }
        let Some(space) = sight.space_of(container) else {
            continue;
        };
        for attachment in &container.attachments {
            let Some(interface) = sight.interface_of(container, &attachment.network) else {
                continue;
            };
            let device = &interface.device;
            for told in attachment.ipv4.iter().chain(&attachment.ipv6) {
                // An interface that is down, or has IPv6 switched off, keeps no IPv6 address: that is the finding then.
                let v6_gone =
                    told.addr().is_ipv6() && (!device.up || is_v6_off(sight, space, &device.name));
                if space.has_address(told.addr()) || v6_gone {
                    continue;
                }
                let has: Vec<String> = device
                    .addresses
                    .iter()
                    .filter(|has| {
                        has.addr().is_ipv4() == told.addr().is_ipv4() && !is_link_local(has)
                    })
                    .map(ToString::to_string)
                    .collect();
                let has = if has.is_empty() {
                    "no such address".to_owned()
                } else {
                    has.join(", ")
                };
                let verdict = Verdict::confirmed(
                    "container-address-changed",
                    format!("{} no longer has {}, the address that Docker gave it: published ports and names lead nowhere", container.name, told.addr()),
                )
                .fact(format!("Docker says {}, {} has {has}", told.addr(), device.name))
                .run(
                    space.command(&format!("ip addr add {told} dev {}", device.name)),
                    container.name.clone(),
                    None,
                    Impact::None,
                )
                .reattach(container)
                .advise("find what changes addresses inside (a DHCP client, a script with NET_ADMIN); use names, and --ip for a fixed address");
                found.push(
                    Finding::new(Grade::Broken, Subject::container(container), verdict)
                        .affects(whole(container)),
                );
            }
        }
    }
    found
}

fn is_v6_off(sight: &Sight<'_>, space: &Space, device: &str) -> bool {
    let key = crate::host::sysctl::interface_key(true, device, "disable_ipv6");
    sight.number(space, &key) == Some(1)
}

/// An interface, and whose it is.
type Holder<'m> = (&'m Namespace, &'m Interface);

/// Two interfaces on one segment with one address, or one MAC address.
fn twice(sight: &Sight<'_>) -> Vec<Finding> {
    let mut by_address: BTreeMap<(String, IpAddr), Vec<Holder<'_>>> = BTreeMap::new();
    let mut by_mac: BTreeMap<(String, String), Vec<Holder<'_>>> = BTreeMap::new();
    for space in &sight.map.namespaces {
        for interface in &space.interfaces {
            let Some(segment) = segment(space, interface) else {
                continue;
            };
            for net in interface
                .device
                .addresses
                .iter()
                .filter(|net| !is_link_local(net))
            {
                let key = (segment.clone(), net.addr());
                by_address.entry(key).or_default().push((space, interface));
            }
            // ipvlan shares its parent's; a bridge borrows that of a port.
            if !matches!(interface.device.kind.as_str(), "ipvlan" | "bridge")
                && let Some(mac) = &interface.device.mac
            {
                let key = (segment, mac.clone());
                by_mac.entry(key).or_default().push((space, interface));
            }
        }
    }
    let mut found = Vec::new();
    for ((segment, address), holders) in by_address {
        if let [first, .., last] = holders.as_slice() {
            found.push(same_address(sight, &segment, address, first, last));
        }
    }
    for ((segment, mac), holders) in by_mac {
        let [first, .., last] = holders.as_slice() else {
            continue;
        };
        let verdict = Verdict::confirmed(
            "duplicate-mac",
            format!("{} and {} have one MAC address on {segment}: frames go now to one, now to the other", named(first), named(last)),
        )
        .fact(format!("{mac} is on both"))
        .advise("recreate one of them without its mac_address (--mac-address), or set another one");
        found.push(
            Finding::new(
                Grade::Broken,
                Subject::network(&network_of(sight, &segment)),
                verdict,
            )
            .affects(sufferers(sight, &holders)),
        );
    }
    found
}

/// The Ethernet segment that an interface is on: a bridge of the host, or a parent of macvlans.
fn segment(space: &Namespace, interface: &Interface) -> Option<String> {
    if let Some(parent) = &interface.parent {
        let shared = matches!(interface.device.kind.as_str(), "macvlan" | "ipvlan");
        return shared.then(|| parent.device.name.clone());
    }
    if space.owner == Kind::Host {
        return (interface.device.kind == "bridge").then(|| interface.device.name.clone());
    }
    // The host's end of the cable tells the bridge.
    let port = interface.peer.as_ref()?.port.as_ref()?;
    Some(port.bridge.name.clone())
}

fn named((space, interface): &Holder<'_>) -> String {
    format!("{} ({})", space.name, interface.device.name)
}

fn network_of(sight: &Sight<'_>, segment: &str) -> String {
    let network = sight.inventory.network_by_bridge(segment);
    network.map_or_else(|| segment.to_owned(), |network| network.name.clone())
}

fn sufferers(sight: &Sight<'_>, holders: &[Holder<'_>]) -> Vec<crate::check::finding::Affected> {
    holders
        .iter()
        .flat_map(|(space, _)| &space.containers)
        .filter_map(|member| sight.inventory.container(&member.id))
        .flat_map(whole)
        .collect()
}

fn same_address(
    sight: &Sight<'_>,
    segment: &str,
    address: IpAddr,
    first: &Holder<'_>,
    last: &Holder<'_>,
) -> Finding {
    let given = |(space, _): &Holder<'_>| {
        space
            .containers
            .iter()
            .filter_map(|member| sight.inventory.container(&member.id))
            .any(|container| has_been_given(container, address))
    };
    // The one that Docker did not give it to is wrong.
    let wrong = if given(last) { first } else { last };
    let verdict = Verdict::confirmed(
        "duplicate-address",
        format!(
            "{} and {} have one address on {segment}: packets go now to one, now to the other",
            named(first),
            named(last)
        ),
    )
    .fact(format!("{address} is on both"));
    let verdict = match [first, last].into_iter().find(|holder| given(holder)) {
        Some((space, _)) => verdict.fact(format!("Docker gave it to {}", space.name)),
        None => verdict,
    };
    let (space, interface) = wrong;
    let prefix = interface
        .device
        .addresses
        .iter()
        .find(|net| net.addr() == address);
    let command =
        prefix.map(|prefix| format!("ip addr del {prefix} dev {}", interface.device.name));
    let info = sight.inventory.netns_by_inum(space.inum);
    let verdict = match (command, info) {
        (Some(command), Some(info)) => {
            let command = if info.key == sight.host.key {
                command
            } else {
                format!("nsenter --net={} {command}", info.path.display())
            };
            verdict.run(command, space.name.clone(), None, Impact::Interrupts)
        }
        _ => verdict,
    };
    Finding::new(
        Grade::Broken,
        Subject::network(&network_of(sight, segment)),
        verdict,
    )
    .affects(sufferers(sight, &[*first, *last]))
}

/// Entries with a MAC address that is not the holder's.
fn neighbours(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for space in std::iter::once(&sight.host).chain(&sight.spaces) {
        for entry in &space.neighbours {
            let Some(believed) = &entry.mac else { continue };
            let uses = matches!(
                entry.state,
                NeighbourState::Reachable
                    | NeighbourState::Stale
                    | NeighbourState::Delay
                    | NeighbourState::Probe
                    | NeighbourState::Permanent
            );
            if !uses || entry.address.is_multicast() {
                continue;
            }
            let Some(segment) = segment_of(sight, space, &entry.device) else {
                continue;
            };
            let Some(holder) = on_segment(sight, &segment, entry.address) else {
                continue;
            };
            let (there, interface) = holder;
            let Some(actual) = &interface.device.mac else {
                continue;
            };
            // Two holders: another finding.
            if actual == believed || there.inum == space.handle.inum() {
                continue;
            }
            let permanent = entry.state == NeighbourState::Permanent;
            let verdict = Verdict::confirmed(
                "stale-neighbour",
                format!(
                    "{} believes {} to be at {believed}, but {} is {actual}",
                    space.label,
                    entry.address,
                    named(&holder)
                ),
            )
            .fact(entry.to_string())
            .fact(if permanent {
                "set by hand: it never goes away by itself"
            } else {
                "it is used until the kernel asks again"
            })
            .run(
                space.command(&format!(
                    "ip neigh del {} dev {}",
                    entry.address, entry.device
                )),
                space.label.clone(),
                None,
                Impact::None,
            );
            let container = there
                .containers
                .first()
                .and_then(|member| sight.inventory.container(&member.id));
            let subject = container.map_or_else(Subject::host, Subject::container);
            let grade = if permanent {
                Grade::Broken
            } else {
                Grade::Risk
            };
            found.push(
                Finding::new(grade, subject, verdict)
                    .affects(container.into_iter().flat_map(whole)),
            );
        }
    }
    found
}

/// The bridge that a device of a namespace leads to.
fn segment_of(sight: &Sight<'_>, space: &Space, device: &str) -> Option<String> {
    if space.key == sight.host.key {
        return sight
            .host
            .bridges
            .bridge(device)
            .map(|bridge| bridge.name.clone());
    }
    let there = sight
        .map
        .namespaces
        .iter()
        .find(|there| there.inum == space.handle.inum())?;
    let interface = there
        .interfaces
        .iter()
        .find(|interface| interface.device.name == device)?;
    segment(there, interface)
}

/// The only interface on a segment that has an address.
fn on_segment<'s>(sight: &'s Sight<'_>, wanted: &str, address: IpAddr) -> Option<Holder<'s>> {
    let mut holders = sight
        .map
        .namespaces
        .iter()
        .flat_map(|space| {
            space
                .interfaces
                .iter()
                .map(move |interface| (space, interface))
        })
        .filter(|(_, interface)| {
            interface
                .device
                .addresses
                .iter()
                .any(|net| net.addr() == address)
        })
        .filter(|(space, interface)| segment(space, interface).as_deref() == Some(wanted));
    let first = holders.next()?;
    holders.next().is_none().then_some(first)
}
