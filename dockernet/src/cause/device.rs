//! What happens at a device: no carrier, and a peer that takes less than is sent.

use std::net::IpAddr;

use super::{Case, Verdict, neighbour};
use crate::model::{Impact, Link, LinkKind, NetnsKey, Network};

/// A queue that takes nothing, since its device is not up or has no carrier (`noop_enqueue`, net/sched/sch_generic.c).
pub(super) fn refused_by_queue(case: &Case<'_>) -> bool {
    matches!(case.evidence.reason(), "QDISC_DROP" | "" | "NOT_SPECIFIED")
        && case
            .evidence
            .freed_in(&["__dev_queue_xmit", "noop_enqueue"])
}

/// Row 66. Veths of containers and bridges without ports have causes of their own.
pub(super) fn uplink_no_carrier(case: &Case<'_>) -> Option<Verdict> {
    let not_forwarded = matches!(case.evidence.reason(), "" | "NOT_SPECIFIED")
        && case.evidence.freed_in(FORWARDED_TO_PEER);
    if !case.in_host() || !(neighbour::gave_up(case) || refused_by_queue(case) || not_forwarded) {
        return None;
    }
    let link = case
        .inventory
        .link(case.evidence.netns, case.evidence.record.key.ifindex)?;
    let ours = is_inward(case, link)
        || link.master.is_some()
        || case.inventory.container_behind(link.ifindex).is_some();
    if ours || !link.up || link.carrier {
        return None;
    }
    let name = &link.name;
    let verdict = Verdict::confirmed(
        "uplink-no-carrier",
        format!("{name} has no carrier: what leaves the host by it is lost"),
    )
    .fact(format!("{name} is UP with NO-CARRIER"));
    Some(if link.kind == LinkKind::Veth {
        verdict.advise(format!(
            "the other end of {name} is down: set it up where it is"
        ))
    } else if link.kind == LinkKind::Bridge {
        verdict.advise(format!(
            "none of its ports has a carrier: see ip link show master {name}, then the cable or the virtual machine's network of the one that leads out"
        ))
    } else {
        verdict.advise(format!(
            "look at the cable, the switch port or the virtual machine's network; ethtool {name} says what the driver sees"
        ))
    })
}

/// A bridge that has no port but those of containers, which leads nowhere else.
pub(super) fn is_inward(case: &Case<'_>, link: &Link) -> bool {
    let links = case.inventory.netns(case.evidence.netns);
    let mut ports = links
        .into_iter()
        .flat_map(|info| &info.links)
        .filter(|port| port.master == Some(link.ifindex));
    link.kind == LinkKind::Bridge
        && !ports.any(|port| case.inventory.container_behind(port.ifindex).is_none())
}

/// `dev_forward_skb` and what it is made of (net/core/dev.c): a veth hands over to its peer.
const FORWARDED_TO_PEER: &[&str] = &[
    "__dev_forward_skb2",
    "__dev_forward_skb",
    "dev_forward_skb",
    "veth_forward_skb",
    "veth_xmit",
];
/// Where a bridge hands a frame to a port that it is too big for.
const TOO_BIG_FOR_PORT: &[&str] = &["br_nf_dev_queue_xmit", "br_dev_queue_push_xmit"];
/// Bytes that a device takes beyond its MTU and link header, for a VLAN tag (`is_skb_forwardable`).
const VLAN_TAG: u32 = 4;

