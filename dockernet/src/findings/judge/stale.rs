//! Flows of UDP that conntrack still leads elsewhere than the published port they ask for (rows 44 and 45).

use std::cell::OnceCell;

use anyhow::Result;
use dockernet_common::conntrack::status;

use super::{Case, Found};
use crate::{
    check::live,
    host::{
        conntrack::{self, Flow},
        firewall::Firewall,
        sysctl,
    },
    model::NetnsKey,
};

/// Protocol number of UDP.
const UDP: u8 = 17;

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
    let limits = Limits::read(case)?;
    let firewall = OnceCell::new();
    let has_rule = |port| {
        firewall
            .get_or_init(|| Firewall::read(case.host))
            .has_dnat_for(UDP, port)
    };
    let mut all: Vec<Found> = Vec::new();
    for entry in flows.iter().filter(|entry| limits.is_fresh(entry, case)) {
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

/// How long an entry lives after a packet, in seconds.
struct Limits {
    first: u64,
    stream: u64,
}

impl Limits {
    fn read(case: &Case<'_>) -> Result<Self> {
        let number = |key: &str, usual: u64| -> Result<u64> {
            let text = sysctl::read(case.host, key)?;
            Ok(text
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(usual))
        };
        Ok(Self {
            first: number("net/netfilter/nf_conntrack_udp_timeout", 30)?,
            stream: number("net/netfilter/nf_conntrack_udp_timeout_stream", 120)?,
        })
    }

    /// Whether a packet has set its timeout anew since the last look (net/netfilter/nf_conntrack_proto_udp.c,
    /// `nf_conntrack_udp_packet`: what is assured lives the longer time).
    fn is_fresh(&self, entry: &Flow, case: &Case<'_>) -> bool {
        let whole = if entry.status & status::ASSURED == 0 {
            self.first
        } else {
            self.stream
        };
        let since = case.since.as_secs() + 2;
        entry
            .timeout
            .is_some_and(|left| u64::from(left) + since >= whole)
    }
}
