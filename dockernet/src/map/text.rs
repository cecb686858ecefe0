//! The map for people: a tree per bridge, parent and cable.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    heads::{
        addresses, bridge_head, bridge_notes, host_head, label, marks, net_of_bridge, network,
        parent_head, parent_notes, plain, subnets,
    },
    layout::{Below, Row, Section, Span, render},
    model::{Device, End, Interface, Kind, Map, Member, Namespace, Net},
};
use crate::report::{Look, Role};

/// What branches hang on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stem {
    /// A bridge: its namespace by [`rank`], index.
    Bridge(u32, u32),
    /// What macvlans and ipvlans sit on.
    Parent(u32, u32),
    /// The host's own.
    Host,
    /// Cables without a bridge.
    Cables,
    /// Interfaces that lead nowhere that is known.
    Alone,
}

/// The whole map.
#[must_use]
pub fn text(map: &Map, look: &Look) -> String {
    let mut sections: BTreeMap<Stem, Section> = BTreeMap::new();
    let host = map
        .namespaces
        .iter()
        .find(|space| space.owner == Kind::Host);
    let mut cables: BTreeSet<[(u32, u32); 2]> = BTreeSet::new();
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    // The other end of a cable comes with the near one.
    let near: BTreeSet<(u32, u32)> = map
        .namespaces
        .iter()
        .filter(|space| space.owner != Kind::Host)
        .flat_map(|space| {
            space
                .interfaces
                .iter()
                .filter_map(|interface| interface.peer.as_ref())
        })
        .map(|peer| (peer.netns, peer.device.ifindex))
        .collect();
    // Containers first, what else is plugged in follows.
    let (hosts, others): (Vec<&Namespace>, Vec<&Namespace>) = map
        .namespaces
        .iter()
        .partition(|space| space.owner == Kind::Host);
    for space in others.into_iter().chain(hosts) {
        for interface in &space.interfaces {
            let own = (space.inum, interface.device.ifindex);
            let passive = matches!(space.owner, Kind::Host | Kind::Sandbox);
            if passive && near.contains(&own) && interface.peer.is_some() {
                continue;
            }
            // Of a cable within one namespace the end with the lower index stands for both.
            let second = interface.peer.as_ref().is_some_and(|peer| {
                peer.netns == space.inum && peer.device.ifindex < interface.device.ifindex
            });
            if second && interface.port.is_none() {
                continue;
            }
            if interface.device.kind == "bridge" {
                let stem = Stem::Bridge(rank(&space.name, own.0), own.1);
                let section = sections.entry(stem).or_default();
                if section.head.is_empty() {
                    let device = &interface.device;
                    let net = net_of_bridge(map, &space.name, &device.name, None);
                    section.head = bridge_head(net, &space.name, device);
                    section.notes = bridge_notes(net, device, &mut shown);
                }
                continue;
            }
            let mut net = None;
            let (stem, head) = match (interface.bridge(), &interface.parent, &interface.peer) {
                (Some((netns, port)), ..) => {
                    let peer = interface.peer.as_ref().filter(|_| netns.is_some());
                    let (netns, owner) =
                        peer.map_or((space.inum, &space.name), |peer| (peer.netns, &peer.owner));
                    let plugged = interface.network.as_deref();
                    net = net_of_bridge(map, owner, &port.bridge.name, plugged);
                    let head = bridge_head(net, owner, &port.bridge);
                    (Stem::Bridge(rank(owner, netns), port.bridge.ifindex), head)
                }
                (None, Some(parent), _) => (
                    Stem::Parent(rank(&parent.owner, parent.netns), parent.device.ifindex),
                    parent_head(map, parent),
                ),
                (None, None, _) if space.owner == Kind::Host => (Stem::Host, host_head(space)),
                (None, None, Some(peer)) => {
                    let mut ends = [own, (peer.netns, peer.device.ifindex)];
                    ends.sort_unstable();
                    if cables.insert(ends) {
                        let section = sections.entry(Stem::Cables).or_default();
                        section.head = vec![(Role::Plain, "cables without a bridge".to_owned())];
                        section.rows.push(cable(space, interface, peer));
                    }
                    continue;
                }
                (None, None, None) => (
                    Stem::Alone,
                    vec![(
                        Role::Plain,
                        "interfaces without another end here".to_owned(),
                    )],
                ),
            };
            let section = sections.entry(stem.clone()).or_default();
            if section.head.is_empty() {
                section.head = head;
                section.notes = match (interface.bridge(), &interface.parent) {
                    (Some((_, port)), _) => bridge_notes(net, &port.bridge, &mut shown),
                    _ => Vec::new(),
                };
            }
            if let (Stem::Parent(..), Some(parent)) = (&stem, &interface.parent)
                && section.notes.is_empty()
            {
                section.notes = parent_notes(map, parent);
            }
            section.rows.push(branch(space, interface));
        }
    }
    let mut sections: Vec<(Stem, Section)> = sections.into_iter().collect();
    if let Some(host) = host.filter(|host| !host.containers.is_empty()) {
        let place = sections.iter().position(|(stem, _)| *stem == Stem::Host);
        let place = place.unwrap_or_else(|| {
            sections.push((
                Stem::Host,
                Section {
                    head: host_head(host),
                    ..Section::default()
                },
            ));
            sections.len() - 1
        });
        if let Some((_, section)) = sections.get_mut(place) {
            section.rows.extend(host.containers.iter().map(|member| {
                let state = format!("the host's network{}", state(member));
                Row {
                    main: vec![(Role::Name, member.name.clone()), (Role::Plain, state)],
                    below: published(std::slice::from_ref(member)),
                    ..Row::default()
                }
            }));
        }
    }
    let mut list: Vec<Section> = sections.into_iter().map(|(_, section)| section).collect();
    list.extend(empty_networks(map, &shown));
    list.extend(without_interface(map));
    list.extend(not_running(map));
    list.extend(verdict(&list));
    if list.is_empty() {
        list.push(Section {
            head: vec![(
                Role::Dim,
                "no containers, networks or interfaces".to_owned(),
            )],
            ..Section::default()
        });
    }
    render(&list, look)
}