/// Row 69. `is_skb_forwardable` (include/linux/netdevice.h) compares with the receiver's MTU, and tells nobody.
pub(super) fn veth_mtu_mismatch(case: &Case<'_>) -> Option<Verdict> {
    if !matches!(case.evidence.reason(), "" | "NOT_SPECIFIED" | "PKT_TOO_BIG") {
        return None;
    }
    let record = &case.evidence.record;
    let device = case
        .inventory
        .link(case.evidence.netns, record.key.ifindex)?;
    let length = case.packet()?.length;
    let (from, from_place, to, to_key, to_place) = if case.evidence.freed_in(TOO_BIG_FOR_PORT) {
        let from = case.inventory.link(case.evidence.netns, record.iif)?;
        let key = case.evidence.netns;
        (from, case.place(), device, key, case.place())
    } else if case.evidence.freed_in(FORWARDED_TO_PEER) && device.kind == LinkKind::Veth {
        let (peer, key, place) = peer(case, device)?;
        (device, case.place(), peer, key, place)
    } else {
        return None;
    };
    if length <= to.mtu.saturating_add(VLAN_TAG) || from.mtu <= to.mtu || !to.up {
        return None;
    }
    let verdict = Verdict::confirmed(
        "veth-mtu-mismatch",
        format!(
            "{} takes packets of {} bytes, {} on the way to it sends up to {}: what is bigger is lost, and nobody is told",
            to.name, to.mtu, from.name, from.mtu
        ),
    )
    .fact(format!("the packet has {length} bytes"))
    .fact(format!("{} in {from_place} has MTU {}, {} in {to_place} has MTU {}", from.name, from.mtu, to.name, to.mtu));
    let wanted = network_mtu(case);
    let (link, key, place) = if wanted == Some(to.mtu) {
        (from, case.evidence.netns, from_place)
    } else {
        (to, to_key, to_place)
    };
    let mtu = wanted.unwrap_or(from.mtu);
    Some(
        verdict
            .run(
                both_ends(case, link, key, mtu),
                place,
                None,
                Impact::None,
            )
            .advise("for good: let Docker set both ends: docker network create --opt com.docker.network.driver.mtu=MTU, and find what changes one of them"),
    )
}

/// The command that sets an interface's MTU, and that of the veth's other end where that is another one.
fn both_ends(case: &Case<'_>, link: &Link, key: NetnsKey, mtu: u32) -> String {
    let set =
        |key, link: &Link| case.command_in(key, &format!("ip link set {} mtu {mtu}", link.name));
    let here = set(key, link);
    match far_end(case, link, key).filter(|(end, _)| end.mtu != mtu) {
        Some((end, key)) => format!("{here} && {}", set(key, end)),
        None => here,
    }
}

/// The other end of a veth between a container and the host, given the end in the namespace `key`.
fn far_end<'a>(case: &Case<'a>, link: &Link, key: NetnsKey) -> Option<(&'a Link, NetnsKey)> {
    if link.kind != LinkKind::Veth {
        return None;
    }
    let host = case.inventory.host_key();
    if key == host {
        let netns = case.inventory.netns_behind(link.ifindex)?;
        let mut links = netns.links.iter();
        let end = links.find(|end| end.peer_ifindex == Some(link.ifindex))?;
        return Some((end, netns.key));
    }
    let end = case.inventory.link(host, link.peer_ifindex?)?;
    // The number may be one of another namespace's.
    let behind = case.inventory.netns_behind(end.ifindex)?;
    (behind.key == key).then_some((end, host))
}

/// The other end of the veth that a packet died at, and its place.
fn peer<'a>(case: &Case<'a>, device: &Link) -> Option<(&'a Link, NetnsKey, String)> {
    let (link, key) = far_end(case, device, case.evidence.netns)?;
    let place = case.inventory.namespace_label(key).or_else(|| {
        let netns = case.inventory.netns(key)?;
        Some(format!("netns {}", netns.inum))
    })?;
    Some((link, key, place))
}

/// The MTU that the engine gives the interfaces of the network at hand; 1500 unless it is told otherwise.
fn network_mtu(case: &Case<'_>) -> Option<u32> {
    let network = [case.src(), case.dst()]
        .into_iter()
        .flatten()
        .find_map(|address: IpAddr| case.inventory.network_of(address))?;
    mtu_of(network)
}

/// The MTU that a network was made with; none where what it says is no number.
pub(super) fn mtu_of(network: &Network) -> Option<u32> {
    match network.option("com.docker.network.driver.mtu") {
        Some(mtu) => mtu.parse().ok(),
        None => Some(1500),
    }
}
