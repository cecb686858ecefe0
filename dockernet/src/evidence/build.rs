//! Record → evidence.

use std::net::IpAddr;

use dockernet_common::{
    conntrack::status,
    record::{DropRecord, flag},
};

use super::{Evidence, HookPoint, flow::flow_id, packet};
use crate::{
    bpf::{clock::Clock, reasons::Reasons, symbols::Symbols},
    inventory::Inventory,
    model::{
        Cause, Confidence, Drop, Endpoint, EndpointKind, Nat, NatKind, Netns, NetnsKey, NetnsOwner,
        Owner, Packet, Reach, Tuple, address,
    },
};

/// What turns numbers into names.
pub struct Names<'a> {
    /// Reasons of this kernel.
    pub reasons: &'a Reasons,
    /// Functions of this kernel.
    pub symbols: &'a Symbols,
    /// Wall clock.
    pub clock: Clock,
    /// Who is who.
    pub inventory: &'a Inventory,
}

/// Names everything that a record tells.
#[must_use]
pub fn evidence(record: &DropRecord, names: &Names<'_>) -> Evidence {
    let netns = NetnsKey(record.key.netns);
    let parsed = packet::parsed(record);
    let location = names.symbols.name(record.key.location).map(str::to_owned);
    let stack = stack(record, names.symbols);
    let reason = names.reasons.name(record.key.reason);
    let hook = hook_point(reason.as_deref(), stack.as_deref(), record);
    let device = device_name(&record.device);
    let ingress_device = match record.iif {
        0 => None,
        iif if iif == record.key.ifindex => device.clone(),
        iif => names
            .inventory
            .link(netns, iif)
            .map(|link| link.name.clone()),
    };
    let packet = packet::shown(record, &parsed);
    let nat = nat(record);
    let mut drop = Drop {
        time: names.clock.wall(record.ktime_ns),
        flow: flow(&packet, record),
        cause: unexplained(reason.as_deref(), location.as_deref()),
        reason,
        location,
        hook: hook.map(HookPoint::name),
        stack,
        netns: netns_of(record.netns_inum, netns, names.inventory),
        device,
        ingress_device,
        packet: Some(packet),
        nat,
        source: Endpoint::default(),
        destination: Endpoint::default(),
        published: None,
        rule: None,
        noise: None,
        expected: false,
        count: 1,
        veth_of: veth_of(record, netns, names.inventory),
        reach: Reach::default(),
        capture: super::capture::capture(record, &parsed).map(Box::new),
        sample: None,
    };
    name_ends(&mut drop, netns, names.inventory);
    Evidence {
        drop,
        record: *record,
        parsed,
        netns,
        hook,
        out_device: device_name(&record.out_device),
    }
}

/// Whose the veth is that the packet was at.
fn veth_of(record: &DropRecord, netns: NetnsKey, inventory: &Inventory) -> Option<String> {
    let index = match record.key.ifindex {
        0 => record.iif,
        index => index,
    };
    let container = (netns == inventory.host_key())
        .then(|| inventory.container_behind(index))
        .flatten()?;
    Some(container.name.clone())
}

pub(super) fn hook_point(
    reason: Option<&str>,
    stack: Option<&[String]>,
    record: &DropRecord,
) -> Option<HookPoint> {
    // A packet may come to its end inside the functions of a hook that it has passed: on a bridge most do.
    let by_netfilter = matches!(reason, None | Some("NETFILTER_DROP" | "NOT_SPECIFIED"));
    stack
        .and_then(HookPoint::of_stack)
        .or_else(|| HookPoint::of_key(record.key.hook))
        .filter(|_| by_netfilter)
}

/// Says who is at either end of a packet in this namespace, and which published port it is about.
pub(crate) fn name_ends(drop: &mut Drop, netns: NetnsKey, inventory: &Inventory) {
    let ends = drop.ends();
    let endpoint = |end: Option<(IpAddr, Option<u16>)>| {
        end.map_or_else(Endpoint::default, |(address, _)| {
            inventory.endpoint(address, Some(netns))
        })
    };
    drop.source = endpoint(ends.source);
    drop.destination = endpoint(ends.destination);
    adopt(drop);
    drop.published = published(drop, inventory);
}

/// The cause of what no cause fits.
#[must_use]
pub(crate) fn unexplained(reason: Option<&str>, location: Option<&str>) -> Cause {
    let reason = reason.unwrap_or("no reason given");
    Cause {
        id: "unexplained".into(),
        confidence: Confidence::Unknown,
        summary: match location {
            Some(location) => format!("the kernel dropped it in {location} ({reason})"),
            None => format!("the kernel dropped it ({reason})"),
        },
        evidence: Vec::new(),
        fix: Vec::new(),
    }
}

/// From the function that freed the packet outward: our program and the tracing machinery stand before it.
fn stack(record: &DropRecord, symbols: &Symbols) -> Option<Vec<String>> {
    if symbols.is_empty() {
        return None;
    }
    let frames: Vec<String> = record
        .stack
        .iter()
        .take(usize::from(record.stack_depth))
        .filter_map(|&address| symbols.name(address))
        .map(str::to_owned)
        .collect();
    let machinery = |frame: &String| {
        frame.starts_with("bpf_")
            || frame.starts_with("__bpf_")
            || frame.starts_with("__traceiter_")
            || matches!(
                frame.as_str(),
                "trace_call_bpf"
                    | "perf_trace_run_bpf_submit"
                    | "perf_trace_kfree_skb"
                    | "kfree_skb"
                    | "sk_skb_reason_drop"
                    | "kfree_skb_reason"
                    | "__kfree_skb_reason"
                    | "kfree_skb_list_reason"
            )
    };
    let first = frames
        .iter()
        .position(|frame| !machinery(frame))
        .unwrap_or(0);
    Some(frames.into_iter().skip(first).collect())
}

