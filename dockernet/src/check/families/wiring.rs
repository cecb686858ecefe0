//! Cables: bridges, their ports, veths, uplinks, what is at both ends.

use super::forwarding::whole;
use crate::{
    cause::{Verdict, Withheld, lan_port, lost_address},
    check::{Finding, Grade, Sight, Subject, finding::Affected, sight::Member},
    host::bridge::PortState,
    map::model::Interface,
    model::{Impact, Network, State},
};

pub(super) fn find(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (network, bridge) in sight.bridge_networks() {
        let members = sight.members(network);
        found.extend(bridge_itself(sight, network, bridge, &members));
        found.extend(spanning_tree(sight, network, bridge, &members));
        for member in &members {
            found.extend(cable(sight, network, bridge, member));
        }
    }
    found
}

pub(super) fn everyone(members: &[Member<'_>]) -> Vec<Affected> {
    members
        .iter()
        .flat_map(|member| whole(member.container))
        .collect()
}

/// The bridge is there, is up, and has the gateway's address.
fn bridge_itself(
    sight: &Sight<'_>,
    network: &Network,
    bridge: &str,
    members: &[Member<'_>],
) -> Vec<Finding> {
    let subject = Subject::network(&network.name);
    let grade = if members.is_empty() {
        Grade::Risk
    } else {
        Grade::Broken
    };
    let mut found = Vec::new();
    let Some(link) = sight.host.link(bridge) else {
        let verdict = bridge_gone(network, bridge);
        return vec![Finding::new(grade, subject, verdict).affects(everyone(members))];
    };
    if !link.up {
        let verdict = bridge_is_down(bridge);
        found.push(Finding::new(grade, subject.clone(), verdict).affects(everyone(members)));
    }
    for subnet in network
        .subnets
        .iter()
        .filter(|subnet| subnet.prefix.addr().is_ipv4())
    {
        if let Some(verdict) = lost_address(sight.inventory, network, subnet, link) {
            found.push(Finding::new(grade, subject.clone(), verdict).affects(everyone(members)));
        }
    }
    found
}

pub(in crate::check) fn bridge_gone(network: &Network, bridge: &str) -> Verdict {
    Verdict::confirmed(
        "bridge-down",
        format!("bridge {bridge} does not exist: its containers are cut off, and none can be started on {}", network.name),
    )
    .fact(format!("no interface {bridge} on the host"))
    .restart_engine()
    .advise("find who deletes it: NetworkManager, networkd, a script; tell it to leave Docker's bridges alone (Unmanaged=yes)")
}

pub(in crate::check) fn bridge_is_down(bridge: &str) -> Verdict {
    Verdict::confirmed(
        "bridge-down",
        format!("bridge {bridge} is down: its containers are cut off from the host, the world and each other"),
    )
    .fact(format!("{bridge} is not up"))
    .run(format!("ip link set {bridge} up"), "host", None, Impact::None)
}

fn spanning_tree(
    sight: &Sight<'_>,
    network: &Network,
    name: &str,
    members: &[Member<'_>],
) -> Vec<Finding> {
    let bridges = &sight.host.bridges;
    let Some(bridge) = bridges.bridge(name) else {
        return Vec::new();
    };
    let lan = lan_port(bridges, name, &sight.host.links);
    let mut found = Vec::new();
    let mut held = Vec::new();
    for port in bridges.ports_of(name) {
        let behind = sight.inventory.container_behind(port.ifindex);
        // That it blocks one of several ways to the LAN is what spanning tree is for.
        let blocked = port.state == PortState::Blocking && bridge.stp && behind.is_some();
        if !(port.state.is_waiting() || blocked) {
            continue;
        }
        held.push(format!("{} is {}", port.name, port.state));
        let verdict = Verdict::confirmed(
            "stp-forward-delay",
            format!(
                "the spanning tree holds {} back: it passes nothing now",
                port.name
            ),
        )
        .fact(format!("{} is {} on {name}", port.name, port.state))
        .fact(format!(
            "forward_delay is {} s, waited for twice",
            bridge.forward_delay.as_secs()
        ));
        let verdict = if bridge.stp {
            verdict.end_spanning_tree(name, Some(&port.name), lan)
        } else {
            // It was switched off a moment ago; the port's timers still run.
            let run = format!("bridge link set dev {} state 3", port.name);
            verdict.run(run, "host", None, Impact::None)
        };
        let subject = behind.map_or_else(|| Subject::network(&network.name), Subject::container);
        found.push(
            Finding::new(Grade::Broken, subject, verdict)
                .affects(behind.into_iter().flat_map(whole)),
        );
    }
    if bridge.stp && !bridge.forward_delay.is_zero() && held.is_empty() {
        let delay = bridge.forward_delay.as_secs() * 2;
        let verdict = Verdict::confirmed(
            "stp-forward-delay",
            format!("the spanning tree is on at {name}: each container that starts on it is cut off for its first {delay} s"),
        )
        .fact(format!("{name}: stp_state 1, forward_delay {} s", bridge.forward_delay.as_secs()));
        found.push(
            Finding::new(
                Grade::Risk,
                Subject::network(&network.name),
                verdict.end_spanning_tree(name, None, lan),
            )
            .affects(everyone(members)),
        );
    }
    found
}

/// A container's veth pair, and the port at its end.
fn cable(sight: &Sight<'_>, network: &Network, bridge: &str, member: &Member<'_>) -> Vec<Finding> {
    let container = member.container;
    let subject = Subject::container(container);
    let Some(interface) = member.interface else {
        return missing(member, network).into_iter().collect();
    };
    let mut found = Vec::new();
    let own = &interface.device;
    if !own.up {
        let run = format!("ip link set {} up", own.name);
        let run = member
            .space
            .map_or(run.clone(), |space| space.command(&run));
        let verdict = Verdict::confirmed(
            "veth-down",
            format!(
                "{} in {} is down: it is cut off from {}",
                own.name, container.name, network.name
            ),
        )
        .fact(format!("{} is not up", own.name))
        .run(run, container.name.clone(), None, Impact::None)
        .advise("its routes went with it: docker restart it if some are missing then");
        found.push(Finding::new(Grade::Broken, subject.clone(), verdict).affects(whole(container)));
    }
    let Some(peer) = &interface.peer else {
        return found;
    };
    if !peer.device.up {
        let name = &peer.device.name;
        let verdict = Verdict::confirmed(
            "veth-down",
            format!(
                "{name}, the host's end of the cable to {}, is down",
                container.name
            ),
        )
        .fact(format!("{name} is not up"))
        .run(format!("ip link set {name} up"), "host", None, Impact::None);
        found.push(Finding::new(Grade::Broken, subject.clone(), verdict).affects(whole(container)));
    }
    let name = &peer.device.name;
    match &peer.port {
        Some(port) if port.bridge.name == bridge => {
            if port.isolated == Some(true) && network.icc {
                let verdict = Verdict::confirmed(
                    "bridge-port-isolated",
                    format!("{name} is isolated on {bridge}: {} exchanges nothing with other isolated ports", container.name),
                )
                .withheld(name, &[Withheld::Isolated]);
                found.push(Finding::new(Grade::Risk, subject.clone(), verdict));
            }
            let mut withheld = sight
                .host
                .bridges
                .port(name)
                .map_or_else(Vec::new, Withheld::from);
            // Whether a group's members are known by snooping is not read.
            withheld.retain(|one| *one != Withheld::Multicasts);
            if let Some(first) = withheld.first() {
                let verdict = Verdict::confirmed(
                    "bridge-port-isolated",
                    format!(
                        "{name} gets no {} from {bridge}: neighbours that {} has not spoken to of late do not find it",
                        first.what(),
                        container.name
                    ),
                )
                .withheld(name, &withheld);
                found.push(Finding::new(Grade::Risk, subject.clone(), verdict));
            }
        }
        other => {
            let is = other.as_ref().map_or_else(
                || format!("{name} is a port of no bridge"),
                |port| format!("{name} is a port of {}", port.bridge.name),
            );
            let verdict = Verdict::confirmed(
                "veth-off-bridge",
                format!("{} is not plugged into {bridge}: it is cut off from {}", container.name, network.name),
            )
            .fact(is)
            .run(format!("ip link set {name} master {bridge}"), "host", None, Impact::None)
            .advise("find who takes veths off bridges: networkd (give it a .network file with Name=veth* and Unmanaged=yes), NetworkManager");
            found.push(
                Finding::new(Grade::Broken, subject.clone(), verdict).affects(whole(container)),
            );
        }
    }
    found.extend(
        sizes(interface, container.name.as_str(), bridge)
            .map(|verdict| Finding::new(Grade::Risk, subject, verdict).affects(whole(container))),
    );
    found
}

/// Docker says that there is an interface, and there is none.
fn missing(member: &Member<'_>, network: &Network) -> Option<Finding> {
    let space = member.space?;
    if member.container.state == State::Stopped || space.links.is_empty() {
        return None;
    }
    let told = member.attachment.ipv4.or(member.attachment.ipv6)?;
    let container = member.container;
    let verdict = Verdict::confirmed(
        "veth-down",
        format!(
            "{} has no interface on {}: it is cut off from it",
            container.name, network.name
        ),
    )
    .fact(format!(
        "Docker says {told}; no interface in {} has it",
        container.name
    ))
    .reattach(container);
    Some(
        Finding::new(Grade::Broken, Subject::container(container), verdict)
            .affects(whole(container)),
    )
}

/// MTU along the cable: what is larger than the next device takes is lost without a word.
fn sizes(interface: &Interface, container: &str, bridge: &str) -> Option<Verdict> {
    let peer = interface.peer.as_ref()?;
    let port = peer.port.as_ref()?;
    let own = interface.device.mtu;
    let hops = [
        (&interface.device.name, own),
        (&peer.device.name, peer.device.mtu),
        (&port.bridge.name, port.bridge.mtu),
    ];
    if hops.iter().all(|(_, mtu)| *mtu == own) {
        return None;
    }
    let least = hops.iter().map(|(_, mtu)| *mtu).min()?;
    let text: Vec<String> = hops
        .iter()
        .map(|(name, mtu)| format!("{name} {mtu}"))
        .collect();
    Some(
        Verdict::confirmed(
            "veth-mtu-mismatch",
            format!("MTUs differ on the cable of {container}: frames over {least} bytes are lost without a word"),
        )
        .fact(text.join(" → "))
        .advise(format!(
            "give all of them one MTU: recreate the network of {bridge} with com.docker.network.driver.mtu, or ip link set … mtu {least} at both ends"
        )),
    )
}
