//! The dead packet as the rules saw it, and where it died.

use std::net::IpAddr;

use dockernet_common::{
    conntrack::{RawTuple, info},
    record::flag,
};
use ipnet::IpNet;

use crate::{
    cause::Case,
    evidence::HookPoint,
    host::firewall::{CtState, Engine, Env, Family, FlowPacket, FlowTuple, Hook, Site},
    model::address,
};

pub(super) fn site(case: &Case<'_>, point: HookPoint) -> Site {
    let mut site = Site::new(point.hook);
    site.bridge = point.bridge;
    site.engine = if point.nft {
        Some(Engine::Nft)
    } else if locates_nft(case) {
        Some(Engine::Legacy)
    } else {
        None
    };
    site.family = match point.family {
        Some("ipv4") => Some(Family::Ip),
        Some("ipv6") => Some(Family::Ip6),
        Some("inet") => Some(Family::Inet),
        Some("bridge") => Some(Family::Bridge),
        Some("netdev") => Some(Family::Netdev),
        _ => None,
    };
    site.nfct = Some(case.evidence.record.flags & flag::CONNTRACK != 0);
    site
}

/// Whether this kernel frees a packet that nf_tables drops inside `nft_do_chain` (6.7+): then `nf_hook_slow` as the
/// location means the other engine. Told by the release, since a packet's stack cannot prove an absence.
fn locates_nft(case: &Case<'_>) -> bool {
    if case.evidence.drop.location.as_deref() != Some("nf_hook_slow") {
        return false;
    }
    let release = nix::sys::utsname::uname().ok();
    let release = release
        .as_ref()
        .and_then(|name| name.release().to_str())
        .unwrap_or("");
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= (6, 7))
}

pub(super) fn flow_packet(case: &Case<'_>, point: HookPoint) -> FlowPacket {
    let evidence = case.evidence;
    let shown = case.packet();
    let conntrack = &evidence.record.conntrack;
    let tracked = evidence.record.flags & flag::CONNTRACK != 0;
    let name = |device: &Option<String>| device.clone().filter(|name| !name.is_empty());
    let device = name(&evidence.drop.device);
    // For the IP hooks of bridged packets in and out are the bridge; the port is `physdev`.
    let master = device.as_deref().and_then(|device| master(case, device));
    let (iif, oif, physin, physout) = if point.bridge {
        bridged(case, point, device, master)
    } else {
        let iif = name(&evidence.drop.ingress_device).or_else(|| {
            (point.hook != Hook::Output && point.hook != Hook::Postrouting)
                .then(|| device.clone())
                .flatten()
        });
        (iif, name(&evidence.out_device), None, None)
    };
    FlowPacket {
        ipv6: Some(case.is_ipv6()),
        proto: Some(evidence.record.key.protocol).filter(|&number| number != 0),
        src: case.src(),
        dst: case.dst(),
        sport: shown.and_then(|packet| packet.src_port),
        dport: shown.and_then(|packet| packet.dst_port),
        iif,
        oif,
        physin,
        physout,
        mark: Some(evidence.record.mark),
        ttl: shown.and_then(|packet| packet.ttl),
        ct_state: if !tracked {
            CtState::NO_FLOW
        } else {
            match conntrack.info {
                info::NEW => CtState::NEW,
                info::RELATED => CtState::RELATED,
                other if other == info::RELATED + info::IS_REPLY => CtState::RELATED,
                _ => CtState::ESTABLISHED,
            }
        },
        ct_status: if tracked {
            (u32::MAX, conntrack.status)
        } else {
            (0, 0)
        },
        ct_reply: tracked.then_some(conntrack.info >= info::IS_REPLY),
        ct_mark: None,
        ct_original: tracked.then(|| tuple(&conntrack.original)).flatten(),
        ct_answer: tracked.then(|| tuple(&conntrack.reply)).flatten(),
        pkt_type: Some(evidence.record.pkt_type),
        tcp_flags: evidence
            .parsed
            .transport
            .as_ref()
            .and_then(|transport| transport.tcp()?.flags)
            .map(|flags| flags.0),
        icmp_type: shown
            .and_then(|packet| packet.icmp.as_ref())
            .map(|icmp| icmp.icmp_type),
        icmp_code: shown
            .and_then(|packet| packet.icmp.as_ref())
            .map(|icmp| icmp.code),
        // An IPv6 packet with one is rare, and ufw's rules ask about it before anything else.
        routing_header: Some(false),
    }
}

/// In and out of a bridged packet, and the ports that it came in and leaves by.
fn bridged(
    case: &Case<'_>,
    point: HookPoint,
    device: Option<String>,
    master: Option<String>,
) -> (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
) {
    let leaves = matches!(point.hook, Hook::Forward | Hook::Output | Hook::Postrouting);
    let physout = device.clone().filter(|_| leaves && master.is_some());
    let bridge = master.or(device);
    // Where the packet came in by a device that is no port, it did not come over the bridge.
    let came = case.evidence.drop.ingress_device.clone();
    let physin = came.filter(|came| !came.is_empty() && self::master(case, came) == bridge);
    let (iif, oif) = match point.family {
        // The bridge's own chains know its ports only.
        Some("bridge") => (None, None),
        _ => (bridge.clone(), bridge.filter(|_| leaves)),
    };
    (iif, oif, physin, physout)
}

pub(super) fn master(case: &Case<'_>, device: &str) -> Option<String> {
    let key = case.evidence.netns;
    let index = case.inventory.link_named(key, device)?.master?;
    Some(case.inventory.link(key, index)?.name.clone())
}

fn tuple(raw: &RawTuple) -> Option<FlowTuple> {
    Some(FlowTuple {
        src: address(raw.family, raw.src)?,
        dst: address(raw.family, raw.dst)?,
        sport: Some(u16::from_be_bytes(raw.src_port)),
        dport: Some(u16::from_be_bytes(raw.dst_port)),
    })
}

/// The namespace's own addresses, by interface.
pub(crate) struct Addresses(pub(crate) Vec<(String, Vec<IpNet>)>);

impl Env for Addresses {
    fn is_local(&self, address: IpAddr) -> Option<bool> {
        Some(
            address.is_loopback()
                || self
                    .0
                    .iter()
                    .any(|(_, nets)| nets.iter().any(|net| net.addr() == address)),
        )
    }

    fn is_broadcast(&self, address: IpAddr) -> Option<bool> {
        Some(
            self.0
                .iter()
                .flat_map(|(_, nets)| nets)
                .any(|net| match net {
                    IpNet::V4(net) => {
                        net.prefix_len() < 31 && IpAddr::V4(net.broadcast()) == address
                    }
                    IpNet::V6(_) => false,
                }),
        )
    }

    fn is_local_on(&self, address: IpAddr, interface: &str) -> Option<bool> {
        Some(
            self.0.iter().any(|(name, nets)| {
                name == interface && nets.iter().any(|net| net.addr() == address)
            }),
        )
    }
}
