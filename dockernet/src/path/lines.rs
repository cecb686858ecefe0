//! What is told of a flow: a packet's journey, a silence, the sum at the end.

use std::net::{IpAddr, SocketAddr};

use super::{
    ending::{Ending, place},
    flow::Flow,
    observe::{Wire, protocol},
    packet::{Stop, Traveller},
    sums::microseconds,
};
use crate::{
    bpf::clock::Clock,
    evidence::netns_of,
    inventory::Inventory,
    model::{Endpoint, FlowSum, FlowVerdict, Hop, Journey, PathEvent, Rewrite, Silence, Way},
};

/// One packet from its first hop to its last.
pub(super) fn journey(
    flow: &Flow,
    traveller: &Traveller,
    ending: &Ending,
    clock: Clock,
    inventory: &Inventory,
) -> PathEvent {
    let mut before: Option<&Stop> = None;
    let hops = traveller
        .stops
        .iter()
        .map(|stop| {
            let nat = before.and_then(|before| rewrite(&before.wire, &stop.wire, traveller.way));
            before = Some(stop);
            Hop {
                offset_us: microseconds(stop.ktime_ns.saturating_sub(traveller.started_ns)),
                netns: netns_of(stop.netns_inum, stop.netns, inventory),
                device: stop.device.clone(),
                direction: stop.passage,
                packets: stop.packets,
                nat,
            }
        })
        .collect();
    let (source, destination) = ends(flow, inventory);
    PathEvent::Journey(Box::new(Journey {
        time: clock.wall(traveller.started_ns),
        flow: flow.id(),
        way: traveller.way,
        packet: traveller.packet.clone(),
        nat: flow.nat(),
        source,
        destination,
        published: published(flow, inventory),
        hops,
        end: ending.end,
        sentence: ending.sentence.clone(),
        answer_ms: traveller.answer_ns.map(|ns| microseconds(ns) / 1000.0),
        drop: traveller.drop.clone(),
    }))
}

/// A question that has waited long enough, told once.
pub(super) fn silence(
    flow: &mut Flow,
    now_ns: u64,
    patience_ns: u64,
    clock: Clock,
) -> Option<PathEvent> {
    let (since, told) = flow.asked?;
    if told || now_ns.saturating_sub(since) < patience_ns {
        return None;
    }
    let last = flow.last_forward.as_deref()?;
    let seconds = microseconds(patience_ns) / 1e6;
    let sentence = if last.starts_with("left ") {
        format!(
            "no answer in {seconds:.0} s: it {last}, and nothing came back; that is not local, look at the next hop"
        )
    } else {
        format!("no answer in {seconds:.0} s: it was {last}")
    };
    flow.asked = Some((since, true));
    Some(PathEvent::Silence(Box::new(Silence {
        time: clock.wall(since + patience_ns),
        flow: flow.id(),
        seconds,
        sentence,
    })))
}

/// What the flow came to.
pub(super) fn sum(flow: &Flow, inventory: &Inventory) -> FlowSum {
    let (source, destination) = ends(flow, inventory);
    let verdict = flow.verdict();
    let [forward, back] = &flow.sums;
    let mut sentence = match verdict {
        FlowVerdict::Answered => match &flow.carrier {
            Some(Some(carrier)) => format!(
                "answered by docker-proxy (pid {}), which asks {} by a connection of its own",
                carrier.pid, carrier.to
            ),
            _ => "answered".to_owned(),
        },
        FlowVerdict::Refused => flow.refused.clone().unwrap_or_default(),
        FlowVerdict::Unanswered => {
            let last = flow.last_forward.as_deref();
            let last = last.unwrap_or("no packet of the way there was seen");
            format!("unanswered; the last packet: {last}")
        }
    };
    if flow.let_go > 0 {
        sentence.push_str(&format!(
            "; {} packets too many at once, their ends were not seen",
            flow.let_go
        ));
    }
    let forward = forward.shown(inventory);
    let is_open = verdict == FlowVerdict::Unanswered
        && forward.iter().all(|hop| hop.ended == 0)
        && flow.asked.is_none_or(|(_, told)| !told);
    FlowSum {
        flow: flow.id(),
        protocol: protocol(&flow.forward),
        from: shown(&flow.forward, flow.forward.src),
        to: shown(&flow.forward, flow.forward.dst),
        source,
        destination,
        published: published(flow, inventory),
        verdict,
        sentence,
        forward,
        back: back.shown(inventory),
        is_open,
    }
}

/// How an answer refused, and who sent it.
pub(super) fn refusal(traveller: &Traveller, inventory: &Inventory) -> String {
    let who = traveller.stops.first().map_or_else(
        || "somebody".to_owned(),
        |stop| {
            // What comes in from outside was sent by the one that it says.
            if stop.passage == crate::model::Passage::In {
                stop.wire.src.0.to_string()
            } else {
                place(inventory, stop.netns)
            }
        },
    );
    match &traveller.packet.icmp {
        Some(icmp) => format!(
            "refused: {who} answered ICMP type {} code {}",
            icmp.icmp_type, icmp.code
        ),
        None => format!("refused: {who} answered RST"),
    }
}

fn ends(flow: &Flow, inventory: &Inventory) -> (Endpoint, Endpoint) {
    let host = Some(inventory.host_key());
    let at = |address: IpAddr| {
        // A loopback address says nothing without its namespace; the first hop's is the sender's.
        inventory.endpoint(address, host)
    };
    (at(flow.forward.src.0), at(flow.server().0))
}

fn published(flow: &Flow, inventory: &Inventory) -> Option<String> {
    let (address, port) = flow.forward.dst;
    inventory
        .published(&protocol(&flow.forward), address, port)
        .map(|(_, published)| published.to_string())
}

/// What changed between two hops. On the way back it is the flow's translation that is undone: what was the destination's is the
/// source's now.
fn rewrite(before: &Wire, now: &Wire, way: Way) -> Option<Rewrite> {
    let kind = match (way, before.src != now.src, before.dst != now.dst) {
        (_, false, false) => return None,
        (Way::Forward, true, false) => "snat",
        (Way::Forward, false, true) => "dnat",
        (Way::Forward, true, true) => "dnat+snat",
        (Way::Back, true, false) => "un-dnat",
        (Way::Back, false, true) => "un-snat",
        (Way::Back, true, true) => "un-dnat+snat",
    };
    Some(Rewrite {
        kind,
        src: shown(now, now.src),
        dst: shown(now, now.dst),
    })
}

fn shown(wire: &Wire, (address, port): (IpAddr, u16)) -> String {
    if matches!(wire.protocol, 1 | 58) || port == 0 {
        address.to_string()
    } else {
        SocketAddr::new(address, port).to_string()
    }
}
