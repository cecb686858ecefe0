//! What a packet says, in words: flags, ICMP types, ARP.

use crate::model::{Icmp, Packet};

/// TCP flags as words: `SA` → `SYN-ACK`.
pub(super) fn flags(letters: &str) -> String {
    const NAMES: [(char, &str); 8] = [
        ('S', "SYN"),
        ('F', "FIN"),
        ('R', "RST"),
        ('P', "PSH"),
        ('A', "ACK"),
        ('U', "URG"),
        ('E', "ECE"),
        ('W', "CWR"),
    ];
    let names: Vec<&str> = NAMES
        .iter()
        .filter(|(letter, _)| letters.contains(*letter))
        .map(|(_, name)| *name)
        .collect();
    names.join("-")
}

/// What follows the destination: `SYN`, `icmp echo request (ping)`, `gre`; empty for UDP with its port.
pub(super) fn remark(packet: &Packet) -> String {
    if let Some(letters) = &packet.tcp_flags {
        let flags = flags(letters);
        if packet.dst_port.is_some() {
            return flags;
        }
    }
    if let Some(icmp) = &packet.icmp {
        return message(packet, icmp);
    }
    if packet.dst_port.is_some() {
        return String::new();
    }
    packet.protocol.to_string()
}

/// An ARP packet that asks for an address. The model has no opcode: requests are broadcast, replies are not.
pub(super) fn who_has(packet: &Packet) -> Option<String> {
    let broadcast = packet
        .dst_mac
        .as_deref()
        .is_none_or(|mac| mac == "ff:ff:ff:ff:ff:ff")
        || packet.pkt_type == "broadcast";
    (packet.family == "arp" && broadcast).then(|| match packet.dst {
        Some(address) => format!("arp who-has {address}"),
        None => "arp who-has".to_owned(),
    })
}

fn message(packet: &Packet, icmp: &Icmp) -> String {
    let six = packet.family == "ipv6" || packet.protocol == "icmpv6";
    let protocol = if six { "icmpv6" } else { "icmp" };
    let name = if six { name6(icmp) } else { name4(icmp) };
    let mut text = match name {
        Some(name) => format!("{protocol} {name}"),
        None => format!("{protocol} type {} code {}", icmp.icmp_type, icmp.code),
    };
    if let Some(inner) = &icmp.inner {
        text.push_str(" about ");
        text.push_str(&addresses(inner));
    }
    text
}

fn addresses(packet: &Packet) -> String {
    let end = |address: Option<std::net::IpAddr>, port: Option<u16>| match (address, port) {
        (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        _ => "?".to_owned(),
    };
    format!(
        "{} → {}/{}",
        end(packet.src, packet.src_port),
        end(packet.dst, packet.dst_port),
        packet.protocol
    )
}

/// RFC 792, RFC 1122, RFC 1812.
fn name4(icmp: &Icmp) -> Option<&'static str> {
    Some(match (icmp.icmp_type, icmp.code) {
        (0, _) => "echo reply (ping)",
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 9 | 10 | 13) => "administratively prohibited",
        (3, _) => "unreachable",
        (5, _) => "redirect",
        (8, _) => "echo request (ping)",
        (9, _) => "router advertisement",
        (10, _) => "router solicitation",
        (11, _) => "time exceeded",
        (12, _) => "parameter problem",
        (13, _) => "timestamp request",
        (14, _) => "timestamp reply",
        _ => return None,
    })
}

/// RFC 4443, RFC 4861, RFC 2710, RFC 3810.
fn name6(icmp: &Icmp) -> Option<&'static str> {
    Some(match (icmp.icmp_type, icmp.code) {
        (1, 0) => "no route",
        (1, 1) => "administratively prohibited",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, 6) => "route rejects",
        (1, _) => "unreachable",
        (2, _) => "packet too big",
        (3, _) => "time exceeded",
        (4, _) => "parameter problem",
        (128, _) => "echo request (ping)",
        (129, _) => "echo reply (ping)",
        (130, _) => "multicast listener query",
        (131 | 143, _) => "multicast listener report",
        (132, _) => "multicast listener done",
        (133, _) => "router solicitation",
        (134, _) => "router advertisement",
        (135, _) => "neighbour solicitation",
        (136, _) => "neighbour advertisement",
        (137, _) => "redirect",
        _ => return None,
    })
}