pub(super) fn device_name(name: &[u8; 16]) -> Option<String> {
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    let name = std::str::from_utf8(name.get(..end)?).ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// A namespace as it is shown. `inum`: its inode number, as the kernel told it.
pub(crate) fn netns_of(inum: u32, key: NetnsKey, inventory: &Inventory) -> Netns {
    let info = inventory.netns(key);
    let (owner, container) = match info.map(|info| &info.owner) {
        Some(Owner::Host) => (NetnsOwner::Host, None),
        Some(Owner::Containers(ids)) => (
            NetnsOwner::Container,
            ids.first()
                .and_then(|id| inventory.container(id))
                .map(|container| inventory.container_ref(container)),
        ),
        _ => (NetnsOwner::Other, None),
    };
    Netns {
        inum,
        owner,
        container,
        name: inventory.namespace_label(key),
    }
}

/// In a container's own namespace an address that its interface lost (or that another was given) still means it.
fn adopt(drop: &mut Drop) {
    if drop.netns.owner != NetnsOwner::Container {
        return;
    }
    let pkt_type = drop
        .packet
        .as_ref()
        .map_or("", |packet| packet.pkt_type.as_ref());
    let unowned = |endpoint: &Endpoint| endpoint.kind == EndpointKind::Unknown;
    // What was received here and is nobody's was meant for the one who received it.
    if pkt_type == "host" && unowned(&drop.destination) && drop.ingress_device.is_some() {
        drop.destination.kind = EndpointKind::Container;
        drop.destination.container.clone_from(&drop.netns.container);
    } else if drop.ingress_device.is_none() && unowned(&drop.source) {
        drop.source.kind = EndpointKind::Container;
        drop.source.container.clone_from(&drop.netns.container);
    }
}

fn nat(record: &DropRecord) -> Option<Nat> {
    if record.flags & flag::CONNTRACK == 0 {
        return None;
    }
    let conntrack = &record.conntrack;
    let kind = match (
        conntrack.status & status::SRC_NAT != 0,
        conntrack.status & status::DST_NAT != 0,
    ) {
        (false, false) => return None,
        (true, false) => NatKind::Snat,
        (false, true) => NatKind::Dnat,
        (true, true) => NatKind::Both,
    };
    Some(Nat {
        kind,
        original: Tuple::of(&conntrack.original)?,
        reply: Tuple::of(&conntrack.reply)?,
    })
}

/// One id for all packets of a flow: both directions and both sides of NAT share the conntrack entry's two outer ends.
fn flow(packet: &Packet, record: &DropRecord) -> Option<String> {
    let conntrack = &record.conntrack;
    let from_entry = (record.flags & flag::CONNTRACK != 0)
        .then(|| {
            let client = address(conntrack.original.family, conntrack.original.src)?;
            let server = address(conntrack.reply.family, conntrack.reply.src)?;
            Some([
                (client, u16::from_be_bytes(conntrack.original.src_port)),
                (server, u16::from_be_bytes(conntrack.reply.src_port)),
            ])
        })
        .flatten();
    let echo = packet.icmp.as_ref().and_then(|icmp| icmp.id);
    let ends = match from_entry {
        Some(ends) => ends,
        None => [
            (packet.src?, packet.src_port.or(echo).unwrap_or(0)),
            (packet.dst?, packet.dst_port.or(echo).unwrap_or(0)),
        ],
    };
    Some(flow_id(&packet.protocol, ends))
}

/// The published port that the packet came through or was going to.
fn published(drop: &Drop, inventory: &Inventory) -> Option<String> {
    let packet = drop.packet.as_ref()?;
    let protocol = packet.protocol.as_ref();
    if let Some(nat) = drop.nat.as_ref().filter(|nat| nat.kind != NatKind::Snat) {
        let (_, published) =
            inventory.published(protocol, nat.original.dst, nat.original.dst_port?)?;
        return Some(published.to_string());
    }
    let (destination, port) = (packet.dst?, packet.dst_port?);
    if let Some(container) = &drop.destination.container {
        let ids: Vec<_> = inventory
            .containers()
            .filter(|known| known.id.starts_with(&container.id))
            .flat_map(|known| inventory.published_to(&known.id, protocol, port))
            .collect();
        let ipv6 = destination.is_ipv6();
        return ids
            .iter()
            .find(|published| published.host_ip.is_ipv6() == ipv6)
            .or(ids.first())
            .map(ToString::to_string);
    }
    let here = inventory
        .published(protocol, destination, port)
        .map(|(_, published)| published);
    here.or_else(|| {
        // Published, but on another address than the one that was asked.
        (drop.destination.kind == EndpointKind::Host)
            .then(|| {
                inventory
                    .published_on(protocol, port)
                    .next()
                    .map(|(_, published)| published)
            })
            .flatten()
    })
    .map(ToString::to_string)
}
