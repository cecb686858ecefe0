//! NAT records to transitions: who is who, what was asked for, how long the answer took.

use std::collections::HashMap;

use dockernet_common::{conntrack::status, nat::NatRecord, nat::direction};

use crate::{
    bpf::{clock::Clock, nat::NatTracer},
    cli::options::{Options, Scope},
    evidence::{
        flow::{address, flow_id, tuple},
        packet::protocol_name,
        unexplained,
    },
    inventory::Inventory,
    model::{
        Drop, Endpoint, EndpointKind, LinkKind, Nat, NatKind, Netns, NetnsOwner, Packet,
        Transition, Tuple,
    },
};

/// Flows whose first packet was seen and whose answer may come.
const OPEN: usize = 65_536;
/// ICMP and ICMPv6: conntrack's "ports" are echo ids.
const ICMP: [u8; 2] = [1, 58];

/// A flow's first packet.
#[derive(Clone, Copy)]
struct Opened {
    ktime_ns: u64,
    masquerade: Option<bool>,
}

/// The NAT view.
pub(super) struct Transitions {
    pub tracer: NatTracer,
    /// What a conntrack entry's first packet told that its answer does not, by the entry's address.
    opened: HashMap<u64, Opened>,
}

impl Transitions {
    pub(super) fn new(tracer: NatTracer) -> Self {
        Self {
            tracer,
            opened: HashMap::new(),
        }
    }

    /// Follows the host's devices.
    pub(super) fn follow(&mut self, inventory: &Inventory) {
        for problem in self.tracer.watch(&devices(inventory)) {
            // A veth may be gone before we get to it.
            log::info!("not watched for NAT: {problem}");
        }
    }

    /// What has come since the last time, and was asked for.
    pub(super) fn drain(
        &mut self,
        options: &Options,
        inventory: &Inventory,
        clock: Clock,
    ) -> Vec<Transition> {
        let mut records: Vec<NatRecord> = Vec::new();
        self.tracer.drain(|record| records.push(*record));
        records
            .iter()
            .filter_map(|record| {
                let mut transition = transition(record, inventory, clock)?;
                self.complete(record, &mut transition);
                wanted(&transition, options, inventory).then_some(transition)
            })
            .collect()
    }

    /// Remembers a flow's first packet, and adds to its answer what only that told.
    fn complete(&mut self, record: &NatRecord, transition: &mut Transition) {
        if record.direction == direction::ORIGINAL {
            if self.opened.len() >= OPEN {
                // Those that were never answered fill it; the next answers go without a time.
                self.opened.clear();
            }
            let opened = Opened {
                ktime_ns: record.ktime_ns,
                masquerade: transition.masquerade,
            };
            self.opened.insert(record.conntrack, opened);
            return;
        }
        let Some(opened) = self.opened.remove(&record.conntrack) else {
            return;
        };
        transition.masquerade = opened.masquerade;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a span of nanoseconds, shown as milliseconds"
        )]
        let span = record.ktime_ns.saturating_sub(opened.ktime_ns) as f64;
        transition.answer_ms = Some(span / 1e6);
    }
}

/// Every device of the host but loopback, where nothing is translated that does not leave by another one.
#[must_use]
pub fn devices(inventory: &Inventory) -> HashMap<u32, String> {
    let links = inventory.host_netns().map_or(&[][..], |host| &host.links);
    links
        .iter()
        .filter(|link| link.kind != LinkKind::Loopback)
        .map(|link| (link.ifindex, link.name.clone()))
        .collect()
}

fn transition(record: &NatRecord, inventory: &Inventory, clock: Clock) -> Option<Transition> {
    let flow = &record.flow;
    let number = flow.original.protocol;
    let echo = ICMP.contains(&number);
    let original = tuple(&flow.original, echo)?;
    let reply = tuple(&flow.reply, echo)?;
    let kind = match (
        flow.status & status::SRC_NAT != 0,
        flow.status & status::DST_NAT != 0,
    ) {
        (true, true) => NatKind::Both,
        (true, false) => NatKind::Snat,
        (false, true) => NatKind::Dnat,
        (false, false) => return None,
    };
    let translated = Tuple {
        src: reply.dst,
        src_port: reply.dst_port,
        dst: reply.src,
        dst_port: reply.src_port,
    };
    let host = inventory.host_key();
    let link = inventory.link(host, record.ifindex);
    let source = inventory.endpoint(original.src, Some(host));
    let destination = inventory.endpoint(translated.dst, Some(host));
    let protocol = protocol_name(number);
    let published = (kind != NatKind::Snat)
        .then(|| inventory.published(&protocol, original.dst, original.dst_port?))
        .flatten()
        .map(|(_, published)| published.to_string());
    let replied = record.direction == direction::REPLY;
    // An answer leaves by another interface than the first packet did.
    let masquerade = (kind != NatKind::Dnat && !replied)
        .then(|| {
            link.map(|link| {
                link.addresses
                    .iter()
                    .any(|net| net.addr() == translated.src)
            })
        })
        .flatten();
    let client = address(flow.original.family, flow.original.src)?;
    let server = address(flow.reply.family, flow.reply.src)?;
    let ends = [
        (client, u16::from_be_bytes(flow.original.src_port)),
        (server, u16::from_be_bytes(flow.reply.src_port)),
    ];
    Some(Transition {
        time: clock.wall(record.ktime_ns),
        flow: flow_id(&protocol, ends),
        kind,
        masquerade,
        hairpin: kind != NatKind::Snat
            && source.kind == EndpointKind::Container
            && destination.kind == EndpointKind::Container
            && source.network == destination.network,
        protocol,
        original,
        translated,
        device: link.map(|link| link.name.clone()),
        direction: "egress",
        replied,
        answer_ms: None,
        source,
        destination,
        published,
    })
}

/// Inside `--scope`, and let through by the filters. The reason and cause of a drop are none of a transition's.
fn wanted(transition: &Transition, options: &Options, inventory: &Inventory) -> bool {
    let touches = |endpoint: &Endpoint| endpoint.container.is_some() || endpoint.network.is_some();
    let inside = options.scope != Scope::Containers
        || transition.published.is_some()
        || touches(&transition.source)
        || touches(&transition.destination);
    let bridge_of = |name: &str| inventory.network(name)?.bridge.clone();
    inside && options.filter.admits(&as_drop(transition), &bridge_of)
}

/// What filters look at, so that they mean the same in both views.
fn as_drop(transition: &Transition) -> Drop {
    let original = &transition.original;
    Drop {
        time: transition.time,
        flow: Some(transition.flow.clone()),
        reason: None,
        location: None,
        hook: None,
        stack: None,
        netns: Netns {
            owner: NetnsOwner::Host,
            ..Netns::default()
        },
        device: transition.device.clone(),
        ingress_device: None,
        packet: Some(Packet {
            protocol: transition.protocol.clone(),
            src: Some(original.src),
            src_port: original.src_port,
            dst: Some(original.dst),
            dst_port: original.dst_port,
            ..Packet::default()
        }),
        nat: Some(Nat {
            kind: transition.kind,
            original: original.clone(),
            reply: Tuple {
                src: transition.translated.dst,
                src_port: transition.translated.dst_port,
                dst: transition.translated.src,
                dst_port: transition.translated.src_port,
            },
        }),
        source: transition.source.clone(),
        destination: transition.destination.clone(),
        published: transition.published.clone(),
        rule: None,
        cause: unexplained(None, None),
        noise: None,
        expected: false,
        count: 1,
    }
}
