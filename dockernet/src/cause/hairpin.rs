//! A container that reaches itself, or a sibling, by the host's address without docker-proxy.

use super::{Case, Verdict};
use crate::{
    host::{listeners::Transport, sysctl::display_key},
    model::{Container, Impact},
};

/// Row 53. The bridge does not send a frame back by the port that it came in by (`should_deliver`, net/bridge/br_forward.c).
pub(super) fn hairpin_off(case: &Case<'_>) -> Option<Verdict> {
    if !case.in_host()
        || !matches!(
            case.evidence.reason(),
            "" | "NOT_SPECIFIED" | "NO_TX_TARGET"
        )
        || !case
            .evidence
            .freed_in(&["br_handle_frame_finish", "br_forward"])
    {
        return None;
    }
    let address = case.dst()?;
    if case.src() != Some(address) {
        return None;
    }
    let container = case.inventory.container_by_address(address)?;
    let bridges = case.state.bridges(case.host).ok()?;
    let port = bridges.port(case.device())?;
    let own = case.inventory.host_veth_of(container);
    if port.hairpin || !own.iter().any(|link| link.name == port.name) {
        return None;
    }
    let name = &container.name;
    Some(
        Verdict::confirmed(
            "hairpin-off",
            format!("{name} asks for its own published port, and its bridge port sends nothing back to where it came from"),
        )
        .fact(format!("port {} of {}: hairpin mode is off", port.name, port.bridge))
        .run(
            format!("ip link set {} type bridge_slave hairpin on", port.name),
            "host",
            Some("\"userland-proxy\": false in /etc/docker/daemon.json lets Docker switch it on at each container start".into()),
            Impact::None,
        )
        .advise(format!(
            "or let {name} use its own name or localhost instead of the host's address; or \"userland-proxy\": true (the default), \
             which needs no hairpin; a bridge that networkd or NetworkManager manages loses the mode"
        )),
    )
}

/// Row 54. What is translated on the way there has to come back by the host; a bridge that does not call iptables takes
/// the short way.
pub(super) fn bridge_nf_off(case: &Case<'_>) -> Option<Verdict> {
    const RECEIVE: &[&str] = &[
        "tcp_v4_rcv",
        "tcp_v6_rcv",
        "__udp4_lib_rcv",
        "__udp6_lib_rcv",
    ];
    if !case.in_container()
        || !matches!(case.evidence.reason(), "NO_SOCKET" | "")
        || !case.evidence.freed_in(RECEIVE)
    {
        return None;
    }
    let packet = case.packet()?;
    let protocol = packet.protocol.as_ref();
    let (src, port) = (packet.src?, packet.src_port?);
    if !waits(
        case,
        protocol,
        packet.tcp_flags.as_deref(),
        packet.dst_port?,
    ) {
        return None;
    }
    let here = case.container_here()?;
    let sender = case.inventory.container_by_address(src)?;
    let published = case.inventory.published_to(&sender.id, protocol, port);
    let published = published.first()?;
    let network = shared(here, sender)?;
    let bridge = case.inventory.network(network)?.bridge.as_deref()?;
    let bridges = case.state.bridges(case.host).ok()?;
    let family = if case.is_ipv6() {
        "ip6tables"
    } else {
        "iptables"
    };
    let key = format!("net/bridge/bridge-nf-call-{family}");
    let set = case.state.sysctl(case.host, &key).ok()?;
    let own = bridges.bridge(bridge)?;
    let calls = if case.is_ipv6() {
        own.nf_call_ip6tables
    } else {
        own.nf_call_iptables
    };
    if calls || set.as_deref().is_some_and(|value| value.trim() != "0") {
        return None;
    }
    let verdict = Verdict::confirmed(
        "bridge-nf-off",
        format!(
            "{} asked for {}'s published port by the host's address, and the answer came straight over {bridge}, not translated back",
            here.name, sender.name
        ),
    )
    .fact(match &set {
        Some(_) => format!("{} = 0: bridged packets bypass NAT", display_key(&key)),
        None => "br_netfilter is not loaded: bridged packets bypass NAT".to_owned(),
    })
    .fact(format!("{} publishes {published}; the answer bears {src}:{port}", sender.name));
    let verdict = match set {
        Some(_) => verdict.set_host_sysctl(&case.state.sysctl_files(), &key, "0", "1"),
        None => verdict.run(
            "modprobe br_netfilter",
            "host",
            Some("/etc/modules-load.d/br_netfilter.conf".into()),
            Impact::Interrupts,
        ),
    };
    Some(verdict.advise(format!(
        "or let {} use {}'s name and its own port {port} on {network}",
        here.name, sender.name
    )))
}

/// Whether somebody here waits for an answer, but from another address.
fn waits(case: &Case<'_>, protocol: &str, flags: Option<&str>, port: u16) -> bool {
    if protocol == "tcp" {
        return flags == Some("SA");
    }
    let all = case
        .netns()
        .and_then(|netns| case.state.listeners(&netns).ok());
    all.is_some_and(|all| {
        all.iter().any(|socket| {
            socket.transport == Transport::Udp
                && socket.local.port() == port
                && socket.remote.is_some()
        })
    })
}

/// Name of a network that both are on.
fn shared<'a>(one: &'a Container, other: &Container) -> Option<&'a str> {
    one.attachments
        .iter()
        .find(|attachment| {
            let mut others = other.attachments.iter();
            others.any(|other| other.network_id == attachment.network_id)
        })
        .map(|attachment| attachment.network.as_str())
}
