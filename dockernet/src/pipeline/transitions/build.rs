//! A NAT record as a transition: who is who, what is changed.

use dockernet_common::{
    conntrack::{RawTuple, status},
    nat::{NatRecord, UNKNOWN, direction},
};
use jiff::Timestamp;

use crate::{
    evidence::{flow::flow_id, packet::protocol_name},
    inventory::Inventory,
    model::{Endpoint, EndpointKind, NatKind, NetnsKey, Transition, Tuple, address},
};

/// Both tuples of an entry, and what else a transition is made of.
pub(super) struct Flow<'a> {
    pub original: &'a RawTuple,
    pub reply: &'a RawTuple,
    pub status: u32,
    /// `nf_conn_nat.masq_index`.
    pub masquerade: u32,
}

impl<'a> Flow<'a> {
    pub(super) fn of(record: &'a NatRecord) -> Self {
        Self {
            original: &record.original,
            reply: &record.reply,
            status: record.status,
            masquerade: record.masquerade,
        }
    }
}

/// The transition of a flow, without anything that only a packet tells. None for a family that conntrack does not know.
pub(super) fn transition(
    flow: &Flow<'_>,
    time: Timestamp,
    inventory: &Inventory,
) -> Option<Transition> {
    let number = flow.original.protocol;
    let original = Tuple::of(flow.original)?;
    let reply = Tuple::of(flow.reply)?;
    let kind = match (
        flow.status & status::SRC_NAT != 0,
        flow.status & status::DST_NAT != 0,
    ) {
        (true, true) => NatKind::Both,
        (true, false) => NatKind::Snat,
        (false, true) => NatKind::Dnat,
        (false, false) => NatKind::Proxy,
    };
    let translated = reply.turned();
    let protocol = protocol_name(number);
    let client = address(flow.original.family, flow.original.src)?;
    let server = address(flow.reply.family, flow.reply.src)?;
    let ends = [
        (client, u16::from_be_bytes(flow.original.src_port)),
        (server, u16::from_be_bytes(flow.reply.src_port)),
    ];
    let keeps_source = matches!(kind, NatKind::Dnat | NatKind::Proxy);
    let mut transition = Transition {
        time,
        flow: flow_id(&protocol, ends),
        kind,
        masquerade: (!keeps_source && flow.masquerade != UNKNOWN).then_some(flow.masquerade != 0),
        redirect: false,
        protocol,
        original: Some(original),
        translated,
        device: None,
        direction: "egress".into(),
        hairpin: false,
        replied: flow.status & status::SEEN_REPLY != 0,
        answer_ms: None,
        answered_within_ms: None,
        old: false,
        age_ms: None,
        proxy_pid: None,
        source: Endpoint::default(),
        destination: Endpoint::default(),
        published: None,
        listed: false,
    };
    name(&mut transition, inventory);
    Some(transition)
}

/// Says whose the ends are, and what follows from that.
pub(super) fn name(transition: &mut Transition, inventory: &Inventory) {
    let host = inventory.host_key();
    let (original, translated) = (&transition.original, &transition.translated);
    let has_new_destination = matches!(transition.kind, NatKind::Dnat | NatKind::Both);
    if let Some(original) = original {
        transition.source = inventory.endpoint(original.src, Some(host));
    }
    let destination = inventory.endpoint(translated.dst, Some(host));
    if has_new_destination && let Some(original) = original {
        transition.published = original
            .dst_port
            .and_then(|port| inventory.published(&transition.protocol, original.dst, port))
            .map(|(_, published)| published.to_string());
    }
    transition.redirect = has_new_destination && destination.kind == EndpointKind::Host;
    transition.hairpin = has_new_destination
        && transition.source.kind == EndpointKind::Container
        && destination.kind == EndpointKind::Container
        && transition.source.network == destination.network;
    transition.destination = destination;
}

/// Whether an end is on a bridge of the engine's and nobody's that we know: a container that is about to be told of. (In a
/// macvlan's network, the local one as a rule, most addresses are other machines'.)
pub(super) fn is_unnamed(transition: &Transition, inventory: &Inventory) -> bool {
    let is_bridged = |name: &String| {
        inventory
            .network(name)
            .is_some_and(|network| network.bridge.is_some())
    };
    [&transition.source, &transition.destination]
        .iter()
        .any(|end| {
            end.kind == EndpointKind::Unknown && end.network.as_ref().is_some_and(is_bridged)
        })
}

/// Adds what the packet that was seen tells.
pub(super) fn add_packet(transition: &mut Transition, record: &NatRecord, inventory: &Inventory) {
    let host = inventory.host_key();
    let link = inventory.link(host, record.ifindex);
    transition.device = link.map(|link| link.name.clone());
    transition.replied |= record.direction == direction::REPLY;
    let has_new_source = matches!(transition.kind, NatKind::Snat | NatKind::Both);
    // Kernels that do not tell: an answer leaves by another interface than the first packet did.
    if has_new_source && record.masquerade == UNKNOWN && record.direction == direction::ORIGINAL {
        // A port of a bridge has no address: the bridge is what the packet left by.
        let bridge = link.and_then(|link| inventory.master(host, link));
        transition.masquerade = bridge.or(link).map(|link| {
            link.addresses
                .iter()
                .any(|net| net.addr() == transition.translated.src)
        });
    }
}

/// Whether the record is of the host's namespace. (A device that was just moved into a container may still be watched.)
pub(super) fn is_host(record: &NatRecord, inventory: &Inventory) -> bool {
    NetnsKey(record.netns) == inventory.host_key()
}
