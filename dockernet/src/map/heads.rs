//! What stands above the branches: bridges, parents, the host, with network, subnets and marks.

use std::collections::BTreeSet;

use super::{
    layout::{Below, Span},
    marks::is_link_local,
    model::{Device, End, Map, Namespace, Net, Problem},
};
use crate::report::Role;

pub(super) fn plain(text: impl Into<String>) -> Span {
    (Role::Plain, text.into())
}

pub(super) fn label(text: &str) -> Span {
    (Role::Dim, text.to_owned())
}

pub(super) fn marks(problems: &[Problem]) -> Vec<Below> {
    problems
        .iter()
        .map(|problem| {
            let words = problem.text.split(' ');
            let words = words.map(|word| (Role::Warning, word.to_owned())).collect();
            ((Role::Confirmed, "✗".to_owned()), words)
        })
        .collect()
}

/// `@NAME` for a device that is not on the host.
pub(super) fn elsewhere(owner: &str) -> String {
    match owner {
        "host" => String::new(),
        owner => format!("@{owner}"),
    }
}

pub(super) fn bridge_head(net: Option<&Net>, owner: &str, device: &Device) -> Vec<Span> {
    let mut head = vec![(
        Role::Name,
        format!("{}({}){}", device.name, device.ifindex, elsewhere(owner)),
    )];
    match net {
        Some(net) => {
            head.push(network(net));
        }
        None => head.push(plain("bridge of no network")),
    }
    head.push(plain(format!("mtu {}", device.mtu)));
    head.extend(device.mac.clone().map(plain));
    if !device.up {
        head.push((Role::Warning, "down".to_owned()));
    }
    head
}

/// The network that a bridge carries: by its device on the host, else by what is plugged into it.
pub(super) fn net_of_bridge<'a>(
    map: &'a Map,
    owner: &str,
    bridge: &str,
    plugged: Option<&str>,
) -> Option<&'a Net> {
    let on_host = |net: &&Net| owner == "host" && net.bridge.as_deref() == Some(bridge);
    let elsewhere = |net: &&Net| owner != "host" && plugged == Some(net.name.as_str());
    map.networks
        .iter()
        .find(|net| on_host(net) || elsewhere(net))
}

pub(super) fn subnets(net: &Net) -> Vec<Span> {
    net.subnets
        .iter()
        .map(|subnet| {
            let gateway = subnet
                .gateway
                .map_or_else(String::new, |gateway| format!(" gateway {gateway}"));
            plain(format!("{}{gateway}", subnet.prefix))
        })
        .collect()
}

pub(super) fn bridge_notes<'a>(
    net: Option<&'a Net>,
    device: &Device,
    shown: &mut BTreeSet<&'a str>,
) -> Vec<Below> {
    let mut notes = Vec::new();
    match net {
        Some(net) => {
            shown.insert(&net.name);
            if !net.subnets.is_empty() {
                notes.push((label("subnet"), subnets(net)));
            }
            notes.extend(marks(&net.problems));
        }
        None => {
            let list = addresses(device);
            if !list.is_empty() {
                notes.push((label("address"), list));
            }
        }
    }
    notes
}

pub(super) fn parent_head(map: &Map, parent: &End) -> Vec<Span> {
    let device = &parent.device;
    let mut head = vec![
        (
            Role::Name,
            format!(
                "{}({}){}",
                device.name,
                device.ifindex,
                elsewhere(&parent.owner)
            ),
        ),
        plain("parent"),
        plain(format!("mtu {}", device.mtu)),
    ];
    head.extend(device.mac.clone().map(plain));
    if !device.up {
        head.push((Role::Warning, "down".to_owned()));
    }
    for net in map
        .networks
        .iter()
        .filter(|net| net.parent.as_deref() == Some(&device.name))
    {
        head.push(network(net));
    }
    head
}

pub(super) fn parent_notes(map: &Map, parent: &End) -> Vec<Below> {
    map.networks
        .iter()
        .filter(|net| net.parent.as_deref() == Some(&parent.device.name) && !net.subnets.is_empty())
        .map(|net| (label("subnet"), subnets(net)))
        .collect()
}

/// `network back`, `network closed (internal)`, `network lan (macvlan)`.
pub(super) fn network(net: &Net) -> Span {
    let mut what = Vec::new();
    if net.driver != "bridge" {
        what.push(net.driver.as_str());
    }
    if net.internal {
        what.push("internal");
    }
    if what.is_empty() {
        plain(format!("network {}", net.name))
    } else {
        plain(format!("network {} ({})", net.name, what.join(", ")))
    }
}

pub(super) fn host_head(host: &Namespace) -> Vec<Span> {
    vec![
        (Role::Name, "host".to_owned()),
        (Role::Dim, format!("netns {}", host.inum)),
    ]
}

pub(super) fn addresses(device: &Device) -> Vec<Span> {
    device
        .addresses
        .iter()
        .filter(|prefix| !is_link_local(prefix))
        .map(|prefix| plain(prefix.to_string()))
        .collect()
}
