//! Nobody listens, or the one who does cannot keep up.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Case, Verdict};
use crate::{
    host::{
        listeners::{Listener, Transport, listening_on},
        route::{Family, Route},
    },
    model::{Attachment, Container, Impact, NetworkMode, Published, State},
};

const RECEIVE: &[&str] = &[
    "tcp_v4_rcv",
    "tcp_v6_rcv",
    "__udp4_lib_rcv",
    "__udp6_lib_rcv",
    "udp_rcv",
    "udpv6_rcv",
    "udp_unicast_rcv_skb",
    "udp6_unicast_rcv_skb",
];

/// Rows 26, 46 and 47.
pub(super) fn no_socket(case: &Case<'_>) -> Option<Verdict> {
    if !case.evidence.reason_or_silent("NO_SOCKET") || !case.evidence.freed_in(RECEIVE) {
        return None;
    }
    if case.evidence.reason() != "NO_SOCKET" && !case.evidence.reason().is_empty() {
        return None;
    }
    let packet = case.packet()?;
    let (address, port) = (packet.dst?, packet.dst_port?);
    let transport = match packet.protocol.as_ref() {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => return None,
    };
    // Only who opens a connection asks for a listener; the rest are remains of one.
    if transport == Transport::Tcp
        && packet
            .tcp_flags
            .as_deref()
            .is_none_or(|flags| !flags.contains('S') || flags.contains('A'))
    {
        return None;
    }
    if super::noise::is_multicast(case) {
        return None;
    }
    // Docker listens on [::] for it, and whether such a socket takes IPv4 too cannot be seen.
    if case.in_host()
        && let Some(verdict) = super::routed::host_port(case, &packet.protocol, port)
    {
        return Some(verdict);
    }
    let all = case.state.listeners(&case.netns()?).ok()?;
    let on_port = listening_on(&all, transport, port);
    if on_port
        .iter()
        .any(|listener| listener.accepts(address) && listener.remote.is_none())
    {
        // It listens by now: the packet came too early.
        return None;
    }
    if let Some(verdict) = duplicate_address(case, address) {
        return Some(verdict);
    }
    if case.in_host()
        && let Some(verdict) = stopped(case, address, packet.protocol.as_ref(), port)
    {
        return Some(verdict);
    }
    if case.in_host()
        && let Some(verdict) = published_on_loopback(case, &packet.protocol, port)
    {
        return Some(verdict);
    }
    let late = transport == Transport::Udp && super::noise::leftover(case) == Some("late");
    if late {
        return None;
    }
    let place = case.place();
    let protocol = packet.protocol.as_ref();
    let loopback: Vec<&&Listener> = on_port
        .iter()
        .filter(|listener| listener.is_loopback())
        .collect();
    if !loopback.is_empty() && !address.is_loopback() {
        let bound: Vec<String> = loopback
            .iter()
            .map(|listener| listener.local.to_string())
            .collect();
        return Some(
            Verdict::confirmed(
                "listener-on-loopback",
                format!("the program in {place} listens on loopback only, so nobody outside reaches {port}/{protocol}"),
            )
            .fact(format!("listening on {}, asked for {address}", bound.join(", ")))
            .advise(format!("make it listen on 0.0.0.0 (or [::]) port {port}: a bind, host or listen setting of the program")),
        );
    }
    let others = others(&all, transport);
    let who = if case.in_host() { "the host" } else { &place };
    let bound: Vec<String> = on_port
        .iter()
        .filter(|listener| listener.remote.is_none())
        .map(|listener| listener.local.to_string())
        .collect();
    let published = case.inventory.published(protocol, address, port);
    let published = published.filter(|_| case.in_host());
    if published.is_none() && !bound.is_empty() {
        return Some(on_another_address(
            case,
            who,
            &bound,
            &packet.protocol,
            (address, port),
        ));
    }
    let verdict = Verdict::confirmed(
        "no-listener",
        format!("nothing in {who} listens on {port}/{protocol}"),
    )
    .fact(format!("no {protocol} socket on port {port}"));
    if let Some((container, published)) = published {
        return Some(unserved(case, verdict, container, published));
    }
    let elsewhere = case
        .inventory
        .published_on(protocol, port)
        .find(|_| case.in_host());
    let verdict = verdict.maybe_fact(elsewhere.map(|(container, published)| {
        format!(
            "{} publishes {published}: not at this address",
            container.name
        )
    }));
    let verdict =
        verdict.maybe_fact((!others.is_empty()).then(|| format!("{who} listens on {others}")));
    Some(match case.evidence.drop.published.as_deref().and_then(|published| published.split("->").next()) {
        Some(host) if case.in_container() => {
            let right = first_port(&all, transport).map_or_else(|| "PORT".to_owned(), |port| port.to_string());
            let suffix = if transport == Transport::Udp { "/udp" } else { "" };
            verdict.advise(format!("start the program in {place}, or publish the port that it uses: -p {host}:{right}{suffix}"))
        }
        _ => verdict.advise(format!("start the program that is to listen on {port}/{protocol}, or ask for the port that it uses")),
    })
}

