//! Flows of UDP that conntrack still leads elsewhere than the published port they ask for (rows 44 and 45).

use std::cell::OnceCell;

use anyhow::Result;
use dockernet_common::packet::UDP;

use super::{Case, Found};
use crate::{
    check::live,
    host::{
        conntrack::{self, timeouts::Timeouts},
        firewall::Firewall,
    },
    model::NetnsKey,
};

/// Stale flows through which a packet came just now: others harm nobody any more.
pub(super) fn judge(case: &Case<'_>) -> Result<Vec<Found>> {
    let inventory = case.inventory;
    let flows = conntrack::flows_where(case.host, |entry| {
        let port = entry.original.dst_port;
        entry.protocol == UDP
            && port.is_some_and(|port| inventory.published_on("udp", port).next().is_some())
    })?;
    if flows.is_empty() {
        return Ok(Vec::new());
    }
    let timeouts = Timeouts::read(case.host)?;
    let firewall = OnceCell::new();
    let has_rule = |to, port| {
        firewall
            .get_or_init(|| Firewall::read(case.host))
            .has_dnat_for(UDP, to, port)
    };
    let mut all: Vec<Found> = Vec::new();
    let flows = flows.iter();
    for entry in flows.filter(|entry| timeouts.had_packet_within(entry, case.since)) {
        let Some((container, published, verdict)) = live::stale_udp(inventory, &has_rule, entry)
        else {
            continue;
        };
        let published = Some(published.to_string());
        if let Some(known) = all.iter_mut().find(|found| found.published == published) {
            known.events += 1;
            continue;
        }
        let host: NetnsKey = inventory.host_key();
        let source = inventory.endpoint(entry.original.src, Some(host));
        let verdict = verdict.fact("a packet came through it just now");
        all.push(Found {
            source,
            published,
            events: 1,
            ..case.to(container, verdict)
        });
    }
    Ok(all)
}
