//! Connections that others make to a published port, and that end on the host: nothing leads them to the container
//! (row 29). docker-proxy serves them, with its own address in the client's place, or dockerd holds the port and never accepts.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use dockernet_common::{conntrack::status, packet::TCP};

use super::{Case, Found};
use crate::{
    check::live::{self, Question},
    host::{
        connections::{Connection, connections},
        conntrack::{self, timeouts::Timeouts},
    },
    inventory::Inventory,
    model::{Confidence, Container, EndpointKind, Published},
};

/// Such connections that a packet came through since the last look, where no rule would translate a new one either.
pub(super) fn judge(case: &Case<'_>) -> Result<Vec<Found>> {
    let all = ended_here(case)?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    // An engine that is not there may be about to write its rules.
    let is_up = case.inventory.engine_status().may_be_up();
    let mut found: Vec<Found> = Vec::new();
    for (mut verdict, affected) in live::ask(case.inventory, case.host, Question::Translation)? {
        if verdict.cause.id != "nat-rules-missing" {
            continue;
        }
        if !is_up {
            verdict.cause.confidence = Confidence::Likely;
        }
        for one in affected {
            let mut ours = all.iter().filter(|(_, container, published)| {
                container.name == one.container && one.published == Some(published.to_string())
            });
            let Some((ends, container, _)) = ours.next() else {
                continue;
            };
            let count = 1 + ours.count() as u64;
            let host = Some(case.inventory.host_key());
            let what = match count {
                1 => "a connection of another machine ends on the host:".to_owned(),
                _ => format!("{count} connections of other machines end on the host, such as"),
            };
            let fact = format!("{what} {} → {}", ends.client, ends.local);
            found.push(Found {
                source: case.inventory.endpoint(ends.client.ip(), host),
                published: one.published,
                events: count,
                ..case.to(container, verdict.clone().fact(fact))
            });
        }
    }
    Ok(found)
}

/// A connection as its client sees it.
#[derive(Clone, Copy)]
struct Ends {
    client: SocketAddr,
    local: SocketAddr,
}

/// The connections of other machines to published ports whose other end is the host's own: those that conntrack knows, short ones
/// of the last two minutes among them; where it cannot be asked, those that are open.
fn ended_here<'a>(case: &Case<'a>) -> Result<Vec<(Ends, &'a Container, &'a Published)>> {
    let inventory = case.inventory;
    let all = match tracked(case) {
        Ok(tracked) => tracked,
        Err(error) => {
            log::debug!("{error:#}");
            let open = connections(case.host)?.into_iter();
            open.filter(Connection::is_open)
                .map(|one| Ends {
                    client: canonical(one.remote),
                    local: canonical(one.local),
                })
                .collect()
        }
    };
    Ok(all
        .into_iter()
        .filter_map(|ends| {
            let (client, local) = (ends.client.ip(), ends.local);
            let (container, published) = meant_for(inventory, client, local.ip(), local.port())?;
            Some((ends, container, published))
        })
        .collect())
}

fn tracked(case: &Case<'_>) -> Result<Vec<Ends>> {
    let inventory = case.inventory;
    let flows = conntrack::flows_where(case.host, |entry| {
        entry.protocol == TCP
            && entry.status & status::SEEN_REPLY != 0
            && entry.reply.src == entry.original.dst
            && entry.original.dst_port.is_some_and(|port| {
                meant_for(inventory, entry.original.src, entry.original.dst, port).is_some()
            })
    })?;
    if flows.is_empty() {
        return Ok(Vec::new());
    }
    let timeouts = Timeouts::read(case.host)?;
    let flows = flows.iter();
    Ok(flows
        .filter(|flow| timeouts.had_packet_within(flow, case.since))
        .filter_map(|flow| {
            let from = &flow.original;
            Some(Ends {
                client: SocketAddr::new(from.src, from.src_port?),
                local: SocketAddr::new(from.dst, from.dst_port?),
            })
        })
        .collect())
}

/// A socket for both families has IPv4's addresses as IPv6's.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whose published port another machine asks for. The host's own connections, and those of containers on the same bridge, are
/// docker-proxy's by design; and so is IPv6 where the engine writes no rules for it.
fn meant_for(
    inventory: &Inventory,
    client: IpAddr,
    local: IpAddr,
    port: u16,
) -> Option<(&Container, &Published)> {
    if client.is_ipv6() {
        return None;
    }
    let (container, published) = inventory.published("tcp", local, port)?;
    let kind = |address| inventory.endpoint(address, Some(inventory.host_key())).kind;
    let is_meant = container.runs()
        && kind(client) == EndpointKind::External
        && kind(local) == EndpointKind::Host;
    is_meant.then_some((container, published))
}
