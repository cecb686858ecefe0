//! Bridge ports that do not forward yet, and veths that are down.

use super::{Case, Verdict, case::known, wire};
use crate::{
    host::bridge::{Bridges, PortState},
    model::{Container, Impact, Link, LinkKind, NetnsInfo},
};

/// Row 55. Spanning tree holds a new port back for twice the forward delay.
pub(super) fn stp_forward_delay(case: &Case<'_>) -> Option<Verdict> {
    let at_port = case.evidence.freed_in(&["br_handle_frame"])
        && case.evidence.reason_or_silent("BRIDGE_INGRESS_STP_STATE");
    if at_port {
        let state = PortState::from_number(u8::try_from(known(case.settings().port_state)?).ok()?);
        return state
            .is_waiting()
            .then(|| waiting(case, case.device(), state));
    }
    // ARP dies at the port; the IPv4 packet that waits for its answer dies with it, seconds later and elsewhere.
    if !super::neighbour::gave_up(case) {
        return None;
    }
    let bridges = case.state.bridges(case.host).ok()?;
    wire::host_veths_of_ends(case).into_iter().find_map(|link| {
        let port = bridges.port(&link.name)?;
        port.state
            .is_waiting()
            .then(|| waiting(case, &port.name, port.state))
    })
}

/// A port of a bridge that is no container's cable: behind it spanning tree may be what prevents a loop.
pub(crate) fn lan_port<'b>(
    bridges: &'b Bridges,
    bridge: &'b str,
    links: &[Link],
) -> Option<&'b str> {
    let is_cable = |name: &str| {
        let mut links = links.iter();
        links.any(|link| link.name == name && link.kind == LinkKind::Veth)
    };
    let mut ports = bridges.ports_of(bridge).map(|port| port.name.as_str());
    ports.find(|name| !is_cable(name))
}

impl Verdict {
    /// Adds the command that switches a bridge's spanning tree off. `port` is one that waits already: it would go on until its
    /// time is over. `lan`: see [`lan_port`].
    pub(crate) fn end_spanning_tree(
        self,
        bridge: &str,
        port: Option<&str>,
        lan: Option<&str>,
    ) -> Self {
        if let Some(lan) = lan {
            return self.advise(format!(
                "{bridge} also holds {lan}, where spanning tree may be what prevents a loop: leave it on, and give containers a bridge of their own"
            ));
        }
        let off = format!("ip link set {bridge} type bridge stp_state 0");
        let run = match port {
            Some(port) => format!("{off} && bridge link set dev {port} state 3"),
            None => off,
        };
        self.run(run, "host", None, Impact::None).advise(format!(
            "to keep it, where NetworkManager made the bridge: nmcli connection modify {bridge} bridge.stp no"
        ))
    }
}

fn waiting(case: &Case<'_>, port: &str, state: PortState) -> Verdict {
    let bridges = case.state.bridges(case.host).ok();
    let bridge = bridges
        .as_ref()
        .and_then(|bridges| bridges.bridge(&bridges.port(port)?.bridge));
    let name = bridge.map_or("the bridge", |bridge| bridge.name.as_str());
    let delay = bridge.map(|bridge| bridge.forward_delay.as_secs());
    let verdict = Verdict::confirmed(
        "stp-forward-delay",
        format!(
            "{name} runs spanning tree, which holds the new port {port} back{}",
            delay.map_or_else(String::new, |delay| {
                format!(" for {} s after each container start", 2 * delay)
            })
        ),
    )
    .fact(format!(
        "port {port} of {name} is {}",
        format!("{state:?}").to_lowercase()
    ))
    .maybe_fact(delay.map(|delay| format!("stp_state = 1, forward_delay = {delay} s")));
    let host = case.inventory.host_netns();
    let links = host.map_or(&[][..], |info| &info.links);
    let lan = bridges
        .as_ref()
        .and_then(|bridges| lan_port(bridges, name, links));
    verdict.end_spanning_tree(name, Some(port), lan)
}

/// Row 61.
pub(super) fn veth_down(case: &Case<'_>) -> Option<Verdict> {
    let reason = case.evidence.reason();
    let in_queue = matches!(reason, "QDISC_DROP" | "" | "NOT_SPECIFIED")
        && case
            .evidence
            .freed_in(&["__dev_queue_xmit", "noop_enqueue"]);
    let unanswered = super::neighbour::gave_up(case);
    // A bridge forgets what it has learnt of a port that goes down, and floods; the packet has nowhere to go then.
    let no_port = matches!(reason, "NO_TX_TARGET" | "" | "NOT_SPECIFIED")
        && case
            .evidence
            .freed_in(&["br_handle_frame_finish", "br_flood", "br_dev_xmit"]);
    if !in_queue && !unanswered && !no_port {
        return None;
    }
    // `noop_enqueue` is the queue of a device that is not up or has no carrier (net/sched/sch_generic.c); one that
    // works drops because it is full, which is another cause.
    if in_queue
        && case
            .inventory
            .link(case.evidence.netns, case.evidence.record.key.ifindex)
            .is_none_or(|link| link.up && link.carrier)
    {
        return None;
    }
    wire::of_ends(case)
        .into_iter()
        .find_map(|(container, netns, wire)| down(case, container, netns, wire))
}

fn down(case: &Case<'_>, container: &Container, netns: &NetnsInfo, wire: &Link) -> Option<Verdict> {
    if wire.kind != LinkKind::Veth {
        return None;
    }
    let on_host = case
        .inventory
        .host_veth_of(container)
        .into_iter()
        .find(|link| wire.peer_ifindex == Some(link.ifindex));
    if let Some(link) = on_host.filter(|link| !link.up) {
        return Some(
            Verdict::confirmed(
                "veth-down",
                format!(
                    "{}'s interface on the host, {}, is down",
                    container.name, link.name
                ),
            )
            .fact(format!("{} is not UP", link.name))
            .run(
                format!("ip link set {} up", link.name),
                "host",
                None,
                Impact::None,
            ),
        );
    }
    if wire.up {
        return None;
    }
    let verdict = Verdict::confirmed(
        "veth-down",
        format!("{} in {} is down", wire.name, container.name),
    )
    .fact(format!("{} in {} is not UP", wire.name, container.name))
    .run(
        case.command_in(netns.key, &format!("ip link set {} up", wire.name)),
        container.name.clone(),
        None,
        Impact::None,
    );
    // The kernel forgets the routes of an interface that goes down, and only the connected one comes back.
    let gateway = match container.attachments.as_slice() {
        [only] => only.gateway,
        // Another network's default route may be there still.
        _ => None,
    };
    Some(verdict.maybe_run(gateway.map(|gateway| {
        let route = format!("ip route replace default via {gateway} dev {}", wire.name);
        (case.command_in(netns.key, &route), container.name.clone())
    })))
}