/// Somebody listens on the port, but not on the address that was asked for.
fn on_another_address(
    case: &Case<'_>,
    who: &str,
    bound: &[String],
    protocol: &str,
    (address, port): (IpAddr, u16),
) -> Verdict {
    let all = bound.join(", ");
    let verdict = Verdict::confirmed(
        "no-listener",
        format!(
            "nothing in {who} listens on {port}/{protocol} of {address}: it does on {all} only"
        ),
    )
    .fact(format!("listening on {all}, asked for {address}"));
    let published = case
        .inventory
        .published_on(protocol, port)
        .find(|(container, _)| case.in_host() && container.runs());
    match published {
        Some((container, published)) => verdict
            .fact(format!("{} publishes {published}", container.name))
            .advise(format!(
                "ask for {}, or publish the port without an address",
                published.host_ip
            )),
        None => {
            let any = if address.is_ipv6() {
                "[::]"
            } else {
                "0.0.0.0 (or [::])"
            };
            verdict.advise(format!(
                "ask for the address that it listens on, or make it listen on {any} port {port}: a bind, host or listen setting of the program"
            ))
        }
    }
}

/// A published port that the host does not serve, though its container runs and is on a network.
fn unserved(
    case: &Case<'_>,
    verdict: Verdict,
    container: &Container,
    published: &Published,
) -> Verdict {
    if let Some(missing) = super::firewall::rules_missing(case, container, published) {
        return missing.fact(format!(
            "no socket of the host is on port {}: no docker-proxy serves it either",
            published.host_port
        ));
    }
    let name = &container.name;
    verdict.fact(format!("{name} publishes {published}")).advise(format!(
        "nothing that Docker makes for it serves it: docker restart {name}; if that is no help, restart Docker"
    ))
}

/// The ports that are open to others, for the reader to recognise the right one.
fn others(all: &[Listener], transport: Transport) -> String {
    const SHOWN: usize = 5;
    let mut open: Vec<String> = open(all, transport)
        .map(|listener| listener.local.to_string())
        .collect();
    open.sort();
    open.dedup();
    let more = open.len().saturating_sub(SHOWN);
    open.truncate(SHOWN);
    let text = open.join(", ");
    if more > 0 {
        format!("{text} and {more} more")
    } else {
        text
    }
}

fn open(all: &[Listener], transport: Transport) -> impl Iterator<Item = &Listener> {
    all.iter().filter(move |listener| {
        listener.transport == transport && listener.remote.is_none() && !listener.is_loopback()
    })
}

fn first_port(all: &[Listener], transport: Transport) -> Option<u16> {
    open(all, transport)
        .map(|listener| listener.local.port())
        .min()
}

/// The command that takes an address from an interface, and lets the host forget the MAC address that it took for it.
fn taken_back(case: &Case<'_>, prefix: &IpNet, device: &str) -> String {
    let taken = case.command(&format!("ip addr del {prefix} dev {device}"));
    let address = prefix.addr();
    let network = case.inventory.network_of(address);
    match network.and_then(|network| network.bridge.as_deref()) {
        Some(bridge) => format!("{taken} && ip neigh flush to {address} dev {bridge}"),
        None => taken,
    }
}

/// Row 58: the packet was meant for another container, whose address this one has as well.
fn duplicate_address(case: &Case<'_>, address: IpAddr) -> Option<Verdict> {
    if !case.in_container() {
        return None;
    }
    let meant = case.assigned_to(address)?;
    if meant.state == State::Stopped || meant.netns? == case.evidence.netns {
        return None;
    }
    let here = case.container_here()?;
    let link = case
        .inventory
        .netns(case.evidence.netns)?
        .links
        .iter()
        .find(|link| link.addresses.iter().any(|net| net.addr() == address))?;
    let prefix = link.addresses.iter().find(|net| net.addr() == address)?;
    Some(
        Verdict::confirmed(
            "duplicate-address",
            format!("{} has the address {address} that Docker gave to {}, so it gets packets that are not its own", here.name, meant.name),
        )
        .fact(format!("Docker gave {address} to {}; {} in {} has it as well", meant.name, link.name, here.name))
        .run(taken_back(case, prefix, &link.name), here.name.clone(), None, Impact::Interrupts)
        .advise(format!("find what sets addresses in {}", here.name)),
    )
}

