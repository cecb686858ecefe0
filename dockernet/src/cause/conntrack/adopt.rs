//! Packets that conntrack could not place, named by the flow that they would have belonged to.

use dockernet_common::{conntrack::status, record::flag};

use super::TCP;
use crate::{
    evidence::{Evidence, flow::flow_id, name_ends},
    host::{netns::NetnsHandle, state::HostState},
    inventory::Inventory,
    model::{Nat, NatKind, NetnsOwner, Tuple},
};

/// Whether a drop may be a translated flow's packet that was not translated: a TCP segment in the middle of a connection
/// that reached the host itself.
#[must_use]
pub fn may_be_adopted(evidence: &Evidence) -> bool {
    let record = &evidence.record;
    let flags = evidence.drop.packet.as_ref();
    let flags = flags.and_then(|packet| packet.tcp_flags.as_deref());
    evidence.drop.netns.owner == NetnsOwner::Host
        && record.key.protocol == TCP
        && record.flags & flag::CONNTRACK == 0
        && matches!(evidence.reason(), "NO_SOCKET" | "TCP_FLAGS")
        && flags.is_some_and(|flags| flags.contains('A') && !flags.contains(['S', 'R', 'F']))
}

/// The same drop with the ends of its flow; `None` where the host tracks no translated flow with these addresses and ports.
#[must_use]
pub fn adopt(
    evidence: &Evidence,
    inventory: &Inventory,
    state: &dyn HostState,
    host: &NetnsHandle,
) -> Option<Evidence> {
    let packet = evidence.drop.packet.as_ref()?;
    let tuple = Tuple {
        src: packet.src?,
        src_port: packet.src_port,
        dst: packet.dst?,
        dst_port: packet.dst_port,
    };
    let entry = state.flow(host, TCP, &tuple).ok()??;
    let bits = (
        entry.status & status::SRC_NAT != 0,
        entry.status & status::DST_NAT != 0,
    );
    let kind = match bits {
        (false, false) => return None,
        (true, false) => NatKind::Snat,
        (false, true) => NatKind::Dnat,
        (true, true) => NatKind::Both,
    };
    let mut adopted = evidence.clone();
    let ends = [
        (entry.original.src, entry.original.src_port.unwrap_or(0)),
        (entry.reply.src, entry.reply.src_port.unwrap_or(0)),
    ];
    adopted.drop.flow = Some(flow_id(&packet.protocol, ends));
    adopted.drop.nat = Some(Nat {
        kind,
        original: entry.original,
        reply: entry.reply,
    });
    name_ends(&mut adopted.drop, evidence.netns, inventory);
    Some(adopted)
}
