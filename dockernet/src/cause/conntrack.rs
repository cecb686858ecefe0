//! The connection table: full, forgetful, or holding what is no longer true.

mod adopt;
mod capacity;
mod reset;
mod stale;

pub use adopt::{adopt, may_be_adopted};
pub(super) use capacity::{full, snat_exhausted};
pub(super) use reset::reset;
pub(super) use stale::stale_udp;

use super::Case;
use crate::{
    host::{conntrack::Flow, netns::NetnsHandle},
    model::Tuple,
};
use dockernet_common::{
    conntrack::status,
    packet::{TCP, UDP},
    record::flag,
};

const NAT: u32 = status::SRC_NAT | status::DST_NAT;

/// The packet's own addresses and ports as a tuple.
fn tuple(case: &Case<'_>) -> Option<Tuple> {
    let packet = case.packet()?;
    Some(Tuple {
        src: packet.src?,
        src_port: packet.src_port,
        dst: packet.dst?,
        dst_port: packet.dst_port,
    })
}

/// The flow that a TCP packet belongs to by its addresses and ports, whether conntrack took it for part of it or not.
pub(super) fn flow_of(case: &Case<'_>, netns: &NetnsHandle) -> Option<Flow> {
    case.state.flow(netns, TCP, &tuple(case)?).ok()?
}

fn tracked(case: &Case<'_>) -> bool {
    case.evidence.record.flags & flag::CONNTRACK != 0
}

/// A kernel setting as a number.
pub(super) fn number(case: &Case<'_>, netns: &NetnsHandle, key: &str) -> Option<u64> {
    case.state.sysctl(netns, key).ok()??.trim().parse().ok()
}

/// `198.51.100.20:4000 → 198.51.100.10:53`
fn ends(tuple: &Tuple) -> String {
    let end = |address, port: Option<u16>| match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    };
    format!(
        "{} → {}",
        end(tuple.src, tuple.src_port),
        end(tuple.dst, tuple.dst_port)
    )
}

/// A flow as evidence.
pub(super) fn entry_text(entry: &Flow) -> String {
    format!(
        "conntrack has {}, answered by {}",
        ends(&entry.original),
        ends(&entry.reply)
    )
}

/// How often conntrack could not place a packet.
pub(super) fn invalid(case: &Case<'_>, netns: &NetnsHandle) -> Option<String> {
    let counters = case.state.conntrack_counters(netns).ok()?;
    Some(format!(
        "conntrack has found {} packets invalid",
        counters.invalid
    ))
}
