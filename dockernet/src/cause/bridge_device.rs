//! A network's bridge that is down or gone, and veths that are not on theirs.

use super::{
    Case, Verdict,
    wire::{self, Crossing},
};
use crate::model::Impact;

/// Rows 12 and 62: the way between a container and its network's bridge is broken on the host.
pub(super) fn bridge_lost(case: &Case<'_>) -> Option<Verdict> {
    let crossings: Vec<_> = wire::crossings(case)
        .into_iter()
        .filter_map(|crossing| Some((part(case, &crossing)?, crossing)))
        .collect();
    if crossings.is_empty() {
        return None;
    }
    let bridges = case.state.bridges(case.host).ok()?;
    crossings
        .into_iter()
        .find_map(|(part, crossing)| match bridges.bridge(crossing.bridge) {
            None => Some(gone(&crossing)),
            Some(bridge) if !bridge.up => Some(down(&crossing)),
            Some(_) => (part == Part::Veth
                && crossing.host.up
                && crossing.host.master.is_none()
                && bridges.port(&crossing.host.name).is_none())
            .then(|| off(&crossing)),
        })
}

/// What of the way between container and network the packet shows to be broken, if it does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The veth, its place on the bridge or the bridge.
    Veth,
    /// The bridge: the packet was routed as if its network were not here.
    Bridge,
}

fn part(case: &Case<'_>, crossing: &Crossing<'_>) -> Option<Part> {
    let evidence = case.evidence;
    let record = &evidence.record;
    let gave_up = super::neighbour::gave_up(case);
    if case.in_container() {
        // Nobody answers on the network that the container's interface is on.
        let here = case.inventory.link(evidence.netns, record.key.ifindex)?;
        let network = wire::network_of(case, case.container_here()?, here)?;
        return (gave_up && network.id == crossing.network.id).then_some(Part::Veth);
    }
    if !case.in_host() {
        return None;
    }
    // A frame that its bridge refuses, or one that no bridge takes, so that the host itself looks at it.
    if record.iif == crossing.host.ifindex {
        let at_port = evidence.freed_in(&["br_handle_frame"])
            && evidence.reason_or_silent("BRIDGE_INGRESS_STP_STATE");
        let unbridged = !evidence.below(&["br_handle_frame", "br_handle_frame_finish"])
            && evidence.below(&[
                "ip_rcv",
                "ipv6_rcv",
                "ip_list_rcv",
                "ipv6_list_rcv",
                "arp_rcv",
            ]);
        return (at_port || unbridged).then_some(Part::Veth);
    }
    let to = evidence.drop.destination.container.as_ref()?;
    if !crossing.container.id.starts_with(&to.id) {
        return None;
    }
    if gave_up && case.device() == crossing.bridge {
        return Some(Part::Veth);
    }
    // The connected route goes with the bridge: what was for the network follows the default route, or finds none.
    let dst = case.dst()?;
    let inside = crossing
        .network
        .subnets
        .iter()
        .any(|subnet| subnet.prefix.contains(&dst));
    let elsewhere = match evidence.out_device.as_deref() {
        Some(out) => out != crossing.bridge && (gave_up || evidence.reason() == "NETFILTER_DROP"),
        None => evidence.freed_in(&["ip_error", "ip6_pkt_discard", "ip6_pkt_drop"]),
    };
    (inside && elsewhere).then_some(Part::Bridge)
}

fn down(crossing: &Crossing<'_>) -> Verdict {
    let (bridge, network) = (crossing.bridge, &crossing.network.name);
    Verdict::confirmed(
        "bridge-down",
        format!("{bridge}, the bridge of network {network}, is down: all its containers are cut off"),
    )
    .fact(format!("{bridge} is not UP"))
    .fact(format!(
        "{}'s interface on the host, {}, is a port of it",
        crossing.container.name, crossing.host.name
    ))
    .run(format!("ip link set {bridge} up"), "host", None, Impact::None)
    .advise(format!(
        "an IPv6 address of {bridge} went with it and comes back with a restart of Docker; find what sets it down: \
         a script, networkd or NetworkManager (let them leave Docker's interfaces alone: Unmanaged=yes, unmanaged-devices)"
    ))
}

fn gone(crossing: &Crossing<'_>) -> Verdict {
    let (bridge, network) = (crossing.bridge, &crossing.network.name);
    Verdict::confirmed(
        "bridge-down",
        format!("{bridge}, the bridge of network {network}, does not exist any more: all its containers are cut off"),
    )
    .fact(format!("there is no interface {bridge}"))
    .fact(format!(
        "{}'s interface on the host, {}, is on no bridge",
        crossing.container.name, crossing.host.name
    ))
    .restart_engine()
    .advise("Docker makes its bridges when it starts; find what deleted this one: a script, networkd or NetworkManager")
}

fn off(crossing: &Crossing<'_>) -> Verdict {
    let (bridge, veth, name) = (
        crossing.bridge,
        &crossing.host.name,
        &crossing.container.name,
    );
    Verdict::confirmed(
        "veth-off-bridge",
        format!("{name}'s interface on the host, {veth}, is not on its network's bridge {bridge}"),
    )
    .fact(format!("{veth} has no master; {bridge} is there and up"))
    .run(format!("ip link set {veth} master {bridge}"), "host", None, Impact::None)
    .advise(
        "find what takes it off: systemd-networkd and NetworkManager do where a configuration matches veth* \
         ([Match] Driver=veth with [Link] Unmanaged=yes keeps networkd away)",
    )
}
