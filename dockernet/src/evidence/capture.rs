//! A record's bytes, cut where the packet begins.

use dockernet_common::{
    packet::{Network, Parsed},
    record::{DropRecord, UNSET},
};

use crate::model::{Capture, LinkType};

/// The packet from its outermost header on that is there; none where the record has no bytes.
pub(super) fn capture(record: &DropRecord, parsed: &Parsed) -> Option<Capture> {
    let bytes = record
        .headers
        .get(..usize::from(record.header_len))
        .unwrap_or(&record.headers);
    let from = |at: u16| {
        (at != UNSET)
            .then(|| bytes.get(usize::from(at)..))
            .flatten()
    };
    let (link, start) = match &parsed.network {
        _ if parsed.link.is_some() => (LinkType::Ethernet, record.mac),
        Some(Network::Ip(_)) => (LinkType::Ip, record.network),
        _ if record.network != UNSET => (LinkType::Other, record.network),
        _ => (LinkType::Other, record.transport),
    };
    let bytes = from(start).unwrap_or(bytes);
    if bytes.is_empty() {
        return None;
    }
    // `skb->len` counts from `skb->data`, which may be behind headers that are here.
    let before = if record.network != UNSET {
        record.network.saturating_sub(start)
    } else {
        0
    };
    let whole = match &parsed.network {
        Some(Network::Ip(_)) => {
            super::packet::length(record, parsed).saturating_add(u32::from(before))
        }
        _ => record.len,
    };
    Some(Capture {
        link,
        length: whole.max(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        bytes: bytes.to_vec(),
    })
}
