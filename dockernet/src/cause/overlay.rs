//! Overlay networks: VXLAN packets that nobody here takes, and frames that have no peer to go to.

use super::{Case, Verdict};
use crate::{
    evidence::vxlan,
    host::vxlan::Vxlan,
    model::{Impact, NetnsKey},
};

/// VXLAN's port (RFC 7348), which Docker's overlay driver uses unless it is told otherwise.
const PORT: u16 = 4789;
/// The entry of a forwarding database that stands for every address without one.
const ANY: &str = "00:00:00:00:00:00";

/// Row 71.
pub(super) fn overlay_broken(case: &Case<'_>) -> Option<Verdict> {
    unknown_network(case)
        .or_else(|| nobody_listens(case))
        .or_else(|| no_peer(case))
}

/// `vxlan_rcv` (drivers/net/vxlan/vxlan_core.c): the port is served, and no device that is up has the number.
fn unknown_network(case: &Case<'_>) -> Option<Verdict> {
    if !case.evidence.reason_or_silent("VXLAN_VNI_NOT_FOUND")
        || !case.evidence.freed_in(&["vxlan_rcv"])
    {
        return None;
    }
    let id = vxlan::carried(&case.evidence.record)?.id;
    let devices = devices(case)?;
    let (src, here) = (case.src()?, case.place());
    if let Some((key, device)) = devices.iter().find(|(_, device)| device.id == id) {
        return (!device.up).then(|| is_down(case, *key, device));
    }
    let mut numbers: Vec<u32> = devices.iter().map(|(_, device)| device.id).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    Some(
        Verdict::confirmed(
            "overlay-broken",
            format!("{src} sends packets of overlay network (VNI) {id}, which {here} does not have"),
        )
        .fact(if numbers.is_empty() {
            "no VXLAN device is found here".to_owned()
        } else {
            format!("the VXLAN devices here have {}", numbers.join(", "))
        })
        .advise(format!(
            "if Docker made the overlay: no container of this node is on that network any more, or the node has left the swarm; \
             docker network inspect on both nodes shows the VNI (com.docker.network.driver.overlay.vxlanid_list); rejoin, or give both ends one number; \
             else find who on {src} sends here"
        )),
    )
}

/// A port that an overlay should serve: what comes has the form of VXLAN, and no device is up for it.
fn nobody_listens(case: &Case<'_>) -> Option<Verdict> {
    if !case.evidence.reason_or_silent("NO_SOCKET")
        || !case
            .evidence
            .freed_in(&["__udp4_lib_rcv", "__udp6_lib_rcv", "udp_rcv"])
    {
        return None;
    }
    let port = case.packet()?.dst_port?;
    let carried = vxlan::carried(&case.evidence.record)?;
    let devices = devices(case)?;
    let mine = devices.iter().filter(|(_, device)| device.port == port);
    if let Some((key, device)) = mine.clone().find(|(_, device)| device.id == carried.id) {
        return (!device.up).then(|| is_down(case, *key, device));
    }
    // On another port eight bytes may look so by chance; a device that is up there would have a socket.
    if port != PORT || mine.clone().any(|(_, device)| device.up) {
        return None;
    }
    Some(
        Verdict::confirmed(
            "overlay-broken",
            format!(
                "{} sends packets of overlay network (VNI) {} to {}, which has no VXLAN device on port {port}",
                case.src()?, carried.id, case.place()
            ),
        )
        .fact(format!("no VXLAN device serves {port}/udp, and no program does"))
        .advise("the overlay network is gone from this host while others still send to it: start a container on it, rejoin the swarm (docker swarm join), or stop the sender"),
    )
}

fn is_down(case: &Case<'_>, key: NetnsKey, device: &Vxlan) -> Verdict {
    let place = case
        .inventory
        .namespace_label(key)
        .unwrap_or_else(|| "its namespace".into());
    let command = case.command_in(key, &format!("ip link set {} up", device.name));
    down(device, place, command)
}

/// An overlay's tunnel that was set down, and the command that sets it up.
pub(crate) fn down(device: &Vxlan, place: String, command: String) -> Verdict {
    let name = &device.name;
    Verdict::confirmed(
        "overlay-broken",
        format!(
            "{name}, the tunnel of overlay network (VNI) {}, is down",
            device.id
        ),
    )
    .fact(format!("{name} in {place} is not UP"))
    .run(command, place, None, Impact::None)
    .advise("find what sets it down")
}

/// `vxlan_xmit`: neither the frame's address nor a peer for all others is known.
fn no_peer(case: &Case<'_>) -> Option<Verdict> {
    if !case.evidence.reason_or_silent("NO_TX_TARGET")
        || !case
            .evidence
            .freed_in(&["vxlan_xmit", "vxlan_xmit_one", "vxlan_mdb_xmit"])
    {
        return None;
    }
    let netns = case.netns()?;
    let record = &case.evidence.record;
    let link = case
        .inventory
        .link(case.evidence.netns, record.key.ifindex)?;
    if !link.kind.is_vxlan() {
        return None;
    }
    let all = case.state.vxlans(&netns).ok()?;
    let device = all.iter().find(|device| device.name == link.name)?;
    if device.remote.is_some() {
        return None;
    }
    let entries = case.state.fdb(&netns).ok()?;
    let mac = case.packet()?.dst_mac.clone();
    let known = entries.iter().any(|entry| {
        entry.device == device.name
            && entry.remote.is_some()
            && (entry.mac == ANY || Some(&entry.mac) == mac.as_ref())
    });
    if known {
        return None;
    }
    let name = &device.name;
    Some(
        Verdict::confirmed(
            "overlay-broken",
            format!("{name}, the tunnel of overlay network (VNI) {}, knows no peer for this frame", device.id),
        )
        .fact(format!(
            "{name} has no remote, and its forwarding database no entry for {}",
            mac.as_deref().unwrap_or("it")
        ))
        .advise(format!(
            "Docker fills it from the swarm's gossip (7946/tcp and udp): look whether that passes, and restart the container or the node's Docker; \
             for a tunnel of your own: {}",
            case.command(&format!("bridge fdb append {ANY} dev {name} dst PEER"))
        )),
    )
}

/// VXLAN devices of the host and of the namespaces that the engine made for its overlays. None: they could not all be read.
fn devices(case: &Case<'_>) -> Option<Vec<(NetnsKey, Vxlan)>> {
    let host = case.inventory.host_key();
    let own = case.state.vxlans(case.host).ok()?;
    let mut found: Vec<_> = own.into_iter().map(|device| (host, device)).collect();
    for info in case.inventory.namespaces().filter(|info| info.key != host) {
        if !info.near || !info.links.iter().any(|link| link.kind.is_vxlan()) {
            continue;
        }
        // One that is gone by now has none.
        let Some(handle) = case.open(info.key) else {
            continue;
        };
        let all = case.state.vxlans(&handle).ok()?;
        found.extend(all.into_iter().map(|device| (info.key, device)));
    }
    Some(found)
}
