//! Real dumps: Docker 20.10 and 28.5 (iptables-nft), Docker 29's nftables backend, ufw 0.36, firewalld 1.3, and a table of
//! every nft feature that is read.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::panic, reason = "tests")]

mod docker;
mod ebtables;
mod fuzz;
mod live;
mod managers;
mod nft_features;
mod translation;

use std::net::IpAddr;

use super::{
    Attribution, Backend, CtState, Engine, Family, Firewall, FlowPacket, FlowTuple, Hook, Outcome,
    Ruleset, Site, attribute, drop_candidates, iptables, nft, nft_text::Texts, simulate,
};

/// Addresses of the host in the dumps.
fn host() -> Vec<ipnet::IpNet> {
    [
        "198.51.100.10/24",
        "172.17.0.1/16",
        "172.20.0.1/16",
        "172.21.0.1/16",
        "172.22.0.1/16",
        "2001:db8::10/64",
        "fd00:1::1/64",
    ]
    .into_iter()
    .map(|net| net.parse().unwrap())
    .collect()
}

fn save(text: &str, family: Family) -> Firewall {
    Firewall {
        rulesets: vec![iptables::parse(text, Backend::IptablesNft, family)],
        notes: Vec::new(),
        ..Firewall::default()
    }
}

fn native(json: &str, listing: &str) -> Firewall {
    Firewall {
        rulesets: vec![nft::parse(json, &Texts::parse(listing)).unwrap()],
        notes: Vec::new(),
        ..Firewall::default()
    }
}

/// A tracked new TCP packet without NAT, from `iif` to `oif`.
fn tcp(src: &str, dst: &str, dport: u16, iif: &str, oif: &str) -> FlowPacket {
    FlowPacket {
        proto: Some(6),
        src: Some(src.parse().unwrap()),
        dst: Some(dst.parse().unwrap()),
        sport: Some(40_000),
        dport: Some(dport),
        iif: Some(iif.to_owned()),
        oif: Some(oif.to_owned()),
        mark: Some(0),
        ttl: Some(64),
        ct_state: CtState::NEW,
        ct_status: (0x30, 0),
        ct_reply: Some(false),
        ct_mark: Some(0),
        pkt_type: Some(0),
        tcp_flags: Some(2),
        routing_header: Some(false),
        ..FlowPacket::default()
    }
}

/// The same after DNAT from this address and port.
fn dnat(mut packet: FlowPacket, dst: &str, dport: u16) -> FlowPacket {
    let (src, sport) = (packet.src.unwrap(), packet.sport);
    packet.ct_status = (0x30, 0x20);
    packet.ct_original = Some(FlowTuple {
        src,
        dst: dst.parse::<IpAddr>().unwrap(),
        sport,
        dport: Some(dport),
    });
    packet.ct_answer = Some(FlowTuple {
        src: packet.dst.unwrap(),
        dst: src,
        sport: packet.dport,
        dport: sport,
    });
    packet
}

/// A packet that died without a flow.
fn without_flow(packet: FlowPacket) -> FlowPacket {
    FlowPacket {
        ct_state: CtState::NO_FLOW,
        ct_status: (0, 0),
        ct_reply: None,
        ct_mark: None,
        ..packet
    }
}

fn nft_site(hook: Hook) -> Site {
    Site {
        engine: Some(Engine::Nft),
        ..Site::new(hook)
    }
}

fn run(firewall: &Firewall, packet: &FlowPacket, hook: Hook) -> Outcome {
    simulate(firewall, packet, hook, &host())
}

fn attributed(firewall: &Firewall, packet: &FlowPacket, hook: Hook) -> Option<Attribution> {
    attribute(None, firewall, packet, &nft_site(hook), &host())
}

/// Place, kind and owner of the attributed drop, for short assertions.
fn named(firewall: &Firewall, packet: &FlowPacket, hook: Hook) -> String {
    match attributed(firewall, packet, hook) {
        Some(found) => format!("{} {:?} {}", found.place(), found.kind, found.owner.name()),
        None => "nothing".to_owned(),
    }
}
