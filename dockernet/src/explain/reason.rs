//! A kernel drop reason: what it says, and which causes leave it.

use std::fmt::Write as _;

use super::{causes_of, paragraph};

/// Reasons that need more than their causes' names to be understood.
const STORIES: &[(&str, &str)] = &[
    (
        "NETFILTER_DROP",
        "A netfilter hook said drop: a rule or policy of nft or iptables, NAT that found no way, or conntrack that was full. \
        The function and the stack tell the hook: ip_rcv PREROUTING, ip_local_deliver INPUT, ip_forward FORWARD, __ip_local_out OUTPUT, \
        ip_output POSTROUTING, br_nf_* the same for bridged packets. nft_do_chain on the stack means a rule of nft or iptables-nft; without it \
        iptables-legacy, NAT or conntrack did it.",
    ),
    (
        "NEIGH_FAILED",
        "Nobody answered the ARP or neighbour requests for the next address. The packet waited about three seconds for it and dies in the \
        namespace that asked: the cause is on the way between both, or the other one is not there.",
    ),
    (
        "NO_SOCKET",
        "The packet arrived where it was meant to, and no program has a socket for it. TCP answers with a reset, UDP with port unreachable.",
    ),
    (
        "IP_INADDRERRORS",
        "The packet was to be forwarded and the interface that it came in by does not forward, or a container got a packet that was not its own.",
    ),
    (
        "QDISC_DROP",
        "The device's queue took no more: it is full, or the device is down or without a carrier and its queue takes nothing.",
    ),
    (
        "NOT_SPECIFIED",
        "The kernel frees the packet at a place where no reason is given (yet). The function that freed it and the state must tell.",
    ),
    (
        "OTHERHOST",
        "A frame for another MAC address. Bridges flood what they cannot place, so some of these are part of a healthy life; they are hidden unless --all.",
    ),
];

/// The text to print.
pub(super) fn text(reason: &str) -> String {
    let mut text = format!(
        "{reason}: a drop reason of this kernel (SKB_DROP_REASON_{reason}, include/net/dropreason-core.h)\n"
    );
    if let Some((_, story)) = STORIES.iter().find(|(name, _)| *name == reason) {
        let _ = write!(text, "\nWhat it means\n{}", paragraph(story));
    }
    text.push_str("\nCauses that leave it\n");
    let mut known = false;
    for entry in causes_of(reason) {
        known = true;
        let _ = writeln!(text, "  {:<32} {}", entry.id, entry.title);
    }
    if !known {
        text.push_str("  none of the catalogue; a drop with it is shown as unexplained\n");
    }
    text
}
