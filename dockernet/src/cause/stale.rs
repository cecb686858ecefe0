//! Neighbour entries that lead to a MAC address that the container does not have.

use super::{Case, Verdict, neighbour};
use crate::{
    host::{neighbour::NeighbourState, netns::NetnsHandle},
    model::{Container, Impact, Link, NetnsKey},
};

/// Row 60. The frame is flooded, since no port has that address, and the container that it was for throws it away as
/// somebody else's; or it reaches the container that has the MAC address and not the IP address.
pub(super) fn stale_neighbour(case: &Case<'_>) -> Option<Verdict> {
    let packet = case.packet()?;
    let foreign = case.evidence.reason() == "OTHERHOST"
        || packet.pkt_type == "otherhost"
            && case
                .evidence
                .freed_in(&["ip_rcv_core", "ip_rcv", "ip6_rcv_core"]);
    let misled = case.in_container()
        && case
            .evidence
            .freed_in(&["ip_error", "ip6_forward", "ip6_pkt_drop"]);
    if !foreign && !misled {
        return None;
    }
    let (dst, used) = (packet.dst?, packet.dst_mac.as_deref()?);
    let container = case.assigned_to(dst)?;
    let netns = case.inventory.netns(container.netns?)?;
    let wire = neighbour::wire_of(netns, container, dst)?;
    let actual = wire.mac.as_deref()?;
    if actual == used {
        return None;
    }
    let (key, device, who) = sender(case, packet.src_mac.as_deref()?)?;
    let handle: NetnsHandle = if key == case.inventory.host_key() {
        case.host.clone()
    } else {
        case.open(key)?
    };
    let entries = case.state.neighbours(&handle).ok()?;
    let entry = entries.iter().find(|entry| {
        entry.address == dst && entry.device == device.name && entry.mac.as_deref() == Some(used)
    })?;
    let verdict = Verdict::confirmed(
        "stale-neighbour",
        format!(
            "{who} still sends {}'s packets to a MAC address that {} does not have",
            container.name, container.name
        ),
    )
    .fact(format!(
        "{who} has {entry}; {} of {} is {actual}",
        wire.name, container.name
    ))
    .run(
        case.command_in(key, &format!("ip neighbour del {dst} dev {}", device.name)),
        who,
        None,
        Impact::None,
    );
    Some(if entry.state == NeighbourState::Permanent {
        verdict.advise("the entry is permanent: somebody set it by hand or by a script, which will do it again")
    } else if dst.is_ipv6() {
        verdict.advise("the new owner of an address is to announce it, by an unsolicited neighbour advertisement")
    } else {
        verdict.advise(format!(
            "the new owner of an address is to announce it; arping -U -I {} -c 1 {dst} in {} does so",
            wire.name, container.name
        ))
    })
}

/// Who put the frame on the wire: the host by one of its bridges, or a container.
fn sender<'a>(case: &Case<'a>, mac: &str) -> Option<(NetnsKey, &'a Link, String)> {
    let has = |link: &&Link| link.mac.as_deref() == Some(mac);
    let host = case.inventory.host_netns()?;
    // A bridge wears the address of one of its ports; the host sends by the bridge, which has addresses.
    if let Some(link) = host.links.iter().filter(has).find(|link| {
        !link
            .addresses
            .iter()
            .all(|net| neighbour::is_link_local(net.addr()))
    }) {
        return Some((host.key, link, "host".into()));
    }
    let mut living = case
        .inventory
        .containers()
        .filter(|container: &&Container| container.ended.is_none());
    living.find_map(|container| {
        let netns = case.inventory.netns(container.netns?)?;
        let link = netns.links.iter().find(has)?;
        Some((netns.key, link, container.name.clone()))
    })
}
