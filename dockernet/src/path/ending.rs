//! Where a packet's way ended, as far as it can be told from where it was seen last.

use std::net::IpAddr;

use super::{
    flow::Flow,
    observe::{Wire, protocol},
    packet::{Stop, Traveller},
};
use crate::{
    inventory::Inventory,
    model::{JourneyEnd, LinkKind, NetnsKey, Owner, Passage, Way},
};

/// An end, and whether only time can tell that it is one.
pub(super) struct Ending {
    pub end: JourneyEnd,
    /// In one sentence.
    pub sentence: String,
    /// Nothing is expected after it.
    pub is_over: bool,
}

/// How it looks now.
pub(super) fn ending(flow: &Flow, traveller: &Traveller, inventory: &Inventory) -> Ending {
    if let Some(drop) = &traveller.drop {
        return over(JourneyEnd::Dropped, format!("dropped: {}", drop.cause.id));
    }
    let Some(last) = traveller.stops.last() else {
        return over(JourneyEnd::Unknown, "it was seen nowhere".to_owned());
    };
    // Before it is translated it is addressed to the host, and yet on its way.
    let is_final = |stop: &Stop| {
        let is_last = |wire: Wire| {
            wire == stop.wire
                || traveller.ident.fragment > 0 && wire.portless() == stop.wire.portless()
        };
        traveller.is_error() || flow.last_wire(traveller.way).is_none_or(is_last)
    };
    // Not only at its last stop: a bridge that does not know where to hands a copy to every port.
    let place = traveller
        .stops
        .iter()
        .rev()
        .filter(|stop| is_final(stop))
        .find_map(|stop| delivered(stop, inventory));
    if let Some(place) = place {
        return Ending {
            end: JourneyEnd::Delivered,
            sentence: format!("delivered to {place}"),
            is_over: !may_be_translated(flow, traveller, last, inventory),
        };
    }
    if leaves(last, inventory) {
        let sentence = if last.netns == inventory.host_key() {
            format!("left the host on {}", last.device)
        } else {
            format!(
                "left by {}, a tunnel or a device of its own",
                device(last, inventory)
            )
        };
        return over(JourneyEnd::Left, sentence);
    }
    if traveller.ambiguous {
        return over(
            JourneyEnd::Unknown,
            "cannot tell: another packet under way looks exactly like it".to_owned(),
        );
    }
    Ending {
        end: JourneyEnd::Lost,
        sentence: format!("lost {}, and no drop was seen", between(last, inventory)),
        is_over: false,
    }
}

fn over(end: JourneyEnd, sentence: String) -> Ending {
    Ending {
        end,
        sentence,
        is_over: true,
    }
}

/// A first packet to a published port may still wait, translated, for a neighbour: no device has seen it since.
fn may_be_translated(
    flow: &Flow,
    traveller: &Traveller,
    last: &Stop,
    inventory: &Inventory,
) -> bool {
    traveller.way == Way::Forward
        && flow.translated.is_none()
        && flow.last_started_ns[1].is_none()
        && last.netns == inventory.host_key()
        && inventory
            .published(&protocol(&last.wire), last.wire.dst.0, last.wire.dst.1)
            .is_some()
}

/// Who has received it, if that is who it was for.
fn delivered(last: &Stop, inventory: &Inventory) -> Option<String> {
    if last.passage != Passage::In {
        return None;
    }
    let destination = last.wire.dst.0;
    if owns(inventory, last.netns, destination) {
        return Some(place(inventory, last.netns));
    }
    // A macvlan or ipvlan device takes the packet over within its parent's receive path: no hop of its own.
    let stacked = inventory.namespaces().find(|info| {
        info.near
            && info.links.iter().any(|link| {
                matches!(&link.kind, LinkKind::Other(kind) if matches!(kind.as_str(), "macvlan" | "ipvlan" | "macvtap"))
                    && link.peer_ifindex == Some(last.ifindex)
                    && link
                        .addresses
                        .iter()
                        .any(|prefix| prefix.addr() == destination)
            })
    })?;
    Some(format!(
        "{}, which sits on {}",
        place(inventory, stacked.key),
        last.device
    ))
}

fn owns(inventory: &Inventory, netns: NetnsKey, address: IpAddr) -> bool {
    address.is_loopback()
        || address.is_multicast()
        || inventory.netns(netns).is_some_and(|info| {
            info.links
                .iter()
                .flat_map(|link| &link.addresses)
                .any(|prefix| prefix.addr() == address)
        })
}

/// Whether behind its device there is no namespace of this host.
fn leaves(last: &Stop, inventory: &Inventory) -> bool {
    if last.passage != Passage::Out {
        return false;
    }
    let at_host = last.netns == inventory.host_key();
    let Some(link) = inventory.link(last.netns, last.ifindex) else {
        return false;
    };
    match link.kind {
        LinkKind::Bridge | LinkKind::Loopback => false,
        LinkKind::Veth => {
            at_host
                && !inventory
                    .netns_behind(last.ifindex)
                    .is_some_and(|info| info.near)
        }
        // In a container: a VPN's tunnel, an overlay's vxlan. What sits on a device of the host's is seen there next.
        LinkKind::Other(ref kind) => {
            at_host || !matches!(kind.as_str(), "macvlan" | "ipvlan" | "macvtap" | "vlan")
        }
    }
}

/// A namespace as people call it.
pub(super) fn place(inventory: &Inventory, netns: NetnsKey) -> String {
    if netns == inventory.host_key() {
        return "the host".to_owned();
    }
    inventory
        .namespace_label(netns)
        .unwrap_or_else(|| "a namespace without a name".to_owned())
}

/// Where it must have vanished: behind its last hop, before the next that was to come.
fn between(last: &Stop, inventory: &Inventory) -> String {
    let at = device(last, inventory);
    let link = inventory.link(last.netns, last.ifindex);
    let in_host = last.netns == inventory.host_key();
    let next = match (last.passage, link.map(|link| &link.kind)) {
        (Passage::Out, Some(LinkKind::Bridge)) => "a port of that bridge".to_owned(),
        (Passage::Out, Some(LinkKind::Veth)) if in_host => {
            match inventory.netns_behind(last.ifindex) {
                Some(info) => format!("the interface in {}", place(inventory, info.key)),
                None => "the other end of that veth".to_owned(),
            }
        }
        (Passage::Out, Some(LinkKind::Veth)) => "the other end of that veth".to_owned(),
        (Passage::In, Some(link_kind)) => {
            let master = link.and_then(|link| inventory.master(last.netns, link));
            match (master, link_kind) {
                (Some(master), _) => format!("its bridge {}", master.name),
                (None, _) => "the device that its route leads to".to_owned(),
            }
        }
        _ => "the next device".to_owned(),
    };
    format!("between {at} and {next}")
}

fn device(stop: &Stop, inventory: &Inventory) -> String {
    match inventory.netns(stop.netns).map(|info| &info.owner) {
        Some(Owner::Host) | None => stop.device.clone(),
        Some(_) => format!("{}:{}", place(inventory, stop.netns), stop.device),
    }
}