/// Row 52: the port is published, by a container that does not run.
fn stopped(case: &Case<'_>, address: IpAddr, protocol: &str, port: u16) -> Option<Verdict> {
    let (container, published) = case.inventory.published(protocol, address, port)?;
    let name = &container.name;
    // One that runs publishes it for others: an old container is not what was asked for.
    let mut all = case.inventory.published_on(protocol, port);
    if !container.runs() && all.any(|(other, _)| other.runs()) {
        return None;
    }
    if container.state == State::Stopped && container.ended.is_none() {
        return Some(
            Verdict::confirmed(
                "container-stopped",
                format!("{name}, which publishes {port}/{protocol}, does not run"),
            )
            .fact(format!("{name} publishes {published} and is stopped"))
            .fact(format!("no {protocol} socket on port {port} of the host"))
            .run(format!("docker start {name}"), "host", None, Impact::None)
            .advise(format!("if it stops again: docker logs {name}")),
        );
    }
    if container.ended.is_some() {
        return Some(
            Verdict::confirmed(
                "container-stopped",
                format!("{name}, which published {port}/{protocol}, has ended"),
            )
            .fact(format!("{name} published {published} and does not run any more"))
            .fact(format!("no {protocol} socket on port {port} of the host"))
            .advise(format!(
                "docker start {name}, or run it again if it was removed (--rm); docker logs {name} says why it ended, unless it was"
            )),
        );
    }
    let cut_off =
        container.mode == NetworkMode::Networks && is_wired(case, container) == Some(false);
    cut_off.then(|| {
        let why = if container.attachments.is_empty() {
            "Docker lists no network for it"
        } else {
            "is on no network: it has no interface on any of its own"
        };
        Verdict::confirmed(
            "container-stopped",
            format!("{name}, which publishes {port}/{protocol}, is on no network"),
        )
        .fact(format!("{name} publishes {published} and runs, but {why}"))
        .fact(format!("no {protocol} socket on port {port} of the host"))
        .advise(format!("docker network connect NETWORK {name}"))
    })
}

/// Whether a running container has an interface on one of its networks. Its own routes are asked: that it was taken off its last one
/// may be news that is still on the way.
pub(super) fn is_wired(case: &Case<'_>, container: &Container) -> Option<bool> {
    if container.attachments.is_empty() {
        return Some(false);
    }
    let netns = case.open(container.netns?)?;
    let has_way = |net: IpNet| {
        let routes = case.state.routes(&netns, Family::of(net.addr())).ok();
        routes.is_none_or(|routes| {
            let near = |route: &Route| route.prefix == net.trunc() && route.gateway.is_none();
            routes.iter().any(near)
        })
    };
    let given = |attachment: &Attachment| attachment.ipv4.or(attachment.ipv6);
    let mut given = container.attachments.iter().filter_map(given).peekable();
    Some(given.peek().is_none() || given.any(has_way))
}

/// Row 26: what is published on 127.0.0.1 has no socket and no rule for anybody else.
fn published_on_loopback(case: &Case<'_>, protocol: &str, port: u16) -> Option<Verdict> {
    if case.dst()?.is_loopback() {
        return None;
    }
    let published = case.inventory.published_on(protocol, port);
    let on: Vec<_> = published
        .filter(|(container, _)| container.runs())
        .collect();
    if on.is_empty()
        || !on
            .iter()
            .all(|(_, published)| published.host_ip.is_loopback())
    {
        return None;
    }
    let (container, published) = on.first()?;
    Some(loopback_verdict(
        &container.name,
        &published.to_string(),
        port,
        published.container_port,
        protocol,
    ))
}

/// The verdict for a port that is published on loopback only.
pub(super) fn loopback_verdict(
    name: &str,
    published: &str,
    port: u16,
    inside: u16,
    protocol: &str,
) -> Verdict {
    let suffix = if protocol == "tcp" {
        String::new()
    } else {
        format!("/{protocol}")
    };
    Verdict::confirmed(
        "published-on-loopback",
        format!("{name}'s port is published for this host alone"),
    )
    .fact(format!("published as {published}"))
    .advise(format!(
        "if others should reach it: recreate {name} with -p {port}:{inside}{suffix} instead of -p 127.0.0.1:{port}:{inside}{suffix}"
    ))
}
