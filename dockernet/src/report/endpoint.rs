//! Both ends of a packet's journey, and its way, on one line.

use std::net::SocketAddr;

use super::{
    protocol,
    style::{Line, Role, thousands},
};
use crate::model::{ContainerRef, Drop, End, Endpoint, EndpointKind, NatKind, NetnsOwner};

/// `198.51.100.20:48084 → web:80/tcp SYN`.
pub(super) fn journey(drop: &Drop) -> Line {
    let mut line = Line::default();
    let is_unknown = drop.packet.is_none() && drop.source.kind == EndpointKind::Unknown;
    if is_unknown {
        // A failure that dropped nothing, whoever suffers from it.
        line.append(destination(drop));
        return times(line, drop);
    }
    line.append(source(drop));
    let question = drop.packet.as_ref().and_then(protocol::who_has);
    match question {
        Some(question) => {
            line.plain(format!(" {question}"));
            if let Some(container) = &drop.destination.container {
                line.plain(" (")
                    .push(Role::Name, named(container))
                    .plain(")");
            }
        }
        None => {
            line.plain(" → ").append(destination(drop));
            let remark = drop.packet.as_ref().map(protocol::remark);
            if let Some(remark) = remark.filter(|remark| !remark.is_empty()) {
                line.plain(format!(" {remark}"));
            }
        }
    }
    times(line, drop)
}

fn times(mut line: Line, drop: &Drop) -> Line {
    if drop.count > 1 {
        line.plain(format!(" ×{}", thousands(drop.count)));
    }
    line
}

/// The source, with its port.
pub(crate) fn source(drop: &Drop) -> Line {
    end(&drop.source, drop.ends().source, None)
}

/// The destination, with its port and protocol.
pub(crate) fn destination(drop: &Drop) -> Line {
    let protocol = drop.packet.as_ref().map(|packet| &*packet.protocol);
    end(&drop.destination, drop.ends().destination, protocol)
}

/// `via 0.0.0.0:10001→80, host netns, eth0`.
pub(super) fn way(drop: &Drop) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(translated(drop));
    parts.push(place(drop));
    match (&drop.ingress_device, &drop.device) {
        (Some(from), Some(to)) if from != to => parts.push(format!("{from}→{to}")),
        (_, Some(device)) | (Some(device), None) => parts.push(device.clone()),
        (None, None) => {}
    }
    parts.join(", ")
}

/// The namespace it died in: `host netns`.
fn place(drop: &Drop) -> String {
    match (&drop.netns.owner, &drop.netns.container) {
        (NetnsOwner::Host, _) => "host\u{a0}netns".to_owned(),
        (_, Some(container)) => format!("{}\u{a0}netns", named(container)),
        _ => match &drop.netns.name {
            Some(name) => format!("netns\u{a0}{name}"),
            None => format!("netns\u{a0}{}", drop.netns.inum),
        },
    }
}

fn translated(drop: &Drop) -> Option<String> {
    if let Some(published) = &drop.published {
        let ports = published.split('/').next().unwrap_or(published);
        return Some(format!("via\u{a0}{}", ports.replace("->", "→")));
    }
    let nat = drop.nat.as_ref()?;
    Some(match nat.kind {
        NatKind::Proxy => return None,
        NatKind::Dnat | NatKind::Both => {
            format!(
                "via\u{a0}{}",
                address((nat.original.dst, nat.original.dst_port))
            )
        }
        NatKind::Snat => format!("as\u{a0}{}", address((nat.reply.dst, nat.reply.dst_port))),
    })
}

/// A container's name, and how many share its namespace: `gluetun (+2)`.
pub(super) fn named(container: &ContainerRef) -> String {
    match container.shared_with.len() {
        0 => container.name.clone(),
        others => format!("{} (+{others})", container.name),
    }
}

/// Whose drop it is: the destination's container, else the source's, else the one it died in.
pub(crate) fn subject(drop: &Drop) -> Option<&ContainerRef> {
    drop.destination
        .container
        .as_ref()
        .or(drop.source.container.as_ref())
        .or(drop.netns.container.as_ref())
}

/// The subject's name, or what there is in its place.
pub(crate) fn subject_name(drop: &Drop) -> String {
    match subject(drop) {
        Some(container) => named(container),
        None => match (drop.destination.kind, &drop.destination.network) {
            (EndpointKind::Host, _) => "host".to_owned(),
            (_, Some(network)) => network.clone(),
            _ if drop.source.kind == EndpointKind::Host => "host".to_owned(),
            _ => "-".to_owned(),
        },
    }
}

fn end(endpoint: &Endpoint, found: Option<End>, protocol: Option<&str>) -> Line {
    let port = found.and_then(|(_, port)| port);
    let port_text = port.map_or_else(String::new, |port| format!(":{port}"));
    let suffix = match (port, protocol) {
        (Some(_), Some(protocol)) => format!("/{protocol}"),
        _ => String::new(),
    };
    let mut line = Line::default();
    match (endpoint.kind, &endpoint.container, found) {
        (EndpointKind::Container, Some(container), _) => {
            line.push(Role::Name, named(container))
                .plain(format!("{port_text}{suffix}"));
        }
        // An address of the host in a Docker network is not the one its name suggests.
        (EndpointKind::Host, _, Some(found)) if endpoint.network.is_some() => {
            line.push(Role::Name, "host")
                .plain(format!(" ({}{suffix})", address(found)));
        }
        (EndpointKind::Host, _, _) => {
            line.push(Role::Name, "host")
                .plain(format!("{port_text}{suffix}"));
        }
        (_, _, Some(found)) => {
            line.push(Role::Name, address(found)).plain(suffix);
            if let Some(network) = &endpoint.network {
                line.plain(format!(" ({network})"));
            }
        }
        (kind, _, None) => {
            let word = match kind {
                EndpointKind::External => "external",
                EndpointKind::Multicast => "multicast",
                _ => "?",
            };
            line.push(Role::Name, word);
        }
    }
    line
}

/// IPv6 addresses are bracketed when a port follows.
pub(super) fn address((address, port): End) -> String {
    match port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}
