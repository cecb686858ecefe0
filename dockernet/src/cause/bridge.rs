//! Bridge ports that do not forward yet, and veths that are down.

use super::{Case, Verdict, case::known};
use crate::{
    host::bridge::PortState,
    model::{Container, Impact, Link},
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
    if case.evidence.reason() != "NEIGH_FAILED" {
        return None;
    }
    let bridges = case.state.bridges(case.host).ok()?;
    veths_of_ends(case).into_iter().find_map(|link| {
        let port = bridges.port(&link.name)?;
        port.state
            .is_waiting()
            .then(|| waiting(case, &port.name, port.state))
    })
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
    verdict
        .run(
            format!("ip link set {name} type bridge stp_state 0"),
            "host",
            None,
            Impact::None,
        )
        .advise(format!(
            "if NetworkManager made the bridge: nmcli connection modify {name} bridge.stp no"
        ))
}

/// Row 61.
pub(super) fn veth_down(case: &Case<'_>) -> Option<Verdict> {
    let reason = case.evidence.reason();
    let in_queue = matches!(reason, "QDISC_DROP" | "" | "NOT_SPECIFIED")
        && case
            .evidence
            .freed_in(&["__dev_queue_xmit", "noop_enqueue"]);
    let unanswered = reason == "NEIGH_FAILED";
    if !in_queue && !unanswered {
        return None;
    }
    // `noop_enqueue` is the queue of a device that has not been brought up (net/sched/sch_generic.c).
    let containers: Vec<&Container> = ends(case);
    containers.into_iter().find_map(|container| {
        let host_side = case.inventory.host_veth_of(container);
        let down = host_side.iter().find(|link| !link.up);
        if let Some(link) = down {
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
        let netns = case.inventory.netns(container.netns?)?;
        let link = netns.links.iter().find(|link| is_wire(link) && !link.up)?;
        Some(
            Verdict::confirmed(
                "veth-down",
                format!("{} in {} is down", link.name, container.name),
            )
            .fact(format!("{} in {} is not UP", link.name, container.name))
            .run(
                case.command_in(netns.key, &format!("ip link set {} up", link.name)),
                container.name.clone(),
                None,
                Impact::None,
            ),
        )
    })
}

fn is_wire(link: &Link) -> bool {
    link.kind == crate::model::LinkKind::Veth
}

/// Containers at either end or where the packet died.
fn ends<'a>(case: &Case<'a>) -> Vec<&'a Container> {
    let drop = &case.evidence.drop;
    [
        &drop.destination.container,
        &drop.source.container,
        &drop.netns.container,
    ]
    .into_iter()
    .flatten()
    .filter_map(|end| {
        case.inventory
            .containers()
            .find(|container| container.id.starts_with(&end.id))
    })
    .collect()
}

fn veths_of_ends<'a>(case: &Case<'a>) -> Vec<&'a Link> {
    ends(case)
        .into_iter()
        .flat_map(|container| case.inventory.host_veth_of(container))
        .collect()
}