/// The host comes first, the others by their inode numbers. The map may have been narrowed to one end of a cable.
fn rank(owner: &str, netns: u32) -> u32 {
    if owner == "host" { 0 } else { netns }
}

fn state(member: &Member) -> String {
    match member.state {
        "running" => String::new(),
        other => format!(" ({other})"),
    }
}

fn branch(space: &Namespace, interface: &Interface) -> Row {
    let device = &interface.device;
    let mut cable = format!("{}({})", device.name, device.ifindex);
    if let Some(peer) = &interface.peer {
        cable.push_str(&format!(" ↔ {}({})", peer.device.name, peer.device.ifindex));
        if space.owner == Kind::Host {
            cable.push_str(&format!("@{}", peer.owner));
        }
    } else if device.kind != "device" && device.kind != "veth" {
        cable.push_str(&format!(" {}", device.kind));
    }
    let mut list = addresses(device).into_iter();
    let paused = space.containers.first().map(state).unwrap_or_default();
    let mut row = Row {
        main: vec![
            (Role::Name, format!("{}{paused}", space.name)),
            plain(cable),
            list.next()
                .unwrap_or_else(|| (Role::Dim, "no address".to_owned())),
        ],
        more: details(interface),
        below: Vec::new(),
    };
    let rest: Vec<Span> = list.collect();
    if !rest.is_empty() {
        row.below.push((label("also"), rest));
    }
    row.below.extend(around(space, interface));
    row
}

/// MAC, MTU, state of the port.
fn details(interface: &Interface) -> Vec<Span> {
    let device = &interface.device;
    let mut more = vec![plain(
        device.mac.clone().unwrap_or_else(|| "no MAC".to_owned()),
    )];
    let mtu = match &interface.peer {
        Some(peer) if peer.device.mtu != device.mtu => {
            format!("mtu {} ↔ {}", device.mtu, peer.device.mtu)
        }
        _ => format!("mtu {}", device.mtu),
    };
    more.push(plain(mtu));
    let port = interface.bridge().and_then(|(_, port)| port.state.clone());
    more.push(match port {
        Some(state) if state == "forwarding" => plain(state),
        Some(state) => (Role::Warning, state),
        None if !device.up => (Role::Warning, "down".to_owned()),
        None if !device.carrier => (Role::Warning, "no carrier".to_owned()),
        None => plain("up"),
    });
    more
}

/// What concerns the container, below its first interface, and what is wrong with this one.
fn around(space: &Namespace, interface: &Interface) -> Vec<Below> {
    let mut below = Vec::new();
    let first = space
        .interfaces
        .first()
        .is_some_and(|first| first.device.ifindex == interface.device.ifindex);
    if first && space.owner == Kind::Container {
        let sharing: Vec<Span> = space
            .containers
            .iter()
            .filter(|member| member.name != space.name)
            .map(|member| (Role::Name, format!("{}{}", member.name, state(member))))
            .collect();
        if !sharing.is_empty() {
            below.push((label("shared with"), sharing));
        }
        below.extend(published(&space.containers));
        below.extend(marks(&space.problems));
    }
    below.extend(marks(&interface.problems));
    below
}

fn published(members: &[Member]) -> Vec<Below> {
    let ports: Vec<Span> = members
        .iter()
        .flat_map(|member| &member.published)
        .map(|port| plain(port.replace("->", "→")))
        .collect();
    if ports.is_empty() {
        return Vec::new();
    }
    vec![(label("published"), ports)]
}

/// `A@c1 ↔ B@c2`, and each end below.
fn cable(space: &Namespace, interface: &Interface, peer: &End) -> Row {
    let near = &interface.device;
    let far = &peer.device;
    let names = format!(
        "{}({})@{} ↔ {}({})@{}",
        near.name, near.ifindex, space.name, far.name, far.ifindex, peer.owner
    );
    let end = |owner: &str, device: &Device| {
        let mut list = addresses(device);
        if list.is_empty() {
            list.push((Role::Dim, "no address".to_owned()));
        }
        list.extend(device.mac.clone().map(plain));
        list.push(plain(format!("mtu {}", device.mtu)));
        list.push(match (device.up, device.carrier) {
            (false, _) => (Role::Warning, "down".to_owned()),
            (true, false) => (Role::Warning, "no carrier".to_owned()),
            (true, true) => plain("up"),
        });
        ((Role::Name, owner.to_owned()), list)
    };
    let mut below = vec![end(&space.name, near), end(&peer.owner, far)];
    below.extend(around(space, interface));
    Row {
        main: vec![(Role::Plain, names)],
        more: Vec::new(),
        below,
    }
}

/// Networks that nobody is plugged into.
fn empty_networks(map: &Map, shown: &BTreeSet<&str>) -> Vec<Section> {
    let used = |net: &Net| {
        map.namespaces
            .iter()
            .flat_map(|space| &space.interfaces)
            .any(|interface| interface.network.as_deref() == Some(&net.name))
    };
    map.networks
        .iter()
        .filter(|net| !shown.contains(net.name.as_str()) && !used(net))
        .filter(|net| !matches!(net.driver.as_str(), "host" | "null"))
        .map(|net| {
            let device = net.bridge.as_deref().or(net.parent.as_deref());
            let mut notes = Vec::new();
            if !net.subnets.is_empty() {
                notes.push((label("subnet"), subnets(net)));
            }
            notes.extend(marks(&net.problems));
            Section {
                head: vec![
                    (Role::Name, device.unwrap_or("no device").to_owned()),
                    network(net),
                ],
                notes,
                rows: Vec::new(),
            }
        })
        .collect()
}

/// Containers with nothing but loopback.
fn without_interface(map: &Map) -> Option<Section> {
    let rows: Vec<Row> = map
        .namespaces
        .iter()
        .filter(|space| space.owner == Kind::Container && space.interfaces.is_empty())
        .flat_map(|space| {
            space.containers.iter().map(|member| Row {
                main: vec![
                    (Role::Name, format!("{}{}", member.name, state(member))),
                    plain("loopback only"),
                ],
                more: Vec::new(),
                below: marks(&space.problems),
            })
        })
        .collect();
    (!rows.is_empty()).then(|| Section {
        head: vec![plain("no network")],
        notes: Vec::new(),
        rows,
    })
}

/// How many marks there are: on a large host they are far apart.
fn verdict(sections: &[Section]) -> Option<Section> {
    let notes = sections.iter().flat_map(|section| {
        let below = section.rows.iter().flat_map(|row| &row.below);
        section.notes.iter().chain(below)
    });
    let count = notes
        .filter(|((role, _), _)| *role == Role::Confirmed)
        .count();
    let text = match count {
        0 => return None,
        1 => "✗ marks 1 thing that does not fit".to_owned(),
        count => format!("✗ marks {count} things that do not fit"),
    };
    Some(Section {
        head: vec![(Role::Warning, text)],
        ..Section::default()
    })
}

fn not_running(map: &Map) -> Option<Section> {
    let section = |title: &str, members: Vec<&Member>| {
        let mut head = vec![label(title)];
        head.extend(
            members
                .iter()
                .map(|member| (Role::Name, member.name.clone())),
        );
        Section {
            head,
            ..Section::default()
        }
    };
    (!map.not_running.is_empty()).then(|| section("not running:", map.not_running.iter().collect()))
}
